//! Steps of sagas on a real Postgres: every message in every state.
#![allow(clippy::unwrap_used)]
use std::sync::Arc;
use std::time::Duration;

use protocol::branch::End;
use protocol::step::{Compensate, StepResult};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Entry, Log, LogWork, Reply, StepRef};
use crate::audit::Check;
use crate::clock::now_unix_ms;
use crate::group_commit::{GroupCommit, Options};
use crate::postgres::{connect_options, connect_pool};
use crate::testing::Postgres;
use crate::{InvalidBranch, Pool, PreparedBranch, Refusal, Resource, StepBranch, TransactionRef};

/// A shelf that takes so many: each branch puts one on it, or says "never".
struct Shelf;

async fn add(connection: &mut PgConnection, count: i32) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("UPDATE shelf SET stands = stands + $1 WHERE stands + $1 <= room").bind(count);
    Ok(done.execute(connection).await?.rows_affected() == 1)
}

impl Resource for Shelf {
    type Branch = String;

    fn name(&self) -> &'static str {
        "shelf"
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
        for _ in branches {
            let full = || Refusal::new("FULL", "no room is left");
            votes.push(if add(&mut *connection, 1).await? { Ok(()) } else { Err(full()) });
        }
        Ok(votes)
    }

    async fn commit(&self, _: &mut PgConnection, _: &[PreparedBranch<String>]) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn abort(&self, _: &mut PgConnection, _: &[(PreparedBranch<String>, Refusal)]) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn compensate(
        &self,
        connection: &mut PgConnection,
        steps: &[(StepBranch<String>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        add(connection, -i32::try_from(steps.len()).unwrap()).await?;
        Ok(())
    }

    async fn audit(&self, _: &mut PgConnection, _: &[PreparedBranch<String>]) -> Result<Vec<Check>, sqlx::Error> {
        Ok(Vec::new())
    }
}

struct World {
    _postgres: Postgres,
    pool: Pool,
    log: Log,
    writer: GroupCommit<LogWork<Shelf>>,
}

impl World {
    async fn with_room(room: i32) -> Self {
        let postgres = Postgres::start();
        let pool = connect_pool(&postgres.url(), "test", 4, Duration::from_secs(20)).await.unwrap();
        Log::migrate(&pool).await.unwrap();
        sqlx::query("CREATE TABLE shelf AS SELECT 0 AS stands, $1::int AS room")
            .bind(room)
            .execute(&pool)
            .await
            .unwrap();
        let connect = connect_options(&postgres.url(), "writer").unwrap();
        let writer = GroupCommit::start(Arc::new(LogWork::new(Arc::new(Shelf))), connect, Options::default());
        World { _postgres: postgres, log: Log::new(pool.clone()), pool, writer }
    }

    async fn execute(&self, step: &StepRef) -> StepResult {
        self.ask(step, false).await
    }

    async fn ask(&self, step: &StepRef, must_succeed: bool) -> StepResult {
        self.ask_for(step, Ok(String::new().into()), must_succeed).await
    }

    async fn ask_for(&self, step: &StepRef, branch: Result<Arc<String>, Refusal>, must_succeed: bool) -> StepResult {
        let entry = Entry::Execute { step: step.clone(), bytes: Vec::new(), branch, must_succeed };
        match self.writer.submit(entry).await.unwrap() {
            Reply::Stepped(result, _) => result,
            other => panic!("{other:?}"),
        }
    }

    async fn compensate(&self, step: &StepRef) -> Compensate {
        let entry = Entry::Compensate(step.clone(), Refusal::new("DECLINED", "the card was declined"));
        match self.writer.submit(entry).await.unwrap() {
            Reply::Compensated(done) => done,
            other => panic!("{other:?}"),
        }
    }

    async fn end(&self, step: &StepRef) -> End {
        match self.writer.submit(Entry::EndStep(step.clone())).await.unwrap() {
            Reply::Ended(end) => end,
            other => panic!("{other:?}"),
        }
    }

    async fn stands(&self) -> i32 {
        sqlx::query_scalar("SELECT stands FROM shelf").fetch_one(&self.pool).await.unwrap()
    }
}

fn step(name: &str, ahead_ms: i64) -> StepRef {
    let transaction = TransactionRef { transaction_id: Uuid::now_v7(), deadline_unix_ms: now_unix_ms() + ahead_ms };
    StepRef { transaction, step: name.to_owned() }
}

#[tokio::test]
async fn a_step_that_cannot_be_read_is_refused_for_good_beside_those_that_can() {
    let world = World::with_room(10).await;
    let unreadable = || Err(Refusal::new("INVALID_BRANCH", "branch: is no text"));
    let (bad, good, last) = (step("ship", 60_000), step("ship", 60_000), step("notify", 60_000));
    let (refused, executed) = tokio::join!(world.ask_for(&bad, unreadable(), false), world.execute(&good));
    assert_eq!((refused, executed), (StepResult::Refused, StepResult::Executed));
    // The refusal stands, whatever the same step comes with.
    assert_eq!(world.execute(&bad).await, StepResult::Refused);
    world.compensate(&bad).await;
    assert_eq!(world.stands().await, 1, "nothing is undone of what was refused");
    // After a pivot nothing may be refused: it is doubt, and leaves no row.
    assert_eq!(world.ask_for(&last, unreadable(), true).await, StepResult::Unknown);
    assert_eq!(world.ask(&last, true).await, StepResult::Executed);
}

#[tokio::test]
async fn a_step_is_carried_out_once_and_undone_once() {
    let world = World::with_room(10).await;
    let step = step("put", 5_000);
    for _ in 0..3 {
        assert_eq!(world.execute(&step).await, StepResult::Executed);
    }
    assert_eq!(world.stands().await, 1);
    assert_eq!(world.compensate(&step).await, Compensate::Undo);
    assert_eq!(world.compensate(&step).await, Compensate::Already);
    assert_eq!(world.execute(&step).await, StepResult::Compensated);
    assert_eq!(world.stands().await, 0);
}

#[tokio::test]
async fn two_steps_of_one_saga_are_two() {
    let world = World::with_room(10).await;
    let one = step("put", 5_000);
    let other = StepRef { step: "put again".replace(' ', "-"), ..one.clone() };
    assert_eq!(world.execute(&one).await, StepResult::Executed);
    assert_eq!(world.execute(&other).await, StepResult::Executed);
    assert_eq!(world.compensate(&one).await, Compensate::Undo);
    assert_eq!(world.stands().await, 1);
    let rows = world.log.steps(Some(one.transaction.transaction_id), (Uuid::nil(), ""), 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.step.step.as_str()).collect::<Vec<_>>(), ["put", "put-again"]);
}

#[tokio::test]
async fn a_compensation_that_comes_first_keeps_the_step_out() {
    let world = World::with_room(10).await;
    let step = step("put", 5_000);
    assert_eq!(world.compensate(&step).await, Compensate::InsertTombstone);
    assert_eq!(world.execute(&step).await, StepResult::Compensated);
    assert_eq!(world.stands().await, 0);
}

#[tokio::test]
async fn a_refusal_stays_whatever_comes_later() {
    let world = World::with_room(0).await;
    let refused = step("put", 5_000);
    assert_eq!(world.execute(&refused).await, StepResult::Refused);
    sqlx::query("UPDATE shelf SET room = 10").execute(&world.pool).await.unwrap();
    assert_eq!(world.execute(&refused).await, StepResult::Refused);
    assert_eq!(world.compensate(&refused).await, Compensate::Already);
    assert_eq!(world.stands().await, 0);
}

#[tokio::test]
async fn what_must_succeed_is_refused_only_for_now() {
    let world = World::with_room(0).await;
    let step = step("put", 5_000);
    assert_eq!(world.ask(&step, true).await, StepResult::Unknown);
    sqlx::query("UPDATE shelf SET room = 10").execute(&world.pool).await.unwrap();
    assert_eq!(world.ask(&step, true).await, StepResult::Executed);
    assert_eq!(world.stands().await, 1);
}

#[tokio::test]
async fn below_the_watermark_nothing_is_carried_out() {
    let world = World::with_room(10).await;
    let (late, later) = (step("put", 1_000), step("put", 5_000));
    let stood = step("put", 1_000);
    assert_eq!(world.execute(&stood).await, StepResult::Executed);
    world.log.advance_watermark(now_unix_ms() + 2_000).await.unwrap();
    assert_eq!(world.execute(&late).await, StepResult::Forgotten);
    assert_eq!(world.compensate(&late).await, Compensate::Ignore);
    assert_eq!(world.execute(&later).await, StepResult::Executed);
    assert_eq!(world.execute(&stood).await, StepResult::Executed, "a row that stands is answered");
    assert_eq!(world.stands().await, 2);
}

#[tokio::test]
async fn a_row_goes_at_the_end_once_no_message_can_execute_it_again() {
    let world = World::with_room(10).await;
    let first = step("put", 1_000);
    // The same step, asked again under a renewed deadline.
    let renewed = TransactionRef { deadline_unix_ms: first.transaction.deadline_unix_ms + 4_000, ..first.transaction };
    let renewed = StepRef { transaction: renewed, ..first.clone() };
    assert_eq!(world.execute(&first).await, StepResult::Executed);
    world.log.advance_watermark(now_unix_ms() + 2_000).await.unwrap();
    assert_eq!(world.end(&renewed).await, End::Later);
    assert_eq!(world.execute(&renewed).await, StepResult::Executed);
    world.log.advance_watermark(now_unix_ms() + 6_000).await.unwrap();
    assert_eq!(world.end(&renewed).await, End::Delete);
    assert_eq!(world.end(&renewed).await, End::Already);
    assert_eq!(world.execute(&renewed).await, StepResult::Forgotten);
    assert_eq!(world.stands().await, 1);
}
