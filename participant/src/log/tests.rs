//! The log's writer on a real Postgres: every message in every state, and what must survive.
#![allow(clippy::unwrap_used)]
mod at_once;
mod batches;
mod horizon;
mod migration;
mod partitions;

use std::sync::Arc;
use std::time::Duration;

use protocol::Vote;
use protocol::branch::{BranchState, End, Settle};
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, PgConnection};
use uuid::Uuid;

use super::batches::NewBatch;
use super::{Entry, Log, LogWork, Origin, Reply};
use crate::audit::Check;
use crate::clock::now_unix_ms;
use crate::group_commit::{GroupCommit, Options};
use crate::postgres::{connect_options, connect_pool};
use crate::testing::{Postgres, Proxy};
use crate::{HoldAll, InvalidBranch, Pool, PreparedBranch, Refusal, Resource, TransactionRef};

/// Seats in rooms, one for each branch. A branch that names the room "poison" fails the whole batch.
struct Seats;

impl Resource for Seats {
    type Branch = String;

    fn name(&self) -> &'static str {
        "seats"
    }

    fn decode(&self, bytes: &[u8]) -> Result<String, InvalidBranch> {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    async fn prepare(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<String>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        let mut votes = Vec::new();
        for branch in branches {
            if *branch.branch == "poison" {
                return Err(sqlx::Error::RowNotFound);
            }
            let taken = sqlx::query("UPDATE room SET free = free - 1 WHERE name = $1 AND free > 0")
                .bind(&*branch.branch)
                .execute(&mut *connection)
                .await?;
            let full = || Refusal::new("FULL", "no seat is left");
            votes.push(if taken.rows_affected() == 1 { Ok(()) } else { Err(full()) });
        }
        Ok(votes)
    }

    fn hold_all(
        &self,
        branches: &[PreparedBranch<String>],
        committed: &[PreparedBranch<String>],
    ) -> Result<Option<HoldAll>, sqlx::Error> {
        let mut arguments = PgArguments::default();
        for branches in [branches, committed] {
            let rooms: Vec<&str> = branches.iter().map(|branch| branch.branch.as_str()).collect();
            arguments.add(rooms).map_err(sqlx::Error::Encode)?;
        }
        let taken = "taken AS (
             UPDATE room SET free = free - wanted, sold = sold + gone
             FROM (SELECT name, sum(wanted)::integer AS wanted, sum(gone)::integer AS gone
                   FROM (SELECT name, 1 AS wanted, 0 AS gone FROM unnest($1::text[]) AS of (name)
                         UNION ALL SELECT name, 0, 1 FROM unnest($2::text[]) AS of (name)) each GROUP BY name) w
             WHERE room.name = w.name AND free >= wanted RETURNING wanted
         ),";
        let is_held = "(SELECT coalesce(sum(wanted), 0) = cardinality($1::text[]) FROM taken)";
        Ok(Some(HoldAll::silent(taken, is_held, arguments)))
    }

    async fn commit(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<String>],
    ) -> Result<(), sqlx::Error> {
        for branch in branches {
            sqlx::query("UPDATE room SET sold = sold + 1 WHERE name = $1")
                .bind(&*branch.branch)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }

    async fn abort(
        &self,
        connection: &mut PgConnection,
        branches: &[(PreparedBranch<String>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        for (branch, _) in branches {
            sqlx::query("UPDATE room SET free = free + 1 WHERE name = $1")
                .bind(&*branch.branch)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }

    async fn audit(
        &self,
        _: &mut PgConnection,
        prepared: &[PreparedBranch<String>],
    ) -> Result<Vec<Check>, sqlx::Error> {
        let checked_count = i64::try_from(prepared.len()).unwrap();
        Ok(vec![Check { invariant: "no-orphan-holds", checked_count, violations: Vec::new() }])
    }
}

struct World {
    postgres: Postgres,
    pool: Pool,
    log: Log,
    writer: GroupCommit<LogWork<Seats>>,
}

impl World {
    /// A log beside one room with so many seats.
    async fn with_seats(seats: i32) -> Self {
        let postgres = Postgres::start();
        let pool = connect_pool(&postgres.url(), "test", 4, Duration::from_secs(20)).await.unwrap();
        Log::migrate(&pool).await.unwrap();
        sqlx::query("CREATE TABLE room (name text PRIMARY KEY, free int NOT NULL, sold int NOT NULL DEFAULT 0)")
            .execute(&pool)
            .await
            .unwrap();
        sqlx::query("INSERT INTO room (name, free) VALUES ('hall', $1)").bind(seats).execute(&pool).await.unwrap();
        let writer = World::writer(&postgres);
        World { log: Log::new(pool.clone()), postgres, pool, writer }
    }

    /// A writer of its own, as another process of the service would have.
    fn writer(postgres: &Postgres) -> GroupCommit<LogWork<Seats>> {
        let connect = connect_options(&postgres.url(), "writer").unwrap();
        GroupCommit::start(Arc::new(LogWork::new(Arc::new(Seats))), connect, Options::default())
    }

    /// Cuts the writers' connections for ever. Each lives a little longer than the one before, as on a slow machine none
    /// might get as far as writing.
    async fn cut_writers(&self) {
        for lives_us in (7_000..).step_by(500) {
            sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'writer'")
                .execute(&self.pool)
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_micros(lives_us)).await;
        }
    }

    async fn seats(&self) -> (i32, i32) {
        sqlx::query_as("SELECT free, sold FROM room").fetch_one(&self.pool).await.unwrap()
    }

    async fn state(&self, transaction: TransactionRef) -> Option<BranchState> {
        self.log.get(transaction.transaction_id).await.unwrap().map(|row| row.state)
    }

    async fn say(&self, entry: Entry<String>) -> Reply {
        self.writer.submit(entry).await.unwrap()
    }

    async fn prepare(&self, transaction: TransactionRef) -> Reply {
        self.say(prepare(transaction, "hall")).await
    }

    async fn commit(&self, transaction: TransactionRef) -> Reply {
        self.say(Entry::Commit { transaction, durable: false }).await
    }

    async fn abort(&self, transaction: TransactionRef) -> Reply {
        self.say(Entry::Abort(transaction, Refusal::new("TIMEOUT", "too late"))).await
    }
}

fn transaction() -> TransactionRef {
    TransactionRef { transaction_id: Uuid::now_v7(), deadline_unix_ms: now_unix_ms() + 60_000 }
}

fn origin() -> Origin {
    Origin { participants: "seats,meals".to_owned(), owner_id: "owner".to_owned() }
}

fn prepare(transaction: TransactionRef, room: &str) -> Entry<String> {
    Entry::Prepare {
        transaction,
        origin: Arc::new(origin()),
        bytes: room.as_bytes().to_vec(),
        branch: Arc::new(room.to_owned()),
    }
}

fn vote(reply: &Reply) -> Option<Vote> {
    match reply {
        Reply::Voted(vote, _) => Some(*vote),
        _ => None,
    }
}

fn reason(reply: Reply) -> String {
    match reply {
        Reply::Voted(Vote::No, Some(refusal)) => refusal.reason,
        other => panic!("{other:?} is no reasoned no"),
    }
}

#[tokio::test]
async fn a_vote_is_given_once_and_repeated_as_it_was() {
    let world = World::with_seats(1).await;
    let (first, second) = (transaction(), transaction());
    assert_eq!(world.prepare(first).await, Reply::Voted(Vote::Yes, None));
    assert_eq!(world.prepare(first).await, Reply::Voted(Vote::Yes, None));
    assert_eq!(world.seats().await, (0, 0), "one hold, however often it is asked for");
    assert_eq!(reason(world.prepare(second).await), "FULL");

    assert_eq!(world.abort(first).await, Reply::Settled(Settle::Release));
    assert_eq!(world.seats().await, (1, 0));
    assert_eq!(reason(world.prepare(second).await), "FULL", "a refusal stays one, though there is a seat now");
    assert_eq!(world.state(second).await, Some(BranchState::Aborted));
    assert_eq!(reason(world.prepare(first).await), "TIMEOUT", "what was aborted is never prepared again");
}

#[tokio::test]
async fn decisions_take_effect_once_and_contradictions_change_nothing() {
    let world = World::with_seats(3).await;
    let (sold, unknown) = (transaction(), transaction());
    world.prepare(sold).await;
    assert_eq!(world.commit(sold).await, Reply::Settled(Settle::Apply));
    assert_eq!(world.commit(sold).await, Reply::Settled(Settle::Already));
    assert_eq!(world.say(Entry::Commit { transaction: sold, durable: true }).await, Reply::Settled(Settle::Already));
    assert_eq!(world.abort(sold).await, Reply::Settled(Settle::Alarm));
    assert_eq!(world.prepare(sold).await, Reply::Voted(Vote::Yes, None));
    assert_eq!(world.seats().await, (2, 1));

    assert_eq!(world.commit(unknown).await, Reply::Settled(Settle::Alarm));
    assert_eq!(world.state(unknown).await, None, "an alarm writes nothing");
    assert_eq!(world.abort(unknown).await, Reply::Settled(Settle::InsertAborted));
    assert_eq!(world.abort(unknown).await, Reply::Settled(Settle::Already));
    assert_eq!(world.commit(unknown).await, Reply::Settled(Settle::Alarm));
    assert_eq!(reason(world.prepare(unknown).await), "TIMEOUT", "a late PREPARE meets the abort");
    assert_eq!(world.seats().await, (2, 1));
}

#[tokio::test]
async fn a_fence_keeps_a_late_prepare_out() {
    let world = World::with_seats(3).await;
    let (fenced, prepared, committed) = (transaction(), transaction(), transaction());
    assert_eq!(reason(world.say(Entry::Fence(fenced)).await), "FENCED");
    assert_eq!(reason(world.prepare(fenced).await), "FENCED");
    world.prepare(prepared).await;
    assert_eq!(world.say(Entry::Fence(prepared)).await, Reply::Voted(Vote::Yes, None));
    world.prepare(committed).await;
    world.commit(committed).await;
    assert_eq!(world.say(Entry::Fence(committed)).await, Reply::Voted(Vote::Yes, None));
    assert_eq!(world.seats().await, (1, 1));
}

#[tokio::test]
async fn nothing_is_inserted_below_the_watermark_and_what_stands_is_still_answered() {
    let world = World::with_seats(3).await;
    let (late, held, ended) = (transaction(), transaction(), transaction());
    world.prepare(held).await;
    world.prepare(ended).await;
    world.commit(ended).await;
    assert_eq!(world.say(Entry::End(ended)).await, Reply::Ended(End::Later));
    // The row's own deadline counts, whatever a message says it is.
    let misnamed = TransactionRef { deadline_unix_ms: 0, ..ended };
    assert_eq!(world.say(Entry::End(misnamed)).await, Reply::Ended(End::Later));
    assert_eq!(world.say(Entry::End(held)).await, Reply::Ended(End::Alarm));

    let watermark = world.log.advance_watermark(now_unix_ms() + 120_000).await.unwrap();
    assert!(watermark > late.deadline_unix_ms);
    assert_eq!(world.prepare(late).await, Reply::Voted(Vote::Forgotten, None));
    assert_eq!(world.say(Entry::Fence(late)).await, Reply::Voted(Vote::Forgotten, None));
    assert_eq!(world.commit(late).await, Reply::Settled(Settle::Ignore));
    assert_eq!(world.abort(late).await, Reply::Settled(Settle::Ignore));
    assert_eq!(world.say(Entry::Forgotten(late)).await, Reply::Settled(Settle::Ignore));
    assert_eq!(world.state(late).await, None);

    assert_eq!(world.say(Entry::Fence(held)).await, Reply::Voted(Vote::Yes, None));
    assert_eq!(world.say(Entry::End(held)).await, Reply::Ended(End::Alarm));
    assert_eq!(world.state(held).await, Some(BranchState::Prepared));
    assert_eq!(world.say(Entry::Forgotten(ended)).await, Reply::Settled(Settle::Ignore));
    assert_eq!(world.say(Entry::Forgotten(held)).await, Reply::Settled(Settle::Release));
    assert_eq!(world.seats().await, (2, 1));
    assert_eq!(world.say(Entry::End(ended)).await, Reply::Ended(End::Delete));
    assert_eq!(world.say(Entry::End(ended)).await, Reply::Ended(End::Already));
}

#[tokio::test]
async fn the_collector_takes_aborted_rows_below_the_watermark_only() {
    let world = World::with_seats(3).await;
    let (old, young, held, sold) = (transaction(), transaction(), transaction(), transaction());
    let young = TransactionRef { deadline_unix_ms: young.deadline_unix_ms + 600_000, ..young };
    for aborted in [old, young] {
        world.abort(aborted).await;
    }
    world.prepare(held).await;
    world.prepare(sold).await;
    world.commit(sold).await;
    let watermark = world.log.advance_watermark(now_unix_ms() + 120_000).await.unwrap();
    assert_eq!(world.log.delete_settled(watermark, 10).await.unwrap(), 1);
    assert_eq!(world.log.delete_settled(watermark, 10).await.unwrap(), 0);
    assert_eq!(world.state(old).await, None);
    for kept in [young, held, sold] {
        assert!(world.state(kept).await.is_some());
    }
    assert_eq!(world.log.advance_watermark(0).await.unwrap(), watermark, "a watermark never goes back");
}

#[tokio::test]
async fn a_poisonous_branch_fails_alone() {
    let world = World::with_seats(10).await;
    let transactions: Vec<TransactionRef> = (0..9).map(|_| transaction()).collect();
    let entries = transactions.iter().enumerate();
    let entries = entries.map(|(place, it)| prepare(*it, if place == 4 { "poison" } else { "hall" })).collect();
    let replies = world.writer.submit_all(entries).await.unwrap();
    for (place, reply) in replies.iter().enumerate() {
        match place {
            4 => assert!(matches!(reply, Reply::Unknown(_)), "{reply:?}"),
            _ => assert_eq!(vote(reply), Some(Vote::Yes), "{place}"),
        }
    }
    assert_eq!(world.seats().await, (2, 0));
    assert_eq!(world.state(transactions[4]).await, None, "doubt writes nothing here, and a fence settles it");
}

#[tokio::test]
async fn two_processes_of_a_service_never_sell_one_seat_twice() {
    let world = World::with_seats(20).await;
    let other = World::writer(&world.postgres);
    let transactions: Vec<TransactionRef> = (0..60).map(|_| transaction()).collect();
    // Both get every PREPARE, as from two coordinators that both recover, or a client's copies.
    let ask = |writer: GroupCommit<LogWork<Seats>>| {
        let asked = transactions.iter().map(|it| prepare(*it, "hall")).map(move |entry| {
            let writer = writer.clone();
            async move { writer.submit(entry).await.unwrap() }
        });
        futures::future::join_all(asked.collect::<Vec<_>>())
    };
    let (here, there) = tokio::join!(ask(world.writer.clone()), ask(other));
    assert_eq!(here, there, "both were told the same votes");
    assert_eq!(here.iter().filter(|reply| vote(reply) == Some(Vote::Yes)).count(), 20);
    assert_eq!(world.seats().await, (0, 0));
}

#[tokio::test]
async fn a_writer_whose_connection_is_cut_answers_what_stands() {
    let world = World::with_seats(1_000).await;
    let transactions: Vec<TransactionRef> = (0..300).map(|_| transaction()).collect();
    let asking = async {
        let mut replies = Vec::new();
        for few in transactions.chunks(10) {
            replies.extend(futures::future::join_all(few.iter().map(|it| world.prepare(*it))).await);
        }
        replies
    };
    let replies = tokio::select! { replies = asking => replies, () = world.cut_writers() => unreachable!() };
    let mut yes = 0;
    for (transaction, reply) in transactions.iter().zip(&replies) {
        let state = world.state(*transaction).await;
        match reply {
            Reply::Voted(Vote::Yes, None) => {
                yes += 1;
                assert_eq!(state, Some(BranchState::Prepared));
            }
            // Doubt may have been written or not.
            Reply::Unknown(_) => (),
            other => panic!("{other:?}"),
        }
    }
    assert!(yes > 0);
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM branch_in_doubt").fetch_one(&world.pool).await.unwrap();
    assert_eq!(world.seats().await, (1_000 - i32::try_from(rows).unwrap(), 0), "a hold for each row, and no other");
}

#[tokio::test]
async fn a_decision_that_another_process_was_told_is_seen_by_the_one_that_prepared() {
    let world = World::with_seats(5).await;
    let other = World::writer(&world.postgres);
    let (aborted, sold, kept) = (transaction(), transaction(), transaction());
    let prepares = [aborted, sold, kept].map(|it| prepare(it, "hall")).into();
    world.writer.submit_all(prepares).await.unwrap();
    let refusal = Refusal::new("TIMEOUT", "too late");
    assert_eq!(other.submit(Entry::Abort(aborted, refusal)).await.unwrap(), Reply::Settled(Settle::Release));
    let commit = |transaction| Entry::Commit { transaction, durable: true };
    assert_eq!(other.submit(commit(sold)).await.unwrap(), Reply::Settled(Settle::Apply));
    let replies = world.writer.submit_all([aborted, sold, kept].map(commit).into()).await.unwrap();
    assert_eq!(replies, [Settle::Alarm, Settle::Already, Settle::Apply].map(Reply::Settled));
    assert_eq!(world.seats().await, (3, 2), "each was applied once");
}

#[tokio::test]
async fn an_insert_and_the_advance_of_the_watermark_never_miss_each_other() {
    let world = World::with_seats(5).await;
    let pending = transaction();
    let mut insert = world.pool.begin().await.unwrap();
    let rows = vec![(pending, b"hall".as_slice())];
    let mut batch = NewBatch { batch_id: Uuid::now_v7(), origin: &origin(), rows };
    let inserted = super::batches::insert_with_care(&mut insert, &mut batch, Uuid::now_v7()).await.unwrap();
    assert_eq!(inserted.len(), 1);
    let log = world.log.clone();
    let advancing = tokio::spawn(async move { log.advance_watermark(now_unix_ms() + 120_000).await.unwrap() });
    // It has written the watermark once nobody else can insert below it, and still waits for this one.
    while world.say(Entry::Fence(transaction())).await != Reply::Voted(Vote::Forgotten, None) {}
    assert!(!advancing.is_finished(), "the collector must wait for an insert that read the old watermark");
    insert.commit().await.unwrap();
    advancing.await.unwrap();
    assert_eq!(world.state(pending).await, Some(BranchState::Prepared));
}

#[tokio::test]
async fn the_log_is_listed_in_pages_and_audited_with_what_is_in_doubt() {
    let world = World::with_seats(10).await;
    let mut transactions: Vec<TransactionRef> = (0..5).map(|_| transaction()).collect();
    transactions.sort_by_key(|it| it.transaction_id);
    for each in &transactions {
        world.prepare(*each).await;
    }
    world.commit(transactions[1]).await;
    let ids = |rows: Vec<super::Row>| rows.iter().map(|row| row.transaction).collect::<Vec<_>>();
    let all = world.log.list(None, Uuid::nil(), 3).await.unwrap();
    assert_eq!(all[0].participants, ["seats", "meals"]);
    assert_eq!(ids(all), transactions[..3]);
    let rest = world.log.list(None, transactions[2].transaction_id, 10).await.unwrap();
    assert_eq!(ids(rest), transactions[3..]);
    let prepared = world.log.list(Some(BranchState::Prepared), Uuid::nil(), 10).await.unwrap();
    assert_eq!(prepared.len(), 4);
    let committed = world.log.list(Some(BranchState::Committed), Uuid::nil(), 10).await.unwrap();
    assert_eq!(ids(committed), [transactions[1]]);
    assert!(world.log.overdue(now_unix_ms(), Uuid::nil(), 10).await.unwrap().is_empty());
    assert_eq!(world.log.overdue(now_unix_ms() + 70_000, Uuid::nil(), 10).await.unwrap().len(), 4);
    assert_eq!(world.log.audit(&Seats).await.unwrap()[0].checked_count, 4);
}

#[tokio::test]
async fn a_durable_commit_flushes_what_was_committed_lazily_before() {
    let world = World::with_seats(1).await;
    let transaction = transaction();
    world.prepare(transaction).await;
    world.commit(transaction).await;
    let lazily: String =
        sqlx::query_scalar("SELECT pg_current_wal_insert_lsn()::text").fetch_one(&world.pool).await.unwrap();
    assert_eq!(world.say(Entry::Commit { transaction, durable: true }).await, Reply::Settled(Settle::Already));
    let flushed: bool = sqlx::query_scalar("SELECT pg_current_wal_flush_lsn() >= $1::pg_lsn")
        .bind(lazily)
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert!(flushed);
}

#[tokio::test]
async fn a_writer_whose_database_falls_silent_takes_another_connection() {
    let world = World::with_seats(10).await;
    let url = world.postgres.url();
    let proxy = Proxy::start(world.postgres.port()).await;
    let connect = connect_options(&url, "writer").unwrap().port(proxy.port());
    let options = Options { batch_within: Duration::from_millis(300), ..Options::default() };
    let writer = GroupCommit::start(Arc::new(LogWork::new(Arc::new(Seats))), connect, options);
    let (before, meanwhile) = (transaction(), transaction());
    assert_eq!(writer.submit(prepare(before, "hall")).await.unwrap(), Reply::Voted(Vote::Yes, None));
    proxy.silence();
    let answer = tokio::time::timeout(Duration::from_secs(5), writer.submit(prepare(meanwhile, "hall"))).await;
    assert_eq!(answer.expect("an answer in bounded time").unwrap(), Reply::Voted(Vote::Yes, None));
    assert_eq!(world.seats().await, (8, 0), "one hold for each, whatever had arrived before the silence");
}
