//! Sagas driven against participants that do as they are told, on a real Postgres.
use std::sync::Arc;
use std::time::Duration;

use protocol::record::RecordState;
use protocol::saga::{Definition, SagaState, Step, StepState};
use protocol::step::StepRow;
use uuid::Uuid;

use super::{Steering, cancel, pause, resume, take_over};
use crate::content::Content;
use crate::coordinator::Coordinator;
use crate::domain::Order;
use crate::owner::{Answer, Request};
use crate::participants::branches::Asked;
use crate::store::{ClientAnswer, SagaRow};
use crate::testing::{self, Mood, World, order, until};

async fn place(coordinator: &Arc<Coordinator>, request_id: &str, order: Arc<Order>, timeout_ms: u64) -> Answer {
    let attempt = Request {
        client_id: "client".to_owned(),
        request_id: request_id.to_owned(),
        content: Content::Order(order),
        timeout: Duration::from_millis(timeout_ms),
        deadline_unix_ms: None,
        is_retry: false,
        admitted: testing::admitted(coordinator),
    };
    super::place(coordinator, attempt).await
}

fn id(answer: &Answer) -> Uuid {
    match answer {
        Answer::Accepted { order_id, .. }
        | Answer::Rejected { order_id, .. }
        | Answer::Aborted { order_id, .. }
        | Answer::Unknown { order_id, .. } => *order_id,
        Answer::RequestReused { order_id } => order_id.unwrap(),
    }
}

async fn row(coordinator: &Arc<Coordinator>, saga: Uuid) -> SagaRow {
    coordinator.store.saga(saga).await.unwrap().unwrap()
}

async fn until_ended(coordinator: &Arc<Coordinator>, saga: Uuid) -> SagaState {
    until("the saga has ended", async || row(coordinator, saga).await.saga.state.is_ended()).await;
    row(coordinator, saga).await.saga.state
}

/// What the participants' rows say of all steps, by name.
fn steps(world: &World, saga: Uuid) -> Vec<(String, StepRow)> {
    let mut steps: Vec<_> = world.participants().iter().flat_map(|it| it.steps(&saga.to_string())).collect();
    steps.sort();
    steps
}

fn all(row: StepRow, names: &[&str]) -> Vec<(String, StepRow)> {
    names.iter().map(|name| ((*name).to_owned(), row)).collect()
}

#[test]
fn the_steps_of_an_order_are_a_saga() {
    let steps = super::order::steps(&order("A"), Asked { client_id: "client", request_id: "request" });
    let step = |it: &crate::store::NewStep| Step { kind: it.kind, after: it.after.clone() };
    assert!(Definition::new(steps.iter().map(step).collect()).is_ok());
}

#[tokio::test]
async fn an_order_that_all_accept_is_done_everywhere_and_repeats_are_told_so_in_both_modes() {
    let world = World::start().await;
    let coordinator = world.coordinator("one").await;
    let answer = place(&coordinator, "request", order("A"), 3_000).await;
    let Answer::Accepted { order_id, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(until_ended(&coordinator, order_id).await, SagaState::Done);
    assert_eq!(steps(&world, order_id), all(StepRow::Executed, &["confirm", "payment", "place", "stock"]));
    let record = coordinator.store.record(order_id).await.unwrap().unwrap();
    assert_eq!((record.state, record.client_answer), (RecordState::Committed, ClientAnswer::Accepted));
    let again = place(&coordinator, "request", order("A"), 3_000).await;
    let atomically = testing::place(&coordinator, "request", order("A"), 3_000).await;
    for same in [again, atomically] {
        assert!(matches!(same, Answer::Accepted { order_id: same, .. } if same == order_id), "{same:?}");
    }
    let reused = place(&coordinator, "request", order("B"), 3_000).await;
    assert_eq!(reused, Answer::RequestReused { order_id: Some(order_id) });
    assert_eq!(world.payment.effects(), ["payment"]);
}

#[tokio::test]
async fn an_order_that_was_placed_atomically_is_not_placed_again_as_a_saga() {
    let world = World::start().await;
    let coordinator = world.coordinator("one").await;
    let first = testing::place(&coordinator, "request", order("A"), 3_000).await;
    let again = place(&coordinator, "request", order("A"), 3_000).await;
    assert_eq!(id(&first), id(&again));
    assert!(matches!(again, Answer::Accepted { .. }), "{again:?}");
    assert_eq!(world.inventory.effects(), Vec::<String>::new());
}

#[tokio::test]
async fn a_refused_payment_has_everything_undone() {
    let world = World::start().await;
    let coordinator = world.coordinator("one").await;
    world.payment.set_mood(Mood::Refusing);
    let answer = place(&coordinator, "request", order("A"), 3_000).await;
    let Answer::Rejected { order_id, refusal } = answer else { panic!("{answer:?}") };
    assert_eq!(refusal.metadata.get("participant").map(String::as_str), Some("payment"));
    assert_eq!(until_ended(&coordinator, order_id).await, SagaState::Compensated);
    assert_eq!(world.inventory.effects(), ["stock", "-stock"]);
    assert_eq!(world.order.effects(), ["place", "-place"]);
    let states = row(&coordinator, order_id).await.saga.steps;
    assert_eq!(states, [StepState::Compensated, StepState::Compensated, StepState::Refused, StepState::Skipped]);
    let again = place(&coordinator, "request", order("A"), 3_000).await;
    assert!(matches!(again, Answer::Rejected { order_id: same, .. } if same == order_id), "{again:?}");
}

#[tokio::test]
async fn what_did_not_answer_before_the_deadline_is_compensated_once_it_can_be_reached() {
    let world = World::start().await;
    let coordinator = world.coordinator("one").await;
    world.inventory.set_mood(Mood::AnswersLost);
    let answer = place(&coordinator, "request", order("A"), 300).await;
    let Answer::Aborted { order_id, cause } = answer else { panic!("{answer:?}") };
    assert_eq!(cause.reason, "TIMEOUT");
    world.inventory.set_mood(Mood::Willing);
    assert_eq!(until_ended(&coordinator, order_id).await, SagaState::Compensated);
    assert_eq!(world.inventory.effects(), ["stock", "-stock"]);
    assert_eq!(world.payment.effects(), Vec::<String>::new());
}

#[tokio::test]
async fn a_pivot_in_doubt_is_asked_until_it_is_known_and_others_wait_for_nobody() {
    let world = World::start().await;
    let coordinator = world.coordinator("one").await;
    world.payment.set_mood(Mood::AnswersLost);
    let answer = place(&coordinator, "request", order("A"), 300).await;
    let Answer::Unknown { order_id, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(cancel(&coordinator, order_id).await.unwrap_err(), Steering::PastThePivot);
    let stuck = row(&coordinator, order_id).await;
    assert_eq!(stuck.saga.state, SagaState::Forward);
    until("its tries are noted", async || {
        row(&coordinator, order_id).await.steps.iter().any(|it| it.attempt_count > 0 && !it.last_error.is_empty())
    })
    .await;
    world.payment.set_mood(Mood::Willing);
    let other = place(&coordinator, "another", order("A"), 3_000).await;
    assert!(matches!(other, Answer::Accepted { .. }), "{other:?}");
    assert_eq!(until_ended(&coordinator, order_id).await, SagaState::Done);
    let again = place(&coordinator, "request", order("A"), 3_000).await;
    assert!(matches!(again, Answer::Accepted { order_id: same, .. } if same == order_id), "{again:?}");
    assert_eq!(world.payment.effects(), ["payment", "payment"], "one for each order");
}

#[tokio::test]
async fn what_comes_after_the_pivot_is_asked_until_it_succeeds() {
    let world = World::start().await;
    let coordinator = world.coordinator("one").await;
    world.payment.set_mood(Mood::Silent);
    let placing = {
        let coordinator = coordinator.clone();
        tokio::spawn(async move { place(&coordinator, "request", order("A"), 8_000).await })
    };
    until("the order is placed", async || world.order.effects() == ["place"]).await;
    world.order.set_mood(Mood::Refusing);
    world.payment.set_mood(Mood::Willing);
    let answer = placing.await.unwrap();
    let Answer::Accepted { order_id, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(row(&coordinator, order_id).await.saga.state, SagaState::Forward);
    world.order.set_mood(Mood::Willing);
    assert_eq!(until_ended(&coordinator, order_id).await, SagaState::Done);
}

#[tokio::test]
async fn another_coordinator_goes_on_when_the_lease_ran_out_and_the_zombie_does_no_harm() {
    let world = World::start().await;
    let (zombie, other) = (world.coordinator("one").await, world.coordinator("two").await);
    tokio::spawn(take_over(other.clone()));
    world.payment.set_mood(Mood::Unreachable);
    let placing = {
        let zombie = zombie.clone();
        tokio::spawn(async move { place(&zombie, "request", order("A"), 6_000).await })
    };
    until("the saga waits for the payment", async || world.order.effects() == ["place"]).await;
    let records = zombie.store.list(Some(RecordState::Staging), None, 10).await.unwrap();
    let saga = records.first().unwrap().transaction_id;
    zombie.store.end_lease("one", &zombie.owner_id).await.unwrap();
    until("it was taken over", async || *row(&other, saga).await.owner_id == *other.owner_id).await;
    world.payment.set_mood(Mood::Willing);
    assert_eq!(until_ended(&other, saga).await, SagaState::Done);
    // The zombie's client is told the same, whoever brought it about.
    let answer = placing.await.unwrap();
    assert!(matches!(answer, Answer::Accepted { order_id, .. } if order_id == saga), "{answer:?}");
    let effects = world.participants().map(|participant| participant.effects());
    assert_eq!(effects, [vec!["stock"], vec!["place", "confirm"], vec!["payment"]]);
}

#[tokio::test]
async fn a_paused_saga_waits_and_a_cancelled_one_is_undone() {
    let world = World::start().await;
    let coordinator = world.coordinator("one").await;
    world.inventory.set_mood(Mood::Unreachable);
    let placing = {
        let coordinator = coordinator.clone();
        tokio::spawn(async move { place(&coordinator, "request", order("A"), 5_000).await })
    };
    until("the saga is begun", async || world.order.effects() == ["place"]).await;
    let saga = coordinator.store.list(None, None, 1).await.unwrap().first().unwrap().transaction_id;
    assert!(pause(&coordinator, saga).await.unwrap().paused);
    world.inventory.set_mood(Mood::Willing);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.inventory.effects(), Vec::<String>::new(), "nothing goes on while it is paused");
    world.payment.set_mood(Mood::Unreachable);
    world.inventory.set_mood(Mood::Unreachable);
    assert!(!resume(&coordinator, saga).await.unwrap().paused);
    assert_eq!(cancel(&coordinator, saga).await.unwrap().saga.state, SagaState::Backward);
    world.inventory.set_mood(Mood::Willing);
    assert_eq!(until_ended(&coordinator, saga).await, SagaState::Compensated);
    assert_eq!(world.order.effects(), ["place", "-place"]);
    let answer = placing.await.unwrap();
    assert!(matches!(&answer, Answer::Aborted { cause, .. } if cause.reason == "CANCELLED"), "{answer:?}");
    assert_eq!(cancel(&coordinator, saga).await.unwrap_err(), Steering::Ended);
    assert_eq!(pause(&coordinator, Uuid::now_v7()).await.unwrap_err(), Steering::NotFound);
}
