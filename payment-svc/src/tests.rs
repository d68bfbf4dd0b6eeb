//! The payments on a real Postgres.
mod payments;
mod saga;

use participant::testing::{self, Postgres, abort, audit, commit, prepare};
use participant::{Pool, PreparedBranch, Resource};
use prost::Message;
use proto::assent::payment::v1 as api;
use proto::assent::payment::v1::payment_service_server::PaymentService;
use proto::google::r#type::Money;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::domain::{Authorisation, Branch};
use crate::grpc::Accounts;
use crate::provider::ledger::Ledger;
use crate::resource::{Payments, VALIDITY_MS};
use crate::store;

async fn start() -> (Postgres, Pool, Accounts) {
    let postgres = Postgres::start();
    let pool = postgres.pool(store::migrator()).await;
    let service = Accounts::new(pool.clone());
    (postgres, pool, service)
}

const PAYMENTS: Payments = Payments { validity_ms: VALIDITY_MS, provider: Ledger };

fn pay(account: &str, currency: &str, amount_minor: i64) -> PreparedBranch<Branch> {
    testing::branch(Branch::Charge(Authorisation {
        account: account.to_owned(),
        currency: currency.to_owned(),
        amount_minor,
    }))
}

fn gbp(minor: i64) -> Option<Money> {
    Some(Money::from_minor("GBP", minor))
}

async fn open(service: &Accounts, account: &str, money: Option<Money>, request: &str) -> Result<api::Account, Status> {
    let request =
        api::OpenAccountRequest { account: account.to_owned(), opening_balance: money, request_id: request.to_owned() };
    Ok(service.open_account(Request::new(request)).await?.into_inner().account.unwrap())
}

async fn deposit(service: &Accounts, account: &str, money: Option<Money>, id: &str) -> Result<api::Account, Status> {
    let request = api::DepositRequest { account: account.to_owned(), amount: money, request_id: id.to_owned() };
    Ok(service.deposit(Request::new(request)).await?.into_inner().account.unwrap())
}

/// Balance and held, in minor units.
async fn figures(pool: &Pool, account: &str) -> (i64, i64) {
    let account = store::account::get(pool, account).await.unwrap().unwrap();
    (account.balance_minor, account.held_minor)
}

async fn entries(service: &Accounts, account: &str) -> Vec<(String, i64, String)> {
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = api::ListEntriesRequest { account: account.to_owned(), page_size: 2, page_token };
        let page = service.list_entries(Request::new(request)).await.unwrap().into_inner();
        let entry = |entry: api::Entry| (entry.kind, entry.amount.unwrap().to_minor().unwrap(), entry.booking_id);
        seen.extend(page.entries.into_iter().map(entry));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return seen;
        }
    }
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().unwrap().reason)
}

#[tokio::test]
async fn what_is_authorised_and_what_is_captured_in_one_statement_is_booked() {
    let (_postgres, pool, service) = start().await;
    open(&service, "ann", gbp(1_000), "").await.unwrap();
    open(&service, "bob", gbp(500), "").await.unwrap();
    open(&service, "eve", Some(Money::from_minor("EUR", 100)), "").await.unwrap();
    let first = [pay("ann", "GBP", 400), pay("bob", "GBP", 300), pay("ann", "GBP", 100), pay("eve", "EUR", 0)];
    prepare(&PAYMENTS, &pool, &first).await;
    let more = |minor| [pay("ann", "GBP", minor), pay("eve", "EUR", 100)];
    assert!(!testing::prepare_at_once(&PAYMENTS, &pool, &more(501), &first).await, "500 are left");
    assert!(!testing::prepare_at_once(&PAYMENTS, &pool, &[pay("ann", "EUR", 1)], &first).await);
    assert!(!testing::prepare_at_once(&PAYMENTS, &pool, &[pay("nobody", "EUR", 1)], &first).await);
    assert_eq!((figures(&pool, "ann").await, figures(&pool, "bob").await), ((1_000, 500), (500, 300)));

    let second = more(500);
    assert!(testing::prepare_at_once(&PAYMENTS, &pool, &second, &first).await);
    assert_eq!((figures(&pool, "ann").await, figures(&pool, "bob").await), ((500, 500), (200, 0)));
    assert_eq!(figures(&pool, "eve").await, (100, 100));
    assert_eq!(figures(&pool, "assent:revenue:GBP").await, (800, 0));
    assert_eq!(entries(&service, "ann").await.iter().filter(|(kind, ..)| kind == "capture").count(), 2);
    assert!(!testing::prepare_at_once(&PAYMENTS, &pool, &[pay("eve", "EUR", 1)], &[]).await, "nothing is left");
    assert_eq!(audit(&PAYMENTS, &pool, &second).await, [""; 0]);
    let third = [pay("bob", "GBP", 100)];
    prepare(&PAYMENTS, &pool, &third).await;
    for committed in [&[][..], &third] {
        let of_the_shop = [pay("assent:revenue:GBP", "GBP", 1)];
        assert!(
            !testing::prepare_at_once(&PAYMENTS, &pool, &of_the_shop, committed).await,
            "an account of the ledger's own"
        );
    }
}

#[tokio::test]
async fn funds_are_spent_in_the_order_of_arrival() {
    let (_postgres, pool, service) = start().await;
    open(&service, "ann", gbp(1_000), "").await.unwrap();
    open(&service, "bob", gbp(1_000), "").await.unwrap();
    let batch = [
        pay("ann", "GBP", 400),
        pay("ann", "GBP", 700),
        pay("bob", "GBP", 1_000),
        pay("ann", "GBP", 600),
        pay("ann", "GBP", 0),
        pay("ann", "GBP", 1),
        pay("ann", "EUR", 1),
        pay("eve", "GBP", 1),
        pay("bob", "GBP", i64::MAX),
        pay("ann", "GBP", i64::MAX),
    ];
    let votes = prepare(&PAYMENTS, &pool, &batch).await;
    let reasons: Vec<_> =
        votes.iter().map(|vote| vote.as_ref().map_or_else(|no| no.reason.as_str(), |()| "")).collect();
    let short = "INSUFFICIENT_FUNDS";
    assert_eq!(reasons, ["", short, "", "", "", short, "CURRENCY_MISMATCH", "UNKNOWN_ACCOUNT", short, short]);
    let refusal = votes[1].as_ref().unwrap_err();
    assert_eq!(refusal.message, "account ann has 6.00 GBP available, and 7.00 are needed");
    assert_eq!((refusal.metadata["requested_minor"].as_str(), refusal.metadata["account"].as_str()), ("700", "ann"));
    assert_eq!((figures(&pool, "ann").await, figures(&pool, "bob").await), ((1_000, 1_000), (1_000, 1_000)));
    let prepared = [0, 2, 3, 4].map(|place: usize| batch[place].clone());
    assert_eq!(audit(&PAYMENTS, &pool, &prepared).await, [""; 0]);
}

#[tokio::test]
async fn two_writers_at_once_never_overspend() {
    let (_postgres, pool, service) = start().await;
    open(&service, "a", gbp(60), "").await.unwrap();
    open(&service, "b", gbp(60), "").await.unwrap();
    let writer = |first: &'static str, second: &'static str| {
        let pool = pool.clone();
        async move {
            let mut held = 0;
            for _ in 0..10 {
                let batch: Vec<_> = (0..8).flat_map(|_| [pay(first, "GBP", 1), pay(second, "GBP", 1)]).collect();
                held += prepare(&PAYMENTS, &pool, &batch).await.iter().filter(|vote| vote.is_ok()).count();
            }
            held
        }
    };
    let (one, other) = tokio::join!(tokio::spawn(writer("a", "b")), tokio::spawn(writer("b", "a")));
    assert_eq!(one.unwrap() + other.unwrap(), 120);
    assert_eq!((figures(&pool, "a").await, figures(&pool, "b").await), ((60, 60), (60, 60)));
}

#[tokio::test]
async fn commit_captures_and_abort_voids() {
    let (_postgres, pool, service) = start().await;
    open(&service, "ann", gbp(1_000), "").await.unwrap();
    open(&service, "jo", Some(Money::from_minor("JPY", 500)), "").await.unwrap();
    let batch = [
        pay("ann", "GBP", 400),
        pay("jo", "JPY", 500),
        pay("ann", "GBP", 100),
        pay("ann", "GBP", 0),
        pay("ann", "GBP", 250),
    ];
    assert!(prepare(&PAYMENTS, &pool, &batch).await.iter().all(Result::is_ok));
    assert_eq!(figures(&pool, "ann").await, (1_000, 750));
    commit(&PAYMENTS, &pool, &batch[..4]).await;
    assert_eq!(figures(&pool, "ann").await, (500, 250));
    abort(&PAYMENTS, &pool, &batch[4..]).await;
    assert_eq!((figures(&pool, "ann").await, figures(&pool, "jo").await), ((500, 0), (0, 0)));
    assert_eq!(figures(&pool, "assent:revenue:GBP").await, (500, 0));
    assert_eq!(figures(&pool, "assent:revenue:JPY").await, (500, 0));
    assert_eq!(figures(&pool, "assent:external:GBP").await, (-1_000, 0));
    let booked = entries(&service, "ann").await;
    let ids = [&batch[2], &batch[0]].map(|branch| branch.transaction_id.to_string());
    assert_eq!(booked[0], ("capture".to_owned(), -100, ids[0].clone()));
    assert_eq!(booked[1], ("capture".to_owned(), -400, ids[1].clone()));
    assert_eq!((booked[2].0.as_str(), booked[2].1, booked.len()), ("deposit", 1_000, 3));
    assert_eq!(audit(&PAYMENTS, &pool, &[]).await, [""; 0]);
    // All of it again: a revenue account that is there already.
    let again = [pay("ann", "GBP", 500)];
    prepare(&PAYMENTS, &pool, &again).await;
    commit(&PAYMENTS, &pool, &again).await;
    assert_eq!(figures(&pool, "assent:revenue:GBP").await, (1_000, 0));
    assert_eq!(audit(&PAYMENTS, &pool, &[]).await, [""; 0]);
}

#[tokio::test]
async fn the_audit_finds_planted_differences() {
    let (_postgres, pool, service) = start().await;
    open(&service, "ann", gbp(1_000), "").await.unwrap();
    let batch = [pay("ann", "GBP", 400)];
    prepare(&PAYMENTS, &pool, &batch).await;
    assert_eq!(audit(&PAYMENTS, &pool, &batch).await, [""; 0]);
    assert_eq!(
        audit(&PAYMENTS, &pool, &[]).await,
        ["no-orphan-holds ann: 400 minor units held, but the 0 prepared transactions hold 0"]
    );
    sqlx::query("UPDATE account SET held_minor = 0, balance_minor = 1001 WHERE account = 'ann'")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(
        audit(&PAYMENTS, &pool, &batch).await,
        [
            "no-orphan-holds ann: 0 minor units held, but the 1 prepared transactions hold 400",
            "money-conserved ann: the balance is 1001 minor units, but the bookings sum to 1000",
            "money-conserved GBP: all balances of this currency sum to 1 minor units, not to zero",
        ]
    );
    sqlx::query("UPDATE booking SET debit_account = 'nobody' WHERE credit_account = 'ann'")
        .execute(&pool)
        .await
        .unwrap();
    let found = audit(&PAYMENTS, &pool, &[]).await;
    let expected = "this booking from nobody to ann is not between two accounts of one currency";
    assert!(found.iter().any(|line| line.ends_with(expected)), "{found:?}");
}

#[tokio::test]
async fn shops_open_and_fill_accounts() {
    let (_postgres, pool, service) = start().await;
    assert_eq!(open(&service, "ann", gbp(1_000), "r1").await.unwrap().balance, gbp(1_000));
    assert_eq!(
        open(&service, "ann", gbp(1_000), "r1").await.unwrap().balance,
        gbp(1_000),
        "a repeat opens nothing more"
    );
    for (content, request_id, expected) in [
        (gbp(1_001), "r1", "REQUEST_ID_REUSED"),
        (gbp(1_000), "r2", "ACCOUNT_EXISTS"),
        (gbp(1_000), "", "ACCOUNT_EXISTS"),
    ] {
        let status = open(&service, "ann", content, request_id).await.unwrap_err();
        assert_eq!(reason(&status), (Code::AlreadyExists, expected.to_owned()));
    }
    assert_eq!(deposit(&service, "ann", gbp(1), "d1").await.unwrap().balance, gbp(1_001));
    assert_eq!(deposit(&service, "ann", gbp(1), "d1").await.unwrap().balance, gbp(1_001), "a repeat deposits nothing");
    assert_eq!(deposit(&service, "ann", gbp(1), "").await.unwrap().balance, gbp(1_002));
    let reused = deposit(&service, "ann", gbp(2), "d1").await.unwrap_err();
    assert_eq!(reason(&reused), (Code::AlreadyExists, "REQUEST_ID_REUSED".to_owned()));
    let euros = deposit(&service, "ann", Some(Money::from_minor("EUR", 1)), "d2").await.unwrap_err();
    assert_eq!(reason(&euros), (Code::FailedPrecondition, "CURRENCY_MISMATCH".to_owned()));
    let unknown = deposit(&service, "eve", gbp(1), "d2").await.unwrap_err();
    assert_eq!(reason(&unknown), (Code::NotFound, "UNKNOWN_ACCOUNT".to_owned()));
    let too_much = deposit(&service, "ann", gbp(i64::MAX), "d2").await.unwrap_err();
    assert_eq!(reason(&too_much), (Code::OutOfRange, "AMOUNT_OUT_OF_RANGE".to_owned()));
    // The external account overflows before any other does.
    open(&service, "rich", gbp(i64::MAX - 1_002), "").await.unwrap();
    let too_much = open(&service, "richer", gbp(2), "").await.unwrap_err();
    assert_eq!(reason(&too_much), (Code::OutOfRange, "AMOUNT_OUT_OF_RANGE".to_owned()));
    assert_eq!(audit(&PAYMENTS, &pool, &[]).await, [""; 0]);
    let external = api::GetAccountRequest { account: "assent:external:GBP".into() };
    let external = service.get_account(Request::new(external)).await.unwrap().into_inner().account.unwrap();
    assert_eq!(external.balance, gbp(-i64::MAX));
}

#[tokio::test]
async fn deposits_and_captures_at_once_wait_for_each_other_but_not_in_a_circle() {
    let (_postgres, pool, service) = start().await;
    let service = std::sync::Arc::new(service);
    for account in ["a", "b", "c"] {
        open(&service, account, gbp(1_000), "").await.unwrap();
    }
    let deposits = |account: &'static str| {
        let service = service.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                deposit(&service, account, gbp(1), "").await.unwrap();
            }
        })
    };
    let orders = tokio::spawn({
        let pool = pool.clone();
        async move {
            for _ in 0..20 {
                let batch = ["c", "b", "a"].map(|account| pay(account, "GBP", 1));
                assert!(prepare(&PAYMENTS, &pool, &batch).await.iter().all(Result::is_ok));
                commit(&PAYMENTS, &pool, &batch).await;
            }
        }
    });
    for task in [deposits("a"), deposits("b"), deposits("c"), orders] {
        task.await.unwrap();
    }
    assert_eq!(figures(&pool, "assent:revenue:GBP").await, (60, 0));
    assert_eq!(audit(&PAYMENTS, &pool, &[]).await, [""; 0]);
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let (_postgres, _pool, service) = start().await;
    let nanos = |units, nanos| Some(Money { currency_code: "GBP".into(), units, nanos });
    let long = "x".repeat(65);
    for account in ["", "a b", "assent:revenue:GBP", "ü", long.as_str()] {
        let status = open(&service, account, gbp(1), "").await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{account:?}");
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "account");
    }
    let page = |page_size, page_token: &str| {
        Request::new(api::ListEntriesRequest { account: "ann".into(), page_size, page_token: page_token.into() })
    };
    open(&service, "ann", gbp(0), "").await.unwrap();
    for status in [
        open(&service, "a", None, "").await.unwrap_err(),
        open(&service, "a", gbp(-1), "").await.unwrap_err(),
        open(&service, "a", nanos(1, 1), "").await.unwrap_err(),
        open(&service, "a", nanos(i64::MAX, 0), "").await.unwrap_err(),
        open(&service, "a", Some(Money { currency_code: "pounds".into(), units: 1, nanos: 0 }), "").await.unwrap_err(),
        open(&service, "a", gbp(1), "no spaces").await.unwrap_err(),
        deposit(&service, "ann", gbp(0), "").await.unwrap_err(),
        service.list_entries(page(-1, "")).await.unwrap_err(),
        service.list_entries(page(1, "made up")).await.unwrap_err(),
        service.get_account(Request::new(api::GetAccountRequest { account: "a\0".into() })).await.unwrap_err(),
    ] {
        assert_eq!(reason(&status), (Code::InvalidArgument, "INVALID_ARGUMENT".to_owned()), "{status:?}");
    }
}

#[test]
fn branches_are_checked_as_they_are_read() {
    let decode = |account: &str, amount| {
        PAYMENTS
            .decode(&api::PaymentBranch { account: account.to_owned(), amount, ..Default::default() }.encode_to_vec())
    };
    assert_eq!(decode("ann", gbp(0)).unwrap(), *pay("ann", "GBP", 0).branch);
    let field = |account, amount| decode(account, amount).unwrap_err().field;
    assert_eq!(field("assent:revenue:GBP", gbp(1)), "branch.account");
    assert_eq!(field("", gbp(1)), "branch.account");
    assert_eq!(field("ann", None), "branch.amount");
    assert_eq!(field("ann", gbp(-1)), "branch.amount");
    assert_eq!(field("ann", Some(Money::default())), "branch.amount");
    assert_eq!(PAYMENTS.decode(b"\xff\xff").unwrap_err().field, "branch");
}

#[test]
fn an_operation_takes_what_it_needs_and_nothing_else() {
    let id = "01a20f32-e3ff-75c4-aa39-3a23c1c8cfa9";
    let decode = |operation: api::PaymentOperation, account: &str, minor: Option<i64>, payment_id: &str| {
        let branch = api::PaymentBranch {
            account: account.to_owned(),
            amount: minor.and_then(gbp),
            operation: operation.into(),
            payment_id: payment_id.to_owned(),
            ..Default::default()
        };
        PAYMENTS.decode(&branch.encode_to_vec()).map_err(|invalid| invalid.field)
    };
    use api::PaymentOperation::{Authorise, Capture, Charge, Refund, Void};
    for (operation, account, minor, payment_id) in [
        (Charge, "ann", Some(1), ""),
        (Authorise, "ann", Some(1), ""),
        (Capture, "", Some(1), id),
        (Void, "", None, id),
        (Refund, "ann", Some(1), id),
    ] {
        assert!(decode(operation, account, minor, payment_id).is_ok(), "{operation:?}");
    }
    let wrong = |operation, account, minor, payment_id| decode(operation, account, minor, payment_id).unwrap_err();
    assert_eq!(wrong(Charge, "ann", Some(1), id), "branch.payment_id");
    assert_eq!(wrong(Authorise, "", Some(1), ""), "branch.account");
    assert_eq!(wrong(Capture, "", Some(1), ""), "branch.payment_id");
    assert_eq!(wrong(Capture, "", None, id), "branch.amount");
    assert_eq!(wrong(Void, "", Some(1), id), "branch.amount");
    assert_eq!(wrong(Refund, "a b", Some(1), id), "branch.account");
    let final_refund = api::PaymentBranch { operation: Refund.into(), final_capture: true, ..Default::default() };
    assert_eq!(PAYMENTS.decode(&final_refund.encode_to_vec()).unwrap_err().field, "branch.final_capture");
    let unknown = api::PaymentBranch { operation: 99, ..Default::default() };
    assert_eq!(PAYMENTS.decode(&unknown.encode_to_vec()).unwrap_err().field, "branch.operation");
}
