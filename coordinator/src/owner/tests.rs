//! Attempts driven against participants that do as they are told, on a real Postgres.
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use protocol::branch::BranchState;
use protocol::record::RecordState;
use uuid::Uuid;

use super::Answer;
use crate::coordinator::Coordinator;
use crate::recover;
use crate::store::{ClientAnswer, Record};
use crate::testing::{Mood, World, order, place, until};

async fn final_record(coordinator: &Arc<Coordinator>, order_id: Uuid) -> Record {
    until("a final record", async || {
        let record = coordinator.store.record(order_id).await.unwrap();
        record.is_some_and(|record| record.state.is_terminal())
    })
    .await;
    coordinator.active.settled(order_id).await;
    coordinator.store.record(order_id).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_order_that_all_accept_is_committed_everywhere() {
    let world = World::start().await;
    let coordinator = world.coordinator("one").await;
    let answer = place(&coordinator, "request", order("A"), 3_000).await;
    let Answer::Accepted { order_id, .. } = answer else { panic!("{answer:?}") };
    let record = final_record(&coordinator, order_id).await;
    assert_eq!((record.state, record.client_answer), (RecordState::Committed, ClientAnswer::Accepted));
    for participant in world.participants() {
        assert_eq!(participant.state(&order_id.to_string()), Some(BranchState::Committed));
    }
    // The same call again is the same order; another order under the same request id is not.
    let again = place(&coordinator, "request", order("A"), 3_000).await;
    assert!(matches!(again, Answer::Accepted { order_id: same, .. } if same == order_id), "{again:?}");
    let reused = place(&coordinator, "request", order("B"), 3_000).await;
    assert_eq!(reused, Answer::RequestReused { order_id: Some(order_id) });
    for participant in world.participants() {
        until("the repeats' branches are aborted", async || participant.count(BranchState::Prepared) == 0).await;
        assert_eq!((participant.count(BranchState::Committed), participant.alarms().len()), (1, 0));
    }
}

/// As a participant has prepared them: then it can close the batch and need not touch its rows.
#[tokio::test]
async fn what_is_decided_together_is_committed_together() {
    const ORDERS: usize = 400;
    let world = World::start().await;
    let coordinator = world.coordinator("one").await;
    let names: Vec<String> = (0..ORDERS).map(|number| format!("request-{number}")).collect();
    let answers = join_all(names.iter().map(|name| place(&coordinator, name, order("A"), 20_000))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Answer::Accepted { .. })), "{answers:?}");
    for participant in world.participants() {
        until("all are committed", async || participant.count(BranchState::Committed) == ORDERS).await;
        assert_eq!(participant.commits(), [ORDERS]);
    }
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason_each_time_and_nothing_stays() {
    let world = World::start().await;
    let coordinator = world.coordinator("one").await;
    world.inventory.set_mood(Mood::Refusing);
    for _ in 0..2 {
        let answer = place(&coordinator, "request", order("A"), 3_000).await;
        let Answer::Rejected { order_id, refusal } = answer else { panic!("{answer:?}") };
        assert_eq!(refusal.reason, "OUT_OF_STOCK");
        assert_eq!(refusal.metadata.get("participant").map(String::as_str), Some("inventory"));
        let record = final_record(&coordinator, order_id).await;
        assert_eq!((record.state, record.client_answer), (RecordState::Aborted, ClientAnswer::Rejected));
        // Willing now, but the request has its answer.
        world.inventory.set_mood(Mood::Willing);
    }
    for participant in world.participants() {
        until("nothing is held", async || participant.count(BranchState::Prepared) == 0).await;
        assert_eq!(participant.count(BranchState::Committed), 0);
    }
}

#[tokio::test]
async fn a_silent_participant_holds_back_no_record_of_a_later_order() {
    let world = World::start().await;
    let coordinator = world.coordinator("one").await;
    world.payment.set_mood(Mood::Silent);
    let staged = async |request: &str| {
        let begun = Instant::now();
        until("its record", async || coordinator.store.holder("client", request).await.unwrap().is_some()).await;
        begun.elapsed()
    };
    let first = tokio::spawn({
        let coordinator = coordinator.clone();
        async move { place(&coordinator, "first", order("A"), 1_500).await }
    });
    staged("first").await;
    // The first round lasts until the participant's time is over.
    let (answer, after) = tokio::join!(place(&coordinator, "second", order("A"), 1_500), staged("second"));
    assert!(after < Duration::from_millis(700), "staged after {after:?}");
    for answer in [answer, first.await.unwrap()] {
        assert!(matches!(answer, Answer::Aborted { .. }), "{answer:?}");
    }
}

#[tokio::test]
async fn a_participant_that_is_down_or_silent_or_loses_its_answer_aborts_in_bounded_time() {
    let world = World::start().await;
    let coordinator = world.coordinator("one").await;
    for (mood, cause) in [
        (Mood::Unreachable, "PARTICIPANT_UNAVAILABLE"),
        (Mood::AnswersLost, "PARTICIPANT_UNAVAILABLE"),
        (Mood::Silent, "TIMEOUT"),
    ] {
        world.payment.set_mood(mood);
        let begun = Instant::now();
        let answer = place(&coordinator, &format!("{mood:?}"), order("A"), 700).await;
        let Answer::Aborted { order_id, cause: why } = answer else { panic!("{mood:?}: {answer:?}") };
        assert_eq!(why.reason, cause, "{why:?}");
        assert!(begun.elapsed() < Duration::from_millis(1_500), "{mood:?} took {:?}", begun.elapsed());
        let record = coordinator.store.record(order_id).await.unwrap().unwrap();
        assert_eq!(record.state, RecordState::Aborted);
        world.payment.set_mood(Mood::Willing);
        coordinator.active.settled(order_id).await;
        for participant in world.participants() {
            assert_eq!(participant.state(&order_id.to_string()), Some(BranchState::Aborted), "{mood:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_that_comes_while_the_record_is_aborted_for_doubt_changes_no_answer() {
    let world = World::start().await;
    let coordinator = world.coordinator("one").await;
    world.payment.set_mood(Mood::Unreachable);
    world.inventory.set_mood(Mood::RefusingLate);
    // Payment's doubt goes for the abort, and the database makes it wait until inventory has refused.
    world.postgres.pause();
    let placing = place(&coordinator, "request", order("A"), 3_000);
    let resuming = async {
        until("inventory has refused", async || world.inventory.count(BranchState::Aborted) == 1).await;
        // One RPC at a time goes to a participant: when the next one is answered, the refusal has arrived.
        crate::testing::ask(&coordinator, "inventory").await;
        world.postgres.resume();
    };
    let (answer, ()) = tokio::join!(placing, resuming);
    let Answer::Aborted { order_id, cause } = &answer else { panic!("{answer:?}") };
    assert_eq!(cause.reason, "PARTICIPANT_UNAVAILABLE");
    world.payment.set_mood(Mood::Willing);
    coordinator.active.settled(*order_id).await;
    let again = place(&coordinator, "request", order("A"), 3_000).await;
    assert_eq!(again, answer, "the request keeps its answer");
}

#[tokio::test]
async fn many_calls_for_one_request_through_two_coordinators_place_one_order() {
    let world = World::start().await;
    let coordinators = [world.coordinator("one").await, world.coordinator("two").await];
    let calls = (0..12).map(|place_of| place(&coordinators[place_of % 2], "request", order("A"), 3_000));
    let mut orders: Vec<Uuid> = join_all(calls)
        .await
        .into_iter()
        .map(|answer| match answer {
            Answer::Accepted { order_id, .. } => order_id,
            other => panic!("{other:?}"),
        })
        .collect();
    orders.dedup();
    assert_eq!(orders.len(), 1, "{orders:?}");
    for participant in world.participants() {
        until("the losers are aborted", async || participant.count(BranchState::Prepared) == 0).await;
        assert_eq!((participant.count(BranchState::Committed), participant.alarms().len()), (1, 0));
    }
}

#[tokio::test]
async fn another_coordinator_finishes_what_a_dead_one_accepted_or_never_recorded() {
    let world = World::start().await;
    let dead = world.coordinator("dead").await;
    // Accepted by its votes alone: the record is STAGING and everyone is prepared.
    let accepted = crate::testing::abandon(&dead, "accepted", true).await;
    // Prepared in one place, never recorded.
    let lost = crate::testing::abandon(&dead, "lost", false).await;
    let other = world.coordinator("other").await;
    world.payment.set_mood(Mood::Unreachable);
    tokio::spawn(recover::take_over(other.clone()));
    until("the lost one is aborted", async || world.inventory.state(&lost.to_string()) == Some(BranchState::Aborted))
        .await;
    // What may have been accepted waits for the participant that can't be asked, and is shown as such.
    until("the doubt is noted", async || !other.recoverer.why_in_doubt(accepted).is_empty()).await;
    assert_eq!(other.store.record(accepted).await.unwrap().unwrap().state, RecordState::Staging);
    world.payment.set_mood(Mood::Willing);
    let begun = Instant::now();
    for participant in world.participants() {
        until("the accepted one is committed", async || {
            participant.state(&accepted.to_string()) == Some(BranchState::Committed)
        })
        .await;
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(other.store.record(accepted).await.unwrap().unwrap().state, RecordState::Committed);
    assert_eq!(other.store.record(lost).await.unwrap().unwrap().state, RecordState::Aborted);
    assert!(world.participants().iter().all(|participant| participant.alarms().is_empty()));
}

#[tokio::test]
async fn a_decision_that_the_database_lost_is_found_again_while_its_owner_lives() {
    let world = World::start().await;
    let coordinator = world.coordinator("one").await;
    let Answer::Accepted { order_id, .. } = place(&coordinator, "request", order("A"), 60_000).await else { panic!() };
    final_record(&coordinator, order_id).await;
    tokio::spawn(recover::take_over(coordinator.clone()));
    sqlx::query(
        "UPDATE record_batch SET state = 1, undecided = 1, decide_time = NULL
         WHERE batch_id = (SELECT batch_id FROM record WHERE transaction_id = $1 AND state = 1)",
    )
    .bind(order_id)
    .execute(&world.postgres.pool().await)
    .await
    .unwrap();
    let begun = Instant::now();
    assert_eq!(final_record(&coordinator, order_id).await.state, RecordState::Committed);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn without_its_database_a_coordinator_says_that_it_does_not_know_and_settles_it_later() {
    let world = World::start().await;
    let coordinator = world.coordinator("one").await;
    place(&coordinator, "before", order("A"), 3_000).await;
    world.postgres.pause();
    let begun = Instant::now();
    let answer = place(&coordinator, "request", order("A"), 500).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let Answer::Unknown { order_id, .. } = answer else { panic!("{answer:?}") };
    world.postgres.resume();
    let record = final_record(&coordinator, order_id).await;
    assert_eq!(record.client_answer, ClientAnswer::Unknown);
    for participant in world.participants() {
        until("everyone has the decision", async || {
            participant.state(&order_id.to_string()) == Some(BranchState::Aborted)
        })
        .await;
    }
}
