//! Batches that are closed, and rows that are decided one by one, by several processes at once and across crashes.
use futures::future::join_all;

use super::*;
use crate::log::batches;
use crate::log::waiting::Closing;

impl World {
    /// Has these prepared in one local transaction.
    async fn prepare_all(&self, transactions: &[TransactionRef]) -> Vec<Reply> {
        self.writer.submit_all(transactions.iter().map(|it| prepare(*it, "hall")).collect()).await.unwrap()
    }

    async fn commit_all(&self, transactions: &[TransactionRef]) -> Vec<Reply> {
        self.writer.submit_all(transactions.iter().map(|it| commit(*it)).collect()).await.unwrap()
    }

    /// What the rows themselves say.
    async fn said(&self, transactions: &[TransactionRef]) -> Vec<i16> {
        let mut said = Vec::new();
        for it in transactions {
            let row = sqlx::query_scalar("SELECT state FROM branch_log WHERE transaction_id = $1");
            said.push(row.bind(it.transaction_id).fetch_one(&self.pool).await.unwrap());
        }
        said
    }

    /// The states of the batches, and how many of their rows are undecided, in the order in which they were prepared.
    pub(super) async fn batches(&self) -> Vec<(i16, i32)> {
        let rows = sqlx::query_as("SELECT state, undecided FROM branch_batch ORDER BY batch_id");
        rows.fetch_all(&self.pool).await.unwrap()
    }

    /// Returns when a writer waits for a lock.
    async fn writer_waits(&self) {
        self.waits("writer").await;
    }

    /// Returns when a session of this name does.
    pub(super) async fn waits(&self, application_name: &str) {
        let waits =
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock')";
        let waits = || sqlx::query_scalar::<_, bool>(waits).bind(application_name).fetch_one(&self.pool);
        while !waits().await.unwrap() {}
    }

    /// Each of these is committed or aborted, each seat was sold or given back once, and the log's counts are right.
    pub(super) async fn is_sound(&self) {
        let checks = self.log.audit(&Seats).await.unwrap();
        assert!(checks.iter().all(|check| check.violations.is_empty()), "{checks:#?}");
    }
}

fn commit(transaction: TransactionRef) -> Entry<String> {
    Entry::Commit { transaction, durable: false }
}

fn abort(transaction: TransactionRef) -> Entry<String> {
    Entry::Abort(transaction, Refusal::new("TIMEOUT", "too late"))
}

fn transactions(count: usize) -> Vec<TransactionRef> {
    (0..count).map(|_| transaction()).collect()
}

#[tokio::test]
async fn what_was_prepared_together_is_committed_together_and_no_row_is_touched() {
    let world = World::with_seats(5).await;
    let all = transactions(5);
    world.prepare_all(&all).await;
    assert_eq!(world.batches().await, [(1, 5)]);
    assert_eq!(world.commit_all(&all).await, vec![Reply::Settled(Settle::Apply); 5]);
    assert_eq!((world.batches().await, world.said(&all).await), (vec![(2, 0)], vec![1; 5]));
    assert_eq!(world.seats().await, (0, 5));
    for it in &all {
        let row = world.log.get(it.transaction_id).await.unwrap().unwrap();
        assert_eq!((row.state, row.decide_time.is_some()), (BranchState::Committed, true));
    }
    assert_eq!(world.commit_all(&all).await, vec![Reply::Settled(Settle::Already); 5]);
    assert_eq!(world.abort(all[0]).await, Reply::Settled(Settle::Alarm));
    assert_eq!(world.say(Entry::Fence(all[1])).await, Reply::Voted(Vote::Yes, None));
    assert_eq!(world.prepare(all[2]).await, Reply::Voted(Vote::Yes, None));
    assert_eq!(world.say(Entry::Forgotten(all[3])).await, Reply::Settled(Settle::Ignore));
    assert!(world.log.overdue(i64::MAX, Uuid::nil(), 10).await.unwrap().is_empty());
    assert_eq!(world.seats().await, (0, 5));
    world.is_sound().await;
}

#[tokio::test]
async fn refusals_and_aborts_leave_a_batch_that_is_closed_by_what_is_left() {
    let world = World::with_seats(5).await;
    let all = transactions(6);
    let votes = world.prepare_all(&all).await;
    assert_eq!(vote(&votes[5]), Some(Vote::No));
    assert_eq!(world.batches().await, [(1, 5)]);
    assert_eq!(world.abort(all[0]).await, Reply::Settled(Settle::Release));
    assert_eq!(world.commit_all(&all[1..3]).await, vec![Reply::Settled(Settle::Apply); 2]);
    assert_eq!(world.batches().await, [(1, 2)]);
    // The abort and the commit of what is left come together.
    let last = vec![commit(all[3]), abort(all[4])];
    let replies = world.writer.submit_all(last).await.unwrap();
    assert_eq!(replies, [Settle::Apply, Settle::Release].map(Reply::Settled));
    assert_eq!((world.batches().await, world.said(&all).await), (vec![(2, 0)], vec![3, 2, 2, 1, 3, 3]));
    assert_eq!(world.seats().await, (2, 3));
    world.is_sound().await;
}

#[tokio::test]
async fn one_origin_has_a_batch_of_its_own() {
    let world = World::with_seats(5).await;
    let (here, there) = (transaction(), transaction());
    let Entry::Prepare { transaction, bytes, branch, .. } = prepare(there, "hall") else { unreachable!() };
    let origin = Arc::new(Origin { participants: "seats".to_owned(), owner_id: "another".to_owned() });
    let other = Entry::Prepare { transaction, origin, bytes, branch };
    world.writer.submit_all(vec![prepare(here, "hall"), other]).await.unwrap();
    assert_eq!(world.batches().await, [(1, 1), (1, 1)]);
    for (it, owner_id) in [(here, "owner"), (there, "another")] {
        assert_eq!(world.log.get(it.transaction_id).await.unwrap().unwrap().owner_id, owner_id);
    }
    world.commit_all(&[here, there]).await;
    assert_eq!(world.batches().await, [(2, 0), (2, 0)]);
}

#[tokio::test]
async fn a_decision_lost_in_a_crash_is_not_taken_for_made_whatever_else_was_decided() {
    let world = World::with_seats(3).await;
    let other = World::writer(&world.postgres);
    let all = transactions(3);
    world.prepare_all(&all).await;
    let revision: Uuid = sqlx::query_scalar("SELECT revision FROM branch_batch").fetch_one(&world.pool).await.unwrap();
    assert_eq!(world.commit(all[0]).await, Reply::Settled(Settle::Apply));
    // As when Postgres crashes before it has flushed that.
    sqlx::raw_sql("UPDATE branch_log SET state = 1, decide_time = NULL; UPDATE room SET sold = 0")
        .execute(&*world.pool)
        .await
        .unwrap();
    sqlx::query("UPDATE branch_batch SET undecided = 3, revision = $1")
        .bind(revision)
        .execute(&world.pool)
        .await
        .unwrap();
    // Two are left, as many as this writer thinks; but they are others.
    assert_eq!(other.submit(commit(all[1])).await.unwrap(), Reply::Settled(Settle::Apply));
    let replies = world.commit_all(&all[1..]).await;
    assert_eq!(replies, [Settle::Already, Settle::Apply].map(Reply::Settled));
    assert_eq!(world.state(all[0]).await, Some(BranchState::Prepared));
    assert_eq!(world.commit(all[0]).await, Reply::Settled(Settle::Apply));
    assert_eq!(world.seats().await, (0, 3), "each was sold once");
    world.is_sound().await;
}

#[tokio::test]
async fn whoever_closes_a_batch_waits_for_another_that_decides_a_row_of_it() {
    let world = World::with_seats(3).await;
    let all = transactions(3);
    world.prepare_all(&all).await;
    let mut local = world.pool.begin().await.unwrap();
    let locked = batches::lock(&mut local, &all[..1]).await.unwrap();
    let batch_ids = locked.iter().map(|(batch_id, _)| *batch_id).collect();
    let rows = [(all[0], Some(&Refusal::new("TIMEOUT", "too late")))];
    let decision = batches::Decision { state: BranchState::Aborted, rows: &rows, batch_ids, with_branches: false };
    assert_eq!(batches::decide(&mut local, &decision, Uuid::now_v7()).await.unwrap().len(), 1);
    let (replies, ()) = tokio::join!(world.commit_all(&all), async {
        world.writer_waits().await;
        local.commit().await.unwrap();
    });
    assert_eq!(replies, [Settle::Alarm, Settle::Apply, Settle::Apply].map(Reply::Settled));
    assert_eq!(world.said(&all).await, [3, 2, 2]);
    world.is_sound().await;
}

#[tokio::test]
async fn whoever_decides_a_row_waits_for_another_that_closes_its_batch() {
    for (closes, expected) in [(true, Settle::Alarm), (false, Settle::Release)] {
        let world = World::with_seats(3).await;
        let all = transactions(3);
        world.prepare_all(&all).await;
        let (batch_id, revision): (Uuid, Uuid) =
            sqlx::query_as("SELECT batch_id, revision FROM branch_batch").fetch_one(&world.pool).await.unwrap();
        let branch = |it: &TransactionRef| PreparedBranch { transaction_id: it.transaction_id, branch: Arc::new(()) };
        let closing = [Closing { batch_id, revision, branches: all.iter().map(branch).collect() }];
        let mut local = world.pool.begin().await.unwrap();
        assert_eq!(batches::close(&mut local, &closing, Uuid::now_v7()).await.unwrap().len(), 1);
        let (reply, ()) = tokio::join!(world.abort(all[0]), async {
            world.writer_waits().await;
            match closes {
                true => local.commit().await.unwrap(),
                false => local.rollback().await.unwrap(),
            }
        });
        assert_eq!(reply, Reply::Settled(expected));
        world.is_sound().await;
    }
}

#[tokio::test]
async fn two_processes_that_are_told_the_same_decisions_carry_out_each_once() {
    let world = World::with_seats(1_000).await;
    let other = World::writer(&world.postgres);
    let mut aborted = 0;
    for round in 0..40_i32 {
        let all = transactions(8);
        world.prepare_all(&all).await;
        // Of every other batch one is aborted, so that it is decided in parts.
        let entries = |part: &[TransactionRef]| {
            let entry = |it: &TransactionRef| if round % 2 == 0 && *it == all[3] { abort(*it) } else { commit(*it) };
            part.iter().map(entry).collect::<Vec<_>>()
        };
        aborted += i32::from(round % 2 == 0);
        let (first, last) = all.split_at(usize::try_from(round % 9).unwrap());
        let asked =
            [(&world.writer, first), (&world.writer, last), (&other, last), (&other, first), (&world.writer, &*all)];
        let replies = join_all(asked.map(|(writer, part)| writer.submit_all(entries(part)))).await;
        let replies: Vec<Reply> = replies.into_iter().flat_map(Result::unwrap).collect();
        let done = |settle| replies.iter().filter(|reply| **reply == Reply::Settled(settle)).count();
        assert_eq!(done(Settle::Apply) + done(Settle::Release), 8, "{replies:?}");
        assert_eq!(done(Settle::Already), 16, "{replies:?}");
        let sold = (round + 1) * 8 - aborted;
        assert_eq!(world.seats().await, (1_000 - sold, sold));
    }
    world.is_sound().await;
}

#[tokio::test]
async fn decisions_whose_outcome_was_lost_take_effect_once() {
    let world = World::with_seats(1_000).await;
    let all = transactions(400);
    for part in all.chunks(20) {
        world.prepare_all(part).await;
    }
    let deciding = async {
        for part in all.chunks(20) {
            // Until each has been acknowledged, as a coordinator does it.
            while world.commit_all(part).await.iter().any(|reply| matches!(reply, Reply::Unknown(_))) {}
        }
    };
    tokio::select! { () = deciding => (), () = world.cut_writers() => unreachable!() }
    assert_eq!(world.seats().await, (600, 400));
    world.is_sound().await;
}

#[tokio::test]
async fn a_batch_goes_with_the_last_of_its_rows() {
    let world = World::with_seats(3).await;
    let all = transactions(4);
    world.prepare_all(&all).await;
    world.abort(all[0]).await;
    world.commit_all(&all[1..3]).await;
    let watermark = world.log.advance_watermark(now_unix_ms() + 120_000).await.unwrap();
    assert_eq!(world.log.delete_settled(watermark, 10).await.unwrap(), 2, "what was refused, and what was aborted");
    let left = async || {
        let left = sqlx::query_scalar("SELECT rows_left FROM branch_batch");
        left.fetch_optional(&world.pool).await.unwrap()
    };
    assert_eq!(left().await, Some(2));
    assert_eq!(world.say(Entry::End(all[1])).await, Reply::Ended(End::Delete));
    assert_eq!(left().await, Some(1));
    world.is_sound().await;
    assert_eq!(world.say(Entry::End(all[2])).await, Reply::Ended(End::Delete));
    assert_eq!(left().await, None::<i32>);
    world.is_sound().await;
}
