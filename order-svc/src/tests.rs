//! The orders on a real Postgres.
mod life;
mod saga;

use participant::testing::{self, Postgres, abort, audit, commit, prepare};
use participant::{DUPLICATE_REQUEST, Pool, PreparedBranch, Refusal, Resource};
use prost::Message;
use proto::assent::order::v1 as api;
use proto::assent::order::v1::order_store_service_server::OrderStoreService;
use proto::google::r#type::Money;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::domain::{Branch, Line, NewOrder};
use crate::grpc::OrderStore;
use crate::resource::Orders;
use crate::store;

async fn start() -> (Postgres, Pool, OrderStore) {
    let postgres = Postgres::start();
    let pool = postgres.pool(store::migrator()).await;
    let service = OrderStore::new(pool.clone());
    (postgres, pool, service)
}

fn order(account: &str, lines: &[(&str, i64, i64)]) -> PreparedBranch<Branch> {
    let line = |(sku, quantity, unit_price_minor): &(&str, i64, i64)| Line {
        sku: (*sku).to_owned(),
        quantity: *quantity,
        unit_price_minor: *unit_price_minor,
    };
    testing::branch(Branch::Place(NewOrder {
        account: account.to_owned(),
        request_id: format!("{account}/1"),
        currency: "GBP".to_owned(),
        lines: lines.iter().map(line).collect(),
        total_minor: lines.iter().map(|(_, quantity, price)| quantity * price).sum(),
        client_id: "shop".to_owned(),
        waits: false,
    }))
}

async fn read(service: &OrderStore, order: &PreparedBranch<Branch>) -> Result<api::Order, Status> {
    let request = api::ReadOrderRequest { order_id: order.transaction_id.to_string() };
    Ok(service.read_order(Request::new(request)).await?.into_inner().order.unwrap())
}

async fn list(service: &OrderStore, request: api::ReadOrdersRequest) -> Result<api::ReadOrdersResponse, Status> {
    Ok(service.read_orders(Request::new(request)).await?.into_inner())
}

/// The ids on all pages.
async fn list_all(service: &OrderStore, mut request: api::ReadOrdersRequest) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let page = list(service, request.clone()).await.unwrap();
        assert!(page.orders.len() <= 2);
        seen.extend(page.orders.into_iter().map(|order| order.order_id));
        if page.next_page_token.is_empty() {
            return seen;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn orders_are_pending_then_confirmed_or_refused() {
    let (_postgres, pool, service) = start().await;
    let batch =
        [order("ann", &[("a", 2, 150), ("ü \"quoted\" \\", 1, 0), ("a", 1, 150)]), order("bob", &[("b", 1, 1)])];
    assert!(prepare(&Orders, &pool, &batch).await.iter().all(Result::is_ok));
    let pending = read(&service, &batch[0]).await.unwrap();
    assert_eq!(pending.state(), api::OrderState::Pending);
    assert_eq!(pending.total, Some(Money::from_minor("GBP", 450)));
    let lines: Vec<_> = pending.lines.iter().map(|line| (line.sku.as_str(), line.quantity)).collect();
    assert_eq!(lines, [("a", 2), ("ü \"quoted\" \\", 1), ("a", 1)]);
    assert_eq!((pending.account.as_str(), pending.request_id.as_str()), ("ann", "ann/1"));

    commit(&Orders, &pool, &batch[..1]).await;
    abort(&Orders, &pool, &batch[1..]).await;
    assert_eq!(read(&service, &batch[0]).await.unwrap().state(), api::OrderState::Confirmed);
    let refused = read(&service, &batch[1]).await.unwrap();
    assert_eq!(refused.state(), api::OrderState::Refused);
    assert_eq!((refused.reason.as_str(), refused.reason_message.as_str()), ("TIMED_OUT", "it took too long"));
    assert_eq!(audit(&Orders, &pool, &[]).await, [""; 0]);
}

#[tokio::test]
async fn an_attempt_that_lost_its_request_leaves_no_order_behind() {
    let (_postgres, pool, service) = start().await;
    let batch = [order("ann", &[("a", 1, 1)]), order("bob", &[("a", 1, 1)])];
    prepare(&Orders, &pool, &batch).await;
    let duplicate = (batch[0].clone(), Refusal::new(DUPLICATE_REQUEST, "another attempt holds the request"));
    let refused = (batch[1].clone(), Refusal::new("OUT_OF_STOCK", "none is left"));
    Orders.abort(&mut pool.acquire().await.unwrap(), &[duplicate, refused]).await.unwrap();
    assert_eq!(read(&service, &batch[0]).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(read(&service, &batch[1]).await.unwrap().state(), api::OrderState::Refused);
}

#[tokio::test]
async fn what_is_not_there_or_refused_already_is_never_acknowledged_as_refused() {
    let (_postgres, pool, _service) = start().await;
    let batch = [(order("ann", &[("a", 1, 1)]), Refusal::new("OUT_OF_STOCK", "none is left"))];
    let mut connection = pool.acquire().await.unwrap();
    assert!(Orders.abort(&mut connection, &batch).await.is_err());
    prepare(&Orders, &pool, &[batch[0].0.clone()]).await;
    Orders.abort(&mut connection, &batch).await.unwrap();
    assert!(Orders.abort(&mut connection, &batch).await.is_err());
}

#[tokio::test]
async fn pages_go_from_the_newest_to_the_oldest_within_their_filters() {
    let (_postgres, pool, service) = start().await;
    let batch: Vec<_> = ["ann", "bob", "ann", "ann", "bob"].map(|account| order(account, &[("a", 1, 1)])).to_vec();
    prepare(&Orders, &pool, &batch).await;
    commit(&Orders, &pool, &batch[..2]).await;
    abort(&Orders, &pool, &batch[2..3]).await;
    let wanted = |places: &[usize]| -> Vec<String> {
        let mut ids: Vec<_> = places.iter().map(|place| batch[*place].transaction_id.to_string()).collect();
        ids.sort_by(|one, other| other.cmp(one));
        ids
    };
    let all = api::ReadOrdersRequest { page_size: 2, ..Default::default() };
    let of = |state: api::OrderState, account: &str| api::ReadOrdersRequest {
        state: state.into(),
        account: account.to_owned(),
        ..all.clone()
    };
    use api::OrderState::{Confirmed, Pending, Refused, Unspecified};
    assert_eq!(list_all(&service, all.clone()).await, wanted(&[0, 1, 2, 3, 4]));
    assert_eq!(list_all(&service, of(Unspecified, "ann")).await, wanted(&[0, 2, 3]));
    assert_eq!(list_all(&service, of(Confirmed, "")).await, wanted(&[0, 1]));
    assert_eq!(list_all(&service, of(Pending, "bob")).await, wanted(&[4]));
    assert_eq!(list_all(&service, of(Refused, "bob")).await, [""; 0]);

    let page_token = list(&service, all.clone()).await.unwrap().next_page_token;
    let elsewhere = list(&service, api::ReadOrdersRequest { page_token, ..of(Unspecified, "ann") }).await.unwrap_err();
    assert_eq!(elsewhere.get_details_bad_request().unwrap().field_violations[0].field, "page_token");
}

#[tokio::test]
async fn a_page_of_large_orders_stays_within_a_message() {
    let (_postgres, pool, service) = start().await;
    let sku = "x".repeat(64);
    let lines = vec![(sku.as_str(), 1, 1); 2_000];
    let batch: Vec<_> = (0..40).map(|_| order("ann", &lines)).collect();
    prepare(&Orders, &pool, &batch).await;
    let (mut pages, mut seen, mut page_token) = (0, 0, String::new());
    loop {
        let page = list(&service, api::ReadOrdersRequest { page_size: 1_000, page_token, ..Default::default() });
        let page = page.await.unwrap();
        assert!(page.encoded_len() < 4 * 1024 * 1024, "{}", page.encoded_len());
        (pages, seen) = (pages + 1, seen + page.orders.len());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, 40);
    assert!(pages > 1);
}

#[tokio::test]
async fn the_audit_finds_planted_differences() {
    let (_postgres, pool, _service) = start().await;
    let batch = [order("ann", &[("a", 1, 1)]), order("bob", &[("a", 1, 1)])];
    prepare(&Orders, &pool, &batch).await;
    assert_eq!(audit(&Orders, &pool, &batch).await, [""; 0]);
    let [first, second] = [&batch[0], &batch[1]].map(|order| order.transaction_id);
    sqlx::query("UPDATE orders SET refused = true WHERE order_id = $1").bind(first).execute(&pool).await.unwrap();
    sqlx::query("DELETE FROM orders WHERE order_id = $1").bind(second).execute(&pool).await.unwrap();
    let found = [
        format!("no-orphan-holds {first}: the transaction is prepared, but its order is refused"),
        format!("no-orphan-holds {second}: the transaction is prepared, but there is no such order"),
    ];
    assert_eq!(audit(&Orders, &pool, &batch).await, found);
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let (_postgres, _pool, service) = start().await;
    let request = api::ReadOrdersRequest::default();
    let bad = [
        ("page_size", api::ReadOrdersRequest { page_size: -1, ..request.clone() }),
        ("page_token", api::ReadOrdersRequest { page_token: "made up".into(), ..request.clone() }),
        ("state", api::ReadOrdersRequest { state: 99, ..request.clone() }),
        ("account", api::ReadOrdersRequest { account: "a b".into(), ..request }),
    ];
    for (field, request) in bad {
        let status = list(&service, request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, field);
    }
    let malformed = service.read_order(Request::new(api::ReadOrderRequest { order_id: "x".into() })).await.unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);
    let absent = read(&service, &order("ann", &[("a", 1, 1)])).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
    assert_eq!(absent.get_details_error_info().unwrap().reason, "ORDER_NOT_FOUND");
}

#[test]
fn branches_are_checked_as_they_are_read() {
    let money = |minor| Some(Money::from_minor("GBP", minor));
    let line = |sku: &str, quantity, unit_price| api::OrderLine {
        sku: sku.to_owned(),
        quantity,
        unit_price,
        ..api::OrderLine::default()
    };
    let good = api::OrderBranch {
        account: "ann".into(),
        request_id: "shop:1".into(),
        lines: vec![line("85123A", 2, money(255)), line("gift_0001_20", 1, money(0))],
        total: money(510),
        ..api::OrderBranch::default()
    };
    let field = |change: &dyn Fn(&mut api::OrderBranch)| {
        let mut branch = good.clone();
        change(&mut branch);
        Orders.decode(&branch.encode_to_vec()).map_err(|wrong| wrong.field)
    };
    assert!(field(&|_| ()).is_ok());
    let refused = |change: &dyn Fn(&mut api::OrderBranch)| field(change).unwrap_err();
    assert_eq!(refused(&|branch| branch.account = "a b".into()), "branch.account");
    assert_eq!(refused(&|branch| branch.request_id = "a\0".into()), "branch.request_id");
    assert_eq!(refused(&|branch| branch.lines.clear()), "branch.lines");
    assert_eq!(refused(&|branch| branch.lines = vec![line("a", 1, money(0)); 2_001]), "branch.lines");
    assert_eq!(refused(&|branch| branch.lines[1].sku = "a\0".into()), "branch.lines[1].sku");
    assert_eq!(refused(&|branch| branch.lines[1].quantity = 0), "branch.lines[1].quantity");
    assert_eq!(refused(&|branch| branch.lines[1].unit_price = None), "branch.lines[1].unit_price");
    assert_eq!(refused(&|branch| branch.lines[1].unit_price = money(-1)), "branch.lines[1].unit_price");
    let euro = Some(Money::from_minor("EUR", 0));
    assert_eq!(refused(&|branch| branch.lines[1].unit_price = euro.clone()), "branch.lines[1].unit_price");
    assert_eq!(refused(&|branch| branch.total = money(511)), "branch.total");
    assert_eq!(refused(&|branch| branch.total = None), "branch.total");
    assert_eq!(refused(&|branch| branch.client_id = "a\0".into()), "branch.client_id");
    assert_eq!(refused(&|branch| branch.change = Some(api::OrderChange::default())), "branch.change");
    let overflowing = vec![line("a", 1_000_000_000, money(i64::MAX)); 2_000];
    assert_eq!(refused(&|branch| branch.lines = overflowing.clone()), "branch.total");
    assert_eq!(Orders.decode(b"\xff\xff").unwrap_err().field, "branch");
}
