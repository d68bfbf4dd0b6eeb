//! Authorisations that stand, and what is captured, voided and refunded of them.
use participant::testing::{self, abort, audit, commit, compensate, execute, prepare, step};
use participant::{Pool, PreparedBranch};
use proto::assent::payment::v1 as api;
use proto::assent::payment::v1::payment_service_server::PaymentService;
use tonic::{Code, Request};
use uuid::Uuid;

use super::{PAYMENTS, figures, gbp, open, pay, reason, start};
use crate::domain::{Authorisation, Branch, Part};
use crate::grpc::Accounts;
use crate::provider::ledger::Ledger;
use crate::resource::Payments;
use crate::store;

const FINE: [&str; 0] = [];

fn authorise(account: &str, amount_minor: i64, replaces: Option<Uuid>) -> PreparedBranch<Branch> {
    let authorisation = Authorisation { account: account.to_owned(), currency: "GBP".to_owned(), amount_minor };
    testing::branch(Branch::Authorise { authorisation, replaces })
}

fn part(of: Uuid, amount_minor: i64) -> Part {
    Part { payment_id: of, account: None, currency: "GBP".to_owned(), amount_minor }
}

fn capture(of: Uuid, amount_minor: i64, is_final: bool) -> PreparedBranch<Branch> {
    testing::branch(Branch::Capture { part: part(of, amount_minor), is_final })
}

fn void(of: Uuid) -> PreparedBranch<Branch> {
    testing::branch(Branch::Void { payment_id: of, account: None })
}

fn refund(of: Uuid, amount_minor: i64) -> PreparedBranch<Branch> {
    testing::branch(Branch::Refund(part(of, amount_minor)))
}

/// Prepares one and answers the reason of a refusal, or nothing.
async fn vote(pool: &Pool, branch: &PreparedBranch<Branch>) -> String {
    let vote = prepare(&PAYMENTS, pool, std::slice::from_ref(branch)).await.remove(0);
    vote.err().map(|refusal| refusal.reason).unwrap_or_default()
}

/// Prepares and commits; the transaction's id.
async fn done(pool: &Pool, branch: PreparedBranch<Branch>) -> Uuid {
    assert_eq!(vote(pool, &branch).await, "");
    commit(&PAYMENTS, pool, std::slice::from_ref(&branch)).await;
    branch.transaction_id
}

async fn payment(service: &Accounts, id: Uuid) -> api::Payment {
    let request = Request::new(api::GetPaymentRequest { payment_id: id.to_string() });
    service.get_payment(request).await.unwrap().into_inner().payment.unwrap()
}

fn minor(money: &Option<proto::google::r#type::Money>) -> i64 {
    money.as_ref().unwrap().to_minor().unwrap()
}

/// Its state, and what is captured, refunded and can be captured.
async fn shown(service: &Accounts, id: Uuid) -> (String, i64, i64, i64) {
    let payment = payment(service, id).await;
    let state = payment.state().as_str_name().trim_start_matches("PAYMENT_STATE_").to_owned();
    (state, minor(&payment.captured), minor(&payment.refunded), minor(&payment.capturable))
}

#[tokio::test]
async fn an_authorisation_is_captured_in_parts_and_the_last_gives_back_the_rest() {
    let (_postgres, pool, service) = start().await;
    open(&service, "ann", gbp(1_000), "").await.unwrap();
    let id = done(&pool, authorise("ann", 800, None)).await;
    assert_eq!(figures(&pool, "ann").await, (1_000, 800));
    assert_eq!(vote(&pool, &pay("ann", "GBP", 300)).await, "INSUFFICIENT_FUNDS", "what stands is held");
    let first = done(&pool, capture(id, 300, false)).await;
    assert_eq!(figures(&pool, "ann").await, (700, 500));
    assert_eq!(vote(&pool, &capture(id, 501, false)).await, "CAPTURE_EXCEEDS_AUTHORISED");
    let last = done(&pool, capture(id, 200, true)).await;
    assert_eq!(figures(&pool, "ann").await, (500, 0));
    assert_eq!(shown(&service, id).await, ("CAPTURED".to_owned(), 500, 0, 0));
    let entries = payment(&service, id).await.entries;
    let entries: Vec<_> = entries.iter().map(|it| (it.booking_id.clone(), minor(&it.amount))).collect();
    assert_eq!(entries, [(first.to_string(), -300), (last.to_string(), -200)]);
    assert_eq!(figures(&pool, "assent:revenue:GBP").await, (500, 0));
    assert_eq!(audit(&PAYMENTS, &pool, &[]).await, FINE);
}

#[tokio::test]
async fn two_in_doubt_can_not_together_take_more_than_there_is() {
    let (_postgres, pool, service) = start().await;
    open(&service, "ann", gbp(1_000), "").await.unwrap();
    let id = done(&pool, authorise("ann", 1_000, None)).await;
    let batch = [capture(id, 600, false), capture(id, 600, false), capture(id, 400, false), void(id), void(id)];
    let votes = prepare(&PAYMENTS, &pool, &batch).await;
    let reasons: Vec<_> = votes.iter().map(|vote| vote.as_ref().err().map(|no| no.reason.as_str())).collect();
    assert_eq!(reasons, [None, Some("CAPTURE_EXCEEDS_AUTHORISED"), None, None, Some("NOT_AUTHORISED")]);
    let [first, _, second, voiding, _] = batch;
    let in_doubt = [first.clone(), second.clone(), voiding.clone()];
    assert_eq!(audit(&PAYMENTS, &pool, &in_doubt).await, FINE);
    assert_eq!(audit(&PAYMENTS, &pool, &in_doubt[..2]).await.len(), 1, "a promise to nobody is found");
    // What was promised to be captured is not voided; what is then not captured goes back.
    commit(&PAYMENTS, &pool, &[voiding]).await;
    assert_eq!(figures(&pool, "ann").await, (1_000, 1_000));
    commit(&PAYMENTS, &pool, &[first]).await;
    abort(&PAYMENTS, &pool, &[second]).await;
    assert_eq!(figures(&pool, "ann").await, (400, 0));
    assert_eq!(shown(&service, id).await, ("VOIDED".to_owned(), 600, 0, 0));
    // Refunds the same way.
    let batch = [refund(id, 400), refund(id, 400), refund(id, 200)];
    let votes = prepare(&PAYMENTS, &pool, &batch).await;
    assert_eq!(votes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(votes[1].as_ref().unwrap_err().reason, "REFUND_EXCEEDS_CAPTURED");
    let [first, _, second] = batch;
    abort(&PAYMENTS, &pool, &[first]).await;
    commit(&PAYMENTS, &pool, &[second]).await;
    assert_eq!((figures(&pool, "ann").await, figures(&pool, "assent:revenue:GBP").await), ((600, 0), (400, 0)));
    assert_eq!(audit(&PAYMENTS, &pool, &[]).await, FINE);
}

#[tokio::test]
async fn a_charge_is_refunded_in_parts_but_never_more_than_it_was() {
    let (_postgres, pool, service) = start().await;
    open(&service, "ann", gbp(1_000), "").await.unwrap();
    let charge = pay("ann", "GBP", 900);
    assert_eq!(vote(&pool, &charge).await, "");
    assert_eq!(vote(&pool, &refund(charge.transaction_id, 1)).await, "PAYMENT_IN_DOUBT");
    commit(&PAYMENTS, &pool, std::slice::from_ref(&charge)).await;
    let id = charge.transaction_id;
    let rows =
        || async { sqlx::query_scalar::<_, i64>("SELECT count(*) FROM payment").fetch_one(&pool).await.unwrap() };
    assert_eq!(rows().await, 0, "a charge costs no row");
    assert_eq!(shown(&service, id).await, ("CAPTURED".to_owned(), 900, 0, 0));
    let back = done(&pool, refund(id, 300)).await;
    assert_eq!(vote(&pool, &refund(id, 601)).await, "REFUND_EXCEEDS_CAPTURED");
    assert_eq!(vote(&pool, &capture(id, 1, false)).await, "NOT_AUTHORISED");
    assert_eq!(vote(&pool, &void(id)).await, "NOT_AUTHORISED");
    assert_eq!(vote(&pool, &refund(Uuid::now_v7(), 1)).await, "UNKNOWN_PAYMENT");
    done(&pool, refund(Uuid::now_v7(), 0)).await;
    assert_eq!(shown(&service, id).await, ("CAPTURED".to_owned(), 900, 300, 0));
    let entries = payment(&service, id).await.entries;
    let entries: Vec<_> = entries.iter().map(|it| (it.booking_id.clone(), minor(&it.amount))).collect();
    assert_eq!(entries, [(id.to_string(), -900), (back.to_string(), 300)]);
    assert_eq!((figures(&pool, "ann").await, rows().await), ((400, 0), 1));
    assert_eq!(audit(&PAYMENTS, &pool, &[]).await, FINE);
    sqlx::query("UPDATE payment SET refunded_minor = 301").execute(&pool).await.unwrap();
    let wrong = "this payment says 900 minor units captured and 301 refunded, but its bookings sum to 900 and 300";
    assert_eq!(audit(&PAYMENTS, &pool, &[]).await, [format!("money-conserved {id}: {wrong}")]);
}

#[tokio::test]
async fn an_authorisation_takes_the_place_of_another_without_holding_twice() {
    let (_postgres, pool, service) = start().await;
    open(&service, "ann", gbp(1_000), "").await.unwrap();
    let old = done(&pool, authorise("ann", 900, None)).await;
    assert_eq!(vote(&pool, &authorise("ann", 1_001, Some(old))).await, "INSUFFICIENT_FUNDS");
    let new = authorise("ann", 1_000, Some(old));
    assert_eq!(vote(&pool, &new).await, "");
    assert_eq!(figures(&pool, "ann").await, (1_000, 1_000));
    assert_eq!(audit(&PAYMENTS, &pool, std::slice::from_ref(&new)).await, FINE);
    assert_eq!(vote(&pool, &capture(old, 1, false)).await, "NOT_AUTHORISED");
    abort(&PAYMENTS, &pool, &[new]).await;
    assert_eq!((figures(&pool, "ann").await, audit(&PAYMENTS, &pool, &[]).await), ((1_000, 900), vec![]));
    done(&pool, capture(old, 100, false)).await;
    let new = done(&pool, authorise("ann", 500, Some(old))).await;
    assert_eq!(figures(&pool, "ann").await, (900, 500));
    assert_eq!(shown(&service, old).await, ("REPLACED".to_owned(), 100, 0, 0));
    assert_eq!(shown(&service, new).await, ("AUTHORISED".to_owned(), 0, 0, 500));
    assert_eq!(vote(&pool, &authorise("ann", 1, Some(old))).await, "NOT_AUTHORISED");
    assert_eq!(audit(&PAYMENTS, &pool, &[]).await, FINE);
}

#[tokio::test]
async fn what_has_expired_is_given_back_and_can_be_authorised_anew() {
    let (_postgres, pool, service) = start().await;
    open(&service, "ann", gbp(1_000), "").await.unwrap();
    let short = Payments { validity_ms: -1, provider: Ledger };
    let old = authorise("ann", 1_000, None);
    assert_eq!(vote(&pool, &old).await, "");
    commit(&short, &pool, std::slice::from_ref(&old)).await;
    let (old, alive) = (old.transaction_id, pay("ann", "GBP", 1));
    assert_eq!(vote(&pool, &capture(old, 1, false)).await, "AUTHORISATION_EXPIRED");
    assert_eq!(vote(&pool, &alive).await, "INSUFFICIENT_FUNDS");
    assert_eq!(store::expiry::expire(&pool, &Ledger).await.unwrap(), 1);
    assert_eq!(store::expiry::expire(&pool, &Ledger).await.unwrap(), 0);
    assert_eq!(figures(&pool, "ann").await, (1_000, 0));
    assert_eq!(shown(&service, old).await, ("EXPIRED".to_owned(), 0, 0, 0));
    let new = done(&pool, authorise("ann", 1_000, Some(old))).await;
    assert_eq!(shown(&service, old).await.0, "REPLACED");
    done(&pool, void(new)).await;
    assert_eq!(shown(&service, new).await, ("VOIDED".to_owned(), 0, 0, 0));
    assert_eq!(vote(&pool, &void(new)).await, "NOT_AUTHORISED");
    assert_eq!((figures(&pool, "ann").await, audit(&PAYMENTS, &pool, &[]).await), ((1_000, 0), vec![]));
}

#[tokio::test]
async fn what_was_promised_before_it_expired_is_captured_after() {
    let (_postgres, pool, service) = start().await;
    open(&service, "ann", gbp(1_000), "").await.unwrap();
    let id = done(&pool, authorise("ann", 1_000, None)).await;
    let promised = [capture(id, 300, false), capture(id, 200, true)];
    assert!(prepare(&PAYMENTS, &pool, &promised).await.iter().all(Result::is_ok));
    sqlx::query("UPDATE payment SET expire_time = now()").execute(&pool).await.unwrap();
    assert_eq!(store::expiry::expire(&pool, &Ledger).await.unwrap(), 1);
    assert_eq!((figures(&pool, "ann").await, audit(&PAYMENTS, &pool, &promised).await), ((1_000, 500), vec![]));
    commit(&PAYMENTS, &pool, &promised[..1]).await;
    abort(&PAYMENTS, &pool, &promised[1..]).await;
    assert_eq!((figures(&pool, "ann").await, audit(&PAYMENTS, &pool, &[]).await), ((700, 0), vec![]));
}

#[tokio::test]
async fn a_saga_authorises_and_captures_and_its_compensations_give_back() {
    let (_postgres, pool, service) = start().await;
    open(&service, "ann", gbp(1_000), "").await.unwrap();
    let authorised = authorise("ann", 800, None);
    let id = authorised.transaction_id;
    let of_saga =
        |name: &str, branch: Branch| step(name, &PreparedBranch { transaction_id: id, branch: branch.into() });
    let authorise_step = step("authorise", &authorised);
    assert!(execute(&PAYMENTS, &pool, std::slice::from_ref(&authorise_step)).await[0].is_ok());
    let again = of_saga("again", (*authorised.branch).clone());
    assert_eq!(execute(&PAYMENTS, &pool, &[again]).await[0].as_ref().unwrap_err().reason, "PAYMENT_EXISTS");
    let parts = ["first", "second"].map(|name| of_saga(name, Branch::Capture { part: part(id, 200), is_final: false }));
    for part in &parts {
        assert!(execute(&PAYMENTS, &pool, std::slice::from_ref(part)).await[0].is_ok());
    }
    assert_eq!(figures(&pool, "ann").await, (600, 400));
    done(&pool, refund(id, 350)).await;
    compensate(&PAYMENTS, &pool, &parts[1..]).await;
    compensate(&PAYMENTS, &pool, &parts[..1]).await;
    assert_eq!(shown(&service, id).await, ("AUTHORISED".to_owned(), 400, 400, 400), "nothing goes back twice");
    compensate(&PAYMENTS, &pool, &[authorise_step]).await;
    assert_eq!((figures(&pool, "ann").await, audit(&PAYMENTS, &pool, &[]).await), ((1_000, 0), vec![]));
}

#[tokio::test]
async fn a_step_that_voids_or_refunds_can_not_be_undone() {
    let (_postgres, pool, service) = start().await;
    open(&service, "ann", gbp(1_000), "").await.unwrap();
    let id = done(&pool, authorise("ann", 800, None)).await;
    let voided = step("void", &void(id));
    assert!(execute(&PAYMENTS, &pool, std::slice::from_ref(&voided)).await[0].is_ok());
    let why = participant::Refusal::new("DECLINED", "");
    let mut connection = pool.acquire().await.unwrap();
    let undone = participant::Resource::compensate(&PAYMENTS, &mut connection, &[(voided, why)]).await;
    let error = undone.unwrap_err().to_string();
    assert!(error.contains("the step \"void\" voids or refunds, which can't be undone"), "{error}");
}

#[tokio::test]
async fn a_refunded_charge_of_a_saga_is_not_refunded_again_by_its_compensation() {
    let (_postgres, pool, service) = start().await;
    open(&service, "ann", gbp(1_000), "").await.unwrap();
    let charged = step("payment", &pay("ann", "GBP", 500));
    assert!(execute(&PAYMENTS, &pool, std::slice::from_ref(&charged)).await[0].is_ok());
    done(&pool, refund(charged.transaction_id, 200)).await;
    compensate(&PAYMENTS, &pool, std::slice::from_ref(&charged)).await;
    assert_eq!(figures(&pool, "ann").await, (1_000, 0));
    assert_eq!(vote(&pool, &refund(charged.transaction_id, 1)).await, "REFUND_EXCEEDS_CAPTURED");
    assert_eq!(audit(&PAYMENTS, &pool, &[]).await, FINE);
}

#[tokio::test]
async fn payments_are_listed_newest_first_charges_too() {
    let (_postgres, pool, service) = start().await;
    open(&service, "ann", gbp(1_000), "").await.unwrap();
    open(&service, "bob", gbp(1_000), "").await.unwrap();
    let first = done(&pool, pay("ann", "GBP", 100)).await;
    let second = done(&pool, authorise("ann", 100, None)).await;
    let others = done(&pool, pay("bob", "GBP", 100)).await;
    let third = done(&pool, pay("ann", "GBP", 100)).await;
    done(&pool, capture(second, 10, false)).await;
    done(&pool, refund(third, 10)).await;
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = api::ListPaymentsRequest { account: "ann".into(), page_size: 2, page_token };
        let page = service.list_payments(Request::new(request)).await.unwrap().into_inner();
        seen.extend(page.payments.into_iter().map(|payment| payment.payment_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, [third, second, first].map(|id| id.to_string()));
    let all = service.list_payments(Request::new(api::ListPaymentsRequest::default())).await.unwrap().into_inner();
    assert_eq!(all.payments.len(), 4);
    assert!(all.payments.iter().any(|payment| payment.payment_id == others.to_string() && payment.account == "bob"));
    let unknown = api::GetPaymentRequest { payment_id: Uuid::now_v7().to_string() };
    let unknown = service.get_payment(Request::new(unknown)).await.unwrap_err();
    assert_eq!(reason(&unknown), (Code::NotFound, "UNKNOWN_PAYMENT".to_owned()));
}
