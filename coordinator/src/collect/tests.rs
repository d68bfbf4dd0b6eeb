//! Rounds of collection against participants that do as they are told, on a real Postgres.
use protocol::branch::BranchState;

use super::*;
use crate::owner::Answer;
use crate::participants::Participants;
use crate::store::NewRecord;
use crate::testing::{FakeParticipant, Mood, World, abandon, order, place, until};

/// A coordinator whose watermark is a minute ahead of the clock: all that is placed here is below it in its next round, and
/// by so much that what the horizon has not reached by then counts as held up.
async fn hasty(world: &World) -> Arc<Coordinator> {
    world.coordinator_with("one", &["--watermark-lag-ms=-60000"]).await
}

/// An order that is COMMITTED everywhere; its id.
async fn sell(world: &World, coordinator: &Arc<Coordinator>, request_id: &str) -> Uuid {
    let answer = place(coordinator, request_id, order("A"), 3_000).await;
    let Answer::Accepted { order_id, .. } = answer else { panic!("{answer:?}") };
    until("COMMITTED everywhere", async || {
        let is_there = |at: &&FakeParticipant| at.state(&order_id.to_string()) == Some(BranchState::Committed);
        let record = coordinator.store.record(order_id).await.unwrap().unwrap();
        record.state == RecordState::Committed && world.participants().iter().all(is_there)
    })
    .await;
    order_id
}

async fn deadline(coordinator: &Coordinator, transaction_id: Uuid) -> i64 {
    coordinator.store.record(transaction_id).await.unwrap().unwrap().deadline_unix_ms
}

/// Whether the record is noted as ended.
async fn has_ended(world: &World, transaction_id: Uuid) -> bool {
    sqlx::query_scalar("SELECT ended FROM record_as_it_stands WHERE transaction_id = $1")
        .bind(transaction_id)
        .fetch_one(&*world.postgres.pool().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_all_confirm_ends_without_being_named() {
    let world = World::start().await;
    let coordinator = hasty(&world).await;
    let sold = sell(&world, &coordinator, "sold").await;
    let due = deadline(&coordinator, sold).await;
    round(&coordinator).await.unwrap();
    assert!(has_ended(&world, sold).await);
    for participant in world.participants() {
        assert!(participant.has_ended_up_to(due) && participant.ended().is_empty());
    }
}

#[tokio::test]
async fn a_participant_that_knows_no_horizons_is_told_of_each_transaction() {
    let world = World::start().await;
    let coordinator = hasty(&world).await;
    let sold = sell(&world, &coordinator, "sold").await;
    world.order.forget_horizons();
    round(&coordinator).await.unwrap();
    assert!(has_ended(&world, sold).await);
    for participant in world.participants() {
        assert_eq!(participant.ended().into_iter().collect::<Vec<_>>(), [sold.to_string()]);
        assert!(!participant.has_ended_up_to(1), "nobody is told a horizon that one has not confirmed");
    }
}

#[tokio::test]
async fn what_is_held_up_by_no_answer_ends_when_everyone_answers_again() {
    let world = World::start().await;
    let coordinator = hasty(&world).await;
    let sold = sell(&world, &coordinator, "sold").await;
    world.payment.set_mood(Mood::Unreachable);
    round(&coordinator).await.unwrap();
    assert!(!has_ended(&world, sold).await);
    world.payment.set_mood(Mood::Willing);
    round(&coordinator).await.unwrap();
    assert!(has_ended(&world, sold).await);
}

#[tokio::test]
async fn a_record_in_doubt_holds_the_horizon_up_but_not_what_lies_above_it() {
    let world = World::start().await;
    let coordinator = hasty(&world).await;
    let sold = sell(&world, &coordinator, "before").await;
    let open = abandon(&coordinator, "open", true).await;
    let later = sell(&world, &coordinator, "later").await;
    let [due, open_due, later_due] =
        [deadline(&coordinator, sold).await, deadline(&coordinator, open).await, deadline(&coordinator, later).await];
    assert!(due < open_due && open_due < later_due);
    round(&coordinator).await.unwrap();
    assert!(has_ended(&world, sold).await && has_ended(&world, later).await && !has_ended(&world, open).await);
    for participant in world.participants() {
        assert!(participant.has_ended_up_to(due) && !participant.has_ended_up_to(open_due));
        assert_eq!(participant.ended().into_iter().collect::<Vec<_>>(), [later.to_string()], "it is ended by its id");
        assert_eq!(participant.state(&open.to_string()), Some(BranchState::Prepared));
    }
}

#[tokio::test]
async fn a_row_in_doubt_that_the_coordinator_does_not_see_holds_the_horizon_up() {
    let world = World::start().await;
    let coordinator = hasty(&world).await;
    let open = abandon(&coordinator, "open", false).await;
    let sold = sell(&world, &coordinator, "sold").await;
    let due = deadline(&coordinator, sold).await;
    assert_eq!(world.inventory.state(&open.to_string()), Some(BranchState::Prepared));
    round(&coordinator).await.unwrap();
    assert!(has_ended(&world, sold).await, "by its id");
    assert!(world.participants().iter().all(|participant| !participant.has_ended_up_to(due)));
}

#[tokio::test]
async fn a_record_that_names_a_participant_unknown_here_never_ends_here() {
    let world = World::start().await;
    let coordinator = hasty(&world).await;
    let sold = sell(&world, &coordinator, "sold").await;
    let record = Arc::new(NewRecord {
        transaction_id: Uuid::now_v7(),
        client_id: "client".to_owned(),
        request_id: "foreign".to_owned(),
        request_digest: vec![1],
        owner_id: coordinator.owner_id.clone(),
        deadline_unix_ms: now_unix_ms() + 3_000,
        participants: "inventory,elsewhere".into(),
    });
    coordinator.store.stage(record.clone()).await.unwrap();
    coordinator.store.commit(record.transaction_id).await.unwrap();
    let known = Participants::names(&coordinator.participants);
    let horizon = coordinator.store.horizon(i64::MAX, &known).await.unwrap();
    assert_eq!(horizon, record.deadline_unix_ms - 1);
    for _ in 0..2 {
        round(&coordinator).await.unwrap();
        assert!(has_ended(&world, sold).await && !has_ended(&world, record.transaction_id).await);
    }
    let all: Vec<String> = known.into_iter().chain(["elsewhere".to_owned()]).collect();
    assert_eq!(coordinator.store.horizon(i64::MAX, &all).await.unwrap(), i64::MAX, "another coordinator may know it");
}
