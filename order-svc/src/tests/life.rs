//! What becomes of orders after they were placed.
use participant::testing::{self, Postgres, abort, audit, commit, execute, prepare, step};
use participant::{Pool, PreparedBranch, Resource};
use prost::Message;
use proto::assent::order::v1 as api;
use proto::assent::order::v1::order_store_service_server::OrderStoreService;
use tonic::{Code, Request};
use uuid::Uuid;

use super::{order, read, start};
use crate::domain::{Branch, Change, Operation, ReturnLine};
use crate::grpc::OrderStore;
use crate::resource::Orders;

fn change(order: &PreparedBranch<Branch>, operation: Operation, back: &[(&str, i64)], refund_minor: i64) -> Change {
    let line =
        |(sku, quantity): &(&str, i64)| ReturnLine { sku: (*sku).to_owned(), quantity: *quantity, damaged: true };
    Change {
        order_id: order.transaction_id,
        operation,
        client_id: "desk".to_owned(),
        request_id: format!("{operation:?}"),
        reason: "as the customer says".to_owned(),
        returned: back.iter().map(|(_, quantity)| *quantity).collect(),
        lines: back.iter().filter(|(_, quantity)| *quantity > 0).map(line).collect(),
        refund_minor,
        uncaptured: false,
        allotted_units: 0,
    }
}

fn branch(change: Change) -> PreparedBranch<Branch> {
    testing::branch(Branch::Change(change))
}

/// An order of two mugs and a cup at 1.00 each, confirmed.
async fn confirmed(pool: &Pool) -> PreparedBranch<Branch> {
    let placed = order("ann", &[("mug", 2, 100), ("cup", 1, 100)]);
    prepare(&Orders, pool, std::slice::from_ref(&placed)).await;
    commit(&Orders, pool, std::slice::from_ref(&placed)).await;
    placed
}

/// Carries a change out; its refusal's reason, if it is refused.
async fn carry_out(pool: &Pool, change: Change) -> Result<Uuid, String> {
    let change = [branch(change)];
    let vote = prepare(&Orders, pool, &change).await.remove(0);
    vote.map_err(|refusal| refusal.reason)?;
    commit(&Orders, pool, &change).await;
    Ok(change[0].transaction_id)
}

async fn events(service: &OrderStore, order: &PreparedBranch<Branch>, after_sequence: i64) -> Vec<api::OrderEvent> {
    let order_id = order.transaction_id.to_string();
    let request = api::ReadOrderEventsRequest { order_id, after_sequence, page_size: 2 };
    service.read_order_events(Request::new(request)).await.unwrap().into_inner().events
}

async fn service() -> (Postgres, Pool, OrderStore) {
    start().await
}

#[tokio::test]
async fn a_shipped_order_comes_back_in_parts_and_its_history_tells_who_did_what() {
    let (_postgres, pool, service) = service().await;
    let placed = confirmed(&pool).await;
    assert_eq!(read(&service, &placed).await.unwrap().version, 2);
    let shipped = carry_out(&pool, change(&placed, Operation::Ship, &[], 0)).await.unwrap();
    carry_out(&pool, change(&placed, Operation::Return, &[("mug", 1), ("cup", 0)], 100)).await.unwrap();
    let partly = read(&service, &placed).await.unwrap();
    assert_eq!((partly.state(), partly.version), (api::OrderState::PartiallyReturned, 4));
    assert_eq!(partly.refunded.unwrap().to_minor(), Ok(100));
    let returned: Vec<i64> = partly.lines.iter().map(|line| line.returned_quantity).collect();
    assert_eq!((returned, partly.tracking.as_str()), (vec![1, 0], "as the customer says"));
    carry_out(&pool, change(&placed, Operation::Return, &[("mug", 1), ("cup", 1)], 0)).await.unwrap();
    carry_out(&pool, change(&placed, Operation::Refund, &[], 200)).await.unwrap();
    let back = read(&service, &placed).await.unwrap();
    assert_eq!((back.state(), back.refunded.unwrap().to_minor()), (api::OrderState::Returned, Ok(300)));

    let (mut seen, mut last) = (Vec::new(), 0);
    loop {
        let page = events(&service, &placed, last).await;
        let Some(newest) = page.last() else { break };
        last = newest.sequence;
        seen.extend(page);
    }
    let told: Vec<(i64, api::OrderEventKind, &str)> =
        seen.iter().map(|event| (event.sequence, event.kind(), event.actor.as_str())).collect();
    use api::OrderEventKind::{Confirmed, Placed, Refunded, Returned, Shipped};
    let expected = [
        (1, Placed, "shop"),
        (2, Confirmed, "shop"),
        (3, Shipped, "desk"),
        (4, Returned, "desk"),
        (5, Returned, "desk"),
        (6, Refunded, "desk"),
    ];
    assert_eq!(told, expected);
    assert_eq!(seen[2].transaction_id, shipped.to_string());
    assert_eq!((seen[3].lines.len(), seen[3].lines[0].condition()), (1, api::ReturnCondition::Damaged));
    assert_eq!(audit(&Orders, &pool, &[]).await, [""; 0]);
}

#[tokio::test]
async fn of_changes_that_exclude_each_other_one_is_granted() {
    let (_postgres, pool, service) = service().await;
    let placed = confirmed(&pool).await;
    let both = [branch(change(&placed, Operation::Cancel, &[], 300)), branch(change(&placed, Operation::Ship, &[], 0))];
    let votes = prepare(&Orders, &pool, &both).await;
    assert_eq!((votes[0].is_ok(), votes[1].as_ref().unwrap_err().reason.as_str()), (true, "ORDER_BUSY"));
    // In doubt: what it will be is told beside what it is.
    let pending =
        service.read_order(Request::new(api::ReadOrderRequest { order_id: placed.transaction_id.to_string() }));
    let pending = pending.await.unwrap().into_inner();
    assert_eq!(pending.order.unwrap().state(), api::OrderState::Confirmed);
    let after = pending.pending_change.unwrap();
    assert_eq!(after.transaction_id, both[0].transaction_id.to_string());
    assert_eq!((after.after.as_ref().unwrap().state(), after.after.unwrap().version), (api::OrderState::Cancelled, 3));
    assert_eq!(audit(&Orders, &pool, &both[..1]).await, [""; 0]);
    commit(&Orders, &pool, &both[..1]).await;
    let late = carry_out(&pool, change(&placed, Operation::Ship, &[], 0)).await;
    assert_eq!(late.unwrap_err(), "ALREADY_CANCELLED");
    assert_eq!(events(&service, &placed, 2).await.len(), 1);
}

#[tokio::test]
async fn a_change_that_is_aborted_leaves_the_order_as_it_was() {
    let (_postgres, pool, service) = service().await;
    let placed = confirmed(&pool).await;
    let cancel = [branch(change(&placed, Operation::Cancel, &[], 300))];
    prepare(&Orders, &pool, &cancel).await;
    abort(&Orders, &pool, &cancel).await;
    let order = read(&service, &placed).await.unwrap();
    assert_eq!((order.state(), order.version, order.refunded), (api::OrderState::Confirmed, 2, None));
    let lives: i64 = sqlx::query_scalar("SELECT count(*) FROM order_life").fetch_one(&pool).await.unwrap();
    assert_eq!(lives, 0);
    carry_out(&pool, change(&placed, Operation::Ship, &[], 0)).await.unwrap();
    let back = [branch(change(&placed, Operation::Return, &[("mug", 2), ("cup", 1)], 0))];
    prepare(&Orders, &pool, &back).await;
    abort(&Orders, &pool, &back).await;
    assert_eq!(read(&service, &placed).await.unwrap().state(), api::OrderState::Shipped);
    assert_eq!(audit(&Orders, &pool, &[]).await, [""; 0]);
}

#[tokio::test]
async fn only_confirmed_orders_can_be_changed_and_only_those_that_exist() {
    let (_postgres, pool, service) = service().await;
    let pending = order("ann", &[("mug", 1, 100)]);
    prepare(&Orders, &pool, std::slice::from_ref(&pending)).await;
    let cancel = |order: &PreparedBranch<Branch>| change(order, Operation::Cancel, &[], 100);
    assert_eq!(carry_out(&pool, cancel(&pending)).await.unwrap_err(), "ORDER_BUSY");
    abort(&Orders, &pool, std::slice::from_ref(&pending)).await;
    assert_eq!(carry_out(&pool, cancel(&pending)).await.unwrap_err(), "ORDER_REFUSED");
    assert_eq!(carry_out(&pool, cancel(&order("ann", &[]))).await.unwrap_err(), "ORDER_NOT_FOUND");
    let placed = confirmed(&pool).await;
    let back = change(&placed, Operation::Return, &[("mug", 1), ("cup", 0)], 0);
    assert_eq!(carry_out(&pool, back).await.unwrap_err(), "NOT_SHIPPED");
    let shipped = carry_out(&pool, change(&placed, Operation::Ship, &[], 0)).await.unwrap();
    // The id of a change is no order's.
    let request = api::ReadOrderRequest { order_id: shipped.to_string() };
    let found = service.read_order(Request::new(request)).await.unwrap().into_inner();
    assert_eq!((found.order, found.changed_order_id), (None, placed.transaction_id.to_string()));
    let absent = api::ReadOrderEventsRequest { order_id: Uuid::nil().to_string(), ..Default::default() };
    let absent = service.read_order_events(Request::new(absent)).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
}

#[tokio::test]
async fn a_change_may_be_a_step_of_a_saga() {
    let (_postgres, pool, service) = service().await;
    let placed = confirmed(&pool).await;
    let ship = branch(change(&placed, Operation::Ship, &[], 0));
    let late = branch(change(&placed, Operation::Cancel, &[], 300));
    assert!(execute(&Orders, &pool, &[step("ship", &ship)]).await[0].is_ok());
    let refused = execute(&Orders, &pool, &[step("undo", &late), step("place", &order("bob", &[("mug", 1, 1)]))]).await;
    assert_eq!(refused[0].as_ref().unwrap_err().reason, "ALREADY_SHIPPED");
    assert!(refused[1].is_ok());
    assert_eq!(read(&service, &placed).await.unwrap().state(), api::OrderState::Shipped);
    let undone = [(step("ship", &ship), participant::Refusal::new("DECLINED", "no"))];
    assert!(Orders.compensate(&mut pool.acquire().await.unwrap(), &undone).await.is_err());
}

#[tokio::test]
async fn orders_are_listed_by_what_became_of_them() {
    let (_postgres, pool, service) = service().await;
    let orders = [confirmed(&pool).await, confirmed(&pool).await, confirmed(&pool).await];
    carry_out(&pool, change(&orders[0], Operation::Ship, &[], 0)).await.unwrap();
    carry_out(&pool, change(&orders[1], Operation::Cancel, &[], 300)).await.unwrap();
    prepare(&Orders, &pool, &[branch(change(&orders[2], Operation::Ship, &[], 0))]).await;
    let list = async |request: api::ReadOrdersRequest| {
        let page = service.read_orders(Request::new(request)).await.unwrap().into_inner();
        page.orders.into_iter().map(|order| order.order_id).collect::<Vec<_>>()
    };
    use api::OrderState::{Cancelled, Confirmed, Returned, Shipped};
    for (state, expected) in [(Shipped, Some(0)), (Cancelled, Some(1)), (Confirmed, Some(2)), (Returned, None)] {
        let expected: Vec<String> =
            expected.into_iter().map(|at: usize| orders[at].transaction_id.to_string()).collect();
        assert_eq!(list(api::ReadOrdersRequest { state: state.into(), ..Default::default() }).await, expected);
    }
    let changing = list(api::ReadOrdersRequest { changing: true, ..Default::default() }).await;
    assert_eq!(changing, [orders[2].transaction_id.to_string()]);
}

#[tokio::test]
async fn the_audit_finds_orders_that_are_not_what_their_histories_come_to() {
    let (_postgres, pool, _service) = service().await;
    let placed = confirmed(&pool).await;
    carry_out(&pool, change(&placed, Operation::Ship, &[], 0)).await.unwrap();
    carry_out(&pool, change(&placed, Operation::Return, &[("mug", 1), ("cup", 0)], 100)).await.unwrap();
    let id = placed.transaction_id;
    let plant = async |statement: &'static str, expected: &str| {
        let mut local = pool.begin().await.unwrap();
        sqlx::query("ALTER TABLE order_event DISABLE TRIGGER ALL").execute(&mut *local).await.unwrap();
        sqlx::query(statement).execute(&mut *local).await.unwrap();
        let checks = Orders.audit(&mut local, &[]).await.unwrap();
        let found: Vec<String> =
            checks.iter().flat_map(|check| &check.violations).map(|one| one.detail.clone()).collect();
        local.rollback().await.unwrap();
        assert!(found.iter().any(|detail| detail.contains(expected)), "{statement}: {found:?}");
    };
    plant("UPDATE order_life SET state = 4", "its history ends with 6 at 4").await;
    plant("UPDATE order_life SET version = 9", "it is 6 at version 9").await;
    plant("UPDATE order_life SET refunded_minor = 99", "99 were paid back, 100 by its history").await;
    plant("UPDATE order_life SET returned = '[3, 0]'", "3 of mug have come back, of 2 bought").await;
    plant("UPDATE order_life SET returned = NULL", "by its history {\"mug\": 1}").await;
    plant("DELETE FROM order_event WHERE sequence = 3", "its history goes from event 2 to 4").await;
    plant("UPDATE order_event SET kind = 4 WHERE sequence = 4", "event 4 can't follow upon SHIPPED").await;
    plant("DELETE FROM order_life", "nothing has happened to it").await;
    plant("UPDATE orders SET refused = true", "never confirmed").await;
    plant("UPDATE order_life SET pending_id = order_id, pending_state = 5", "a change that is not prepared").await;
    let missing = branch(change(&placed, Operation::Refund, &[], 1));
    let found = format!("no-orphan-holds {id}: a change is prepared, but the order does not hold it");
    assert_eq!(audit(&Orders, &pool, &[missing]).await, [found]);
}

#[test]
fn changes_are_checked_as_they_are_read() {
    let good = api::OrderChange {
        order_id: Uuid::nil().to_string(),
        operation: api::OrderOperation::Return.into(),
        returned: vec![1],
        lines: vec![api::ReturnLine { sku: "mug".into(), quantity: 1, condition: 0 }],
        ..api::OrderChange::default()
    };
    let field = |alter: &dyn Fn(&mut api::OrderChange)| {
        let mut change = good.clone();
        alter(&mut change);
        let branch = api::OrderBranch { request_id: "r".into(), change: Some(change), ..Default::default() };
        Orders.decode(&branch.encode_to_vec()).map(drop).map_err(|wrong| wrong.field)
    };
    assert_eq!(field(&|_| ()), Ok(()));
    let refused = |alter: &dyn Fn(&mut api::OrderChange)| field(alter).unwrap_err();
    assert_eq!(refused(&|change| change.order_id = "x".into()), "branch.change.order_id");
    assert_eq!(refused(&|change| change.operation = 99), "branch.change.operation");
    assert_eq!(refused(&|change| change.reason = "a\0".into()), "branch.change.reason");
    assert_eq!(refused(&|change| change.returned = vec![-1]), "branch.change.returned");
    assert_eq!(refused(&|change| change.returned = vec![0; 2_001]), "branch.change.returned");
    assert_eq!(refused(&|change| change.lines[0].quantity = 0), "branch.change.lines[0].quantity");
    assert_eq!(refused(&|change| change.lines[0].sku = "\n".into()), "branch.change.lines[0].sku");
    assert_eq!(refused(&|change| change.refund_minor = -1), "branch.change.refund_minor");
    let cancel = api::OrderOperation::Cancel.into();
    assert_eq!(refused(&|change| change.operation = cancel), "branch.change.returned");
}

#[tokio::test]
async fn an_order_that_waits_gets_each_allotment_once() {
    let (_postgres, pool, service) = start().await;
    let Branch::Place(content) = &*order("ann", &[("mug", 2, 100), ("pot", 1, 50)]).branch else { unreachable!() };
    let waiting = testing::branch(Branch::Place(crate::domain::NewOrder { waits: true, ..content.clone() }));
    assert!(prepare(&Orders, &pool, std::slice::from_ref(&waiting)).await[0].is_ok());
    commit(&Orders, &pool, std::slice::from_ref(&waiting)).await;
    let shown = async || {
        let order = read(&service, &waiting).await.unwrap();
        (order.state(), order.allotted_units)
    };
    assert_eq!(shown().await, (api::OrderState::Backordered, 0));
    let allot = |units: i64, reason: &str| {
        let allot =
            Change { allotted_units: units, reason: reason.to_owned(), ..change(&waiting, Operation::Allot, &[], 0) };
        branch(allot)
    };
    let vote = async |one: &PreparedBranch<Branch>| {
        let vote = prepare(&Orders, &pool, std::slice::from_ref(one)).await.remove(0);
        vote.err().map(|refusal| refusal.reason).unwrap_or_default()
    };
    assert_eq!(vote(&branch(change(&waiting, Operation::Ship, &[], 0))).await, "NOT_ALLOCATED");
    let first = allot(1, "allotment 1");
    assert_eq!(vote(&first).await, "");
    abort(&Orders, &pool, std::slice::from_ref(&first)).await;
    assert_eq!(shown().await, (api::OrderState::Backordered, 0));
    let again = allot(1, "allotment 1");
    assert_eq!(vote(&again).await, "");
    commit(&Orders, &pool, &[again]).await;
    assert_eq!(shown().await, (api::OrderState::PartiallyAllocated, 1));
    assert_eq!(vote(&allot(1, "allotment 1")).await, "ORDER_NOT_WAITING");
    let rest = allot(2, "allotment 2");
    assert_eq!(vote(&rest).await, "");
    commit(&Orders, &pool, &[rest]).await;
    assert_eq!(shown().await, (api::OrderState::Confirmed, 3));
    assert_eq!(vote(&allot(1, "allotment 3")).await, "ORDER_NOT_WAITING");
    assert_eq!(audit(&Orders, &pool, &[]).await, [""; 0]);
    sqlx::query("UPDATE order_life SET allotted_units = 2").execute(&*pool).await.unwrap();
    let wrong = format!("order-life {}: 2 units were got, 3 by its history", waiting.transaction_id);
    assert_eq!(audit(&Orders, &pool, &[]).await, [wrong]);
}
