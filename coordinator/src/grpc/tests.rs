//! OrderService when there is more to do than can be done.
use std::sync::Arc;
use std::time::Duration;

use proto::assent::order::v1 as api;
use proto::assent::order::v1::order_service_server::OrderService;
use proto::google::r#type::Money;
use protocol::branch::BranchState;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::order::Orders;
use crate::coordinator::Coordinator;
use crate::testing::{Mood, World, until};

async fn place(coordinator: &Arc<Coordinator>, request_id: &str, is_retry: bool) -> Result<String, Status> {
    let unit_price = Some(Money::from_minor("GBP", 100));
    let line = api::OrderLine { sku: "A".to_owned(), quantity: 1, unit_price, ..api::OrderLine::default() };
    let mut request = Request::new(api::PlaceOrderRequest {
        request_id: request_id.to_owned(),
        account: "alice".to_owned(),
        lines: vec![line],
        timeout_ms: 10_000,
        mode: api::OrderMode::Atomic.into(),
        ..api::PlaceOrderRequest::default()
    });
    if is_retry {
        request.metadata_mut().insert("grpc-previous-rpc-attempts", 1.into());
    }
    let answer = Orders::new(coordinator.clone()).place_order(request).await?;
    Ok(answer.into_inner().transaction_id)
}

#[tokio::test]
async fn what_is_too_much_is_turned_away_at_once_and_leaves_nothing_behind() {
    let world = World::start().await;
    let coordinator = world.coordinator_with("one", &["--max-open-orders", "2"]).await;
    // Two orders wait for a vote that takes a while.
    world.inventory.set_mood(Mood::RefusingLate);
    world.postgres.pause();
    let begin = |request_id: &'static str, is_retry| {
        let coordinator = coordinator.clone();
        tokio::spawn(async move { place(&coordinator, request_id, is_retry).await })
    };
    let mut waiting = vec![begin("a", false), begin("b", false)];
    until("both are under way", async || coordinator.active.len() == 2).await;

    let turned_away = place(&coordinator, "c", false).await.unwrap_err();
    assert_eq!(turned_away.code(), Code::ResourceExhausted);
    let details = turned_away.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("OVERLOADED", "assent"));
    assert_eq!(info.metadata.get("request_id").map(String::as_str), Some("c"));
    assert!(details.retry_info().unwrap().retry_delay.unwrap() >= Duration::from_millis(100));

    // What was asked before, at another coordinator, is let in up to a point; a repeat of what is driven here always is.
    waiting.push(begin("d", true));
    until("the retry is under way", async || coordinator.active.len() == 3).await;
    assert_eq!(place(&coordinator, "e", true).await.unwrap_err().code(), Code::ResourceExhausted);
    waiting.push(begin("a", false));
    until("the repeat is under way", async || coordinator.active.len() == 4).await;

    world.postgres.resume();
    for answer in waiting {
        let status = answer.await.unwrap().unwrap_err();
        assert_eq!(status.get_details_error_info().unwrap().reason, "OUT_OF_STOCK");
    }
    until("all is settled", async || coordinator.active.len() == 0).await;
    assert_eq!(coordinator.store.holder("default", "c").await.unwrap().map(|record| record.transaction_id), None);

    // As soon as there is room it is let in, under the same request id.
    world.inventory.set_mood(Mood::Willing);
    place(&coordinator, "c", false).await.unwrap();
    until("all is settled", async || coordinator.active.len() == 0).await;
    for participant in world.participants() {
        assert_eq!((participant.count(BranchState::Prepared), participant.count(BranchState::Committed)), (0, 1));
    }
}
