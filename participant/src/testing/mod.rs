//! What tests stand on: a private Postgres, processes that end with the test, and what all participants do in theirs.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod disk;
mod face;
mod folder;
mod nats;
mod port;
mod postgres;
mod process;
mod proxy;
mod redis;
mod template;
mod zookeeper;

use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::clock::now_unix_ms;
use crate::log::Origin;
use crate::log::at_once;
use crate::log::batches::NewBatch;
use crate::log::waiting::Closing;
use crate::{PreparedBranch, Refusal, Resource, StepBranch, TransactionRef};

pub use disk::Disk;
pub use face::{closed_pool, face};
pub use folder::folder;
pub use nats::Nats;
pub use port::Port;
pub use postgres::Postgres;
pub use process::Process;
pub use proxy::{Proxy, Way};
pub use redis::Redis;
pub use zookeeper::ZooKeeper;

/// A branch of a new transaction.
pub fn branch<B>(branch: B) -> PreparedBranch<B> {
    PreparedBranch { transaction_id: Uuid::now_v7(), branch: branch.into() }
}

/// Prepares a batch in one local transaction.
pub async fn prepare<R: Resource>(
    resource: &R,
    pool: &PgPool,
    branches: &[PreparedBranch<R::Branch>],
) -> Vec<Result<(), Refusal>> {
    let mut local = pool.begin().await.unwrap();
    let votes = resource.prepare(&mut local, branches).await.unwrap();
    assert_eq!(votes.len(), branches.len(), "one vote for each branch");
    let granted = branches.iter().zip(&votes).filter(|(_, vote)| vote.is_ok());
    let prepared: Vec<Uuid> = granted.map(|(branch, _)| branch.transaction_id).collect();
    sqlx::query(
        "WITH batch AS (
             INSERT INTO branch_batch (batch_id, state, undecided, rows_left, revision, participants, owner_id, transaction_ids,
                                       max_deadline_unix_ms)
             SELECT id, 1, 1, 1, id, '', '', ARRAY[id], 1 FROM unnest($1::uuid[]) AS id
         )
         INSERT INTO branch_log (transaction_id, deadline_unix_ms, state, batch_id, branch)
         SELECT id, 1, 1, id, '' FROM unnest($1::uuid[]) AS id",
    )
    .bind(prepared)
    .execute(&mut *local)
    .await
    .unwrap();
    local.commit().await.unwrap();
    votes
}

/// Prepares a batch and has others take effect in one statement, as the log's writer does. Whether it was as expected; if not,
/// nothing was done.
pub async fn prepare_at_once<R: Resource>(
    resource: &R,
    pool: &PgPool,
    branches: &[PreparedBranch<R::Branch>],
    committed: &[PreparedBranch<R::Branch>],
) -> bool {
    let hold_all = resource.hold_all(branches, committed).unwrap().expect("what can be held in one statement");
    let transaction = |id| TransactionRef { transaction_id: id, deadline_unix_ms: now_unix_ms() + 60_000 };
    let origin = Origin { participants: String::new(), owner_id: String::new() };
    let rows = branches.iter().map(|branch| (transaction(branch.transaction_id), &b""[..])).collect();
    let mut batch = NewBatch { batch_id: Uuid::now_v7(), origin: &origin, rows };
    let closing = |branch: &PreparedBranch<R::Branch>| {
        let id = branch.transaction_id;
        Closing { batch_id: id, revision: id, branches: vec![branch.clone()] }
    };
    let closing: Vec<_> = committed.iter().map(closing).collect();
    let mut local = pool.begin().await.unwrap();
    match at_once::write(&mut local, &mut batch, hold_all, &closing, Uuid::now_v7()).await {
        Ok(()) => local.commit().await.unwrap(),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("AS001") => return false,
        Err(error) => panic!("{error}"),
    }
    true
}

/// Commits a batch in one local transaction.
pub async fn commit<R: Resource>(resource: &R, pool: &PgPool, branches: &[PreparedBranch<R::Branch>]) {
    let mut local = pool.begin().await.unwrap();
    resource.commit(&mut local, branches).await.unwrap();
    decide(&mut local, branches.iter().map(|branch| branch.transaction_id).collect(), 2).await;
    local.commit().await.unwrap();
}

/// Aborts a batch in one local transaction.
pub async fn abort<R: Resource>(resource: &R, pool: &PgPool, branches: &[PreparedBranch<R::Branch>]) {
    let why = Refusal::new("TIMED_OUT", "it took too long");
    let branches: Vec<_> = branches.iter().map(|branch| (branch.clone(), why.clone())).collect();
    let mut local = pool.begin().await.unwrap();
    resource.abort(&mut local, &branches).await.unwrap();
    decide(&mut local, branches.iter().map(|(branch, _)| branch.transaction_id).collect(), 3).await;
    local.commit().await.unwrap();
}

/// Executes a batch of steps in one local transaction.
pub async fn execute<R: Resource>(
    resource: &R,
    pool: &PgPool,
    steps: &[StepBranch<R::Branch>],
) -> Vec<Result<(), Refusal>> {
    let mut local = pool.begin().await.unwrap();
    let results = resource.execute(&mut local, steps).await.unwrap();
    local.commit().await.unwrap();
    results
}

/// Compensates a batch of steps in one local transaction.
pub async fn compensate<R: Resource>(resource: &R, pool: &PgPool, steps: &[StepBranch<R::Branch>]) {
    let why = Refusal::new("DECLINED", "the card was declined");
    let steps: Vec<_> = steps.iter().map(|step| (step.clone(), why.clone())).collect();
    let mut local = pool.begin().await.unwrap();
    resource.compensate(&mut local, &steps).await.unwrap();
    local.commit().await.unwrap();
}

/// A branch as a saga's step of this name.
pub fn step<B>(name: &str, branch: &PreparedBranch<B>) -> StepBranch<B> {
    StepBranch { transaction_id: branch.transaction_id, step: name.to_owned(), branch: branch.branch.clone() }
}

/// What the log's writer does beside it.
async fn decide(connection: &mut PgConnection, transaction_ids: Vec<Uuid>, state: i16) {
    let decide = "WITH batch AS (
             UPDATE branch_batch SET state = 2, undecided = 0, decide_time = now() WHERE batch_id = ANY($1::uuid[])
         )
         UPDATE branch_log SET state = $2, decide_time = now() WHERE transaction_id = ANY($1::uuid[])";
    sqlx::query(decide).bind(transaction_ids).bind(state).execute(connection).await.unwrap();
}

/// What the service finds wrong, as `invariant subject: detail`.
pub async fn audit<R: Resource>(resource: &R, pool: &PgPool, prepared: &[PreparedBranch<R::Branch>]) -> Vec<String> {
    let mut connection = pool.acquire().await.unwrap();
    let mut snapshot: sqlx::Transaction<'_, sqlx::Postgres> =
        PgConnection::begin_with(&mut connection, "BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let checks = resource.audit(&mut snapshot, prepared).await.unwrap();
    snapshot.rollback().await.unwrap();
    let found = |check: crate::audit::Check| {
        let line = move |violation: &crate::audit::Violation| {
            format!("{} {}: {}", check.invariant, violation.subject, violation.detail)
        };
        check.violations.iter().map(line).collect::<Vec<_>>()
    };
    checks.into_iter().flat_map(found).collect()
}
