//! The statements of the log's writer: each takes a whole batch, and touches rows in the order of their ids.
use std::collections::{HashMap, HashSet};

use protocol::branch::BranchState;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, PgConnection};
use uuid::Uuid;

use super::{ids, state_code, state_of};
use crate::{Refusal, TransactionRef, duplicates};

macro_rules! commit {
    ($rest:literal) => {
        concat!(
            "UPDATE branch_log SET state = 2, decide_time = now() WHERE transaction_id = ANY($1::uuid[]) AND state = 1",
            $rest
        )
    };
}

/// What a new row says.
#[derive(Debug, Clone, Copy)]
pub struct NewRow<'a> {
    /// Which transaction.
    pub transaction: TransactionRef,
    /// Names of all participants, joined by commas; empty where they are not known.
    pub participants: &'a str,
    /// The coordinator incarnation that drives the attempt; empty where it is not known.
    pub owner_id: &'a str,
    /// The branch as it was asked for.
    pub branch: Option<&'a [u8]>,
    /// Why, on an ABORTED row.
    pub refusal: Option<&'a Refusal>,
}

macro_rules! insert {
    ($rest:literal) => {
        concat!(
            "WITH watermark AS MATERIALIZED (
                SELECT deadline_unix_ms FROM log_watermark WHERE sole FOR KEY SHARE
             )
             INSERT INTO branch_log (transaction_id, deadline_unix_ms, state, participants, owner_id, branch, refusal, decide_time)
             SELECT n.transaction_id, n.deadline_unix_ms, $7::smallint, n.participants, n.owner_id, n.branch, n.refusal::jsonb,
                    CASE WHEN $7::smallint <> 1 THEN now() END
             FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::bytea[], $6::text[])
                  AS n (transaction_id, deadline_unix_ms, participants, owner_id, branch, refusal),
                  watermark
             WHERE n.deadline_unix_ms > watermark.deadline_unix_ms",
            $rest
        )
    };
}

/// Inserts PREPARED rows, all of which are expected to be new and above the watermark: if one is not, the batch is to be
/// run again with care.
pub async fn insert_prepared(connection: &mut PgConnection, rows: &mut [NewRow<'_>]) -> Result<(), sqlx::Error> {
    let inserted = sqlx::query_with(insert!(""), columns(BranchState::Prepared, rows)?).execute(connection).await?;
    duplicates::all(inserted.rows_affected(), rows.len())
}

/// Inserts rows of one state where the deadline is above the watermark and none stands; returns which were inserted.
pub async fn insert(
    connection: &mut PgConnection,
    state: BranchState,
    rows: &mut [NewRow<'_>],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let columns = columns(state, rows)?;
    let inserted: Vec<Uuid> =
        sqlx::query_scalar_with(insert!(" ON CONFLICT DO NOTHING RETURNING transaction_id"), columns)
            .fetch_all(connection)
            .await?;
    Ok(inserted.into_iter().collect())
}

/// The rows as columns, in the order of their ids.
///
/// The inserting statement reads the watermark FOR KEY SHARE, which keeps the collector's drain waiting until this local
/// transaction has ended.
fn columns(state: BranchState, rows: &mut [NewRow<'_>]) -> Result<PgArguments, sqlx::Error> {
    rows.sort_unstable_by_key(|row| row.transaction.transaction_id);
    let mut columns = PgArguments::default();
    let mut add = || -> Result<(), sqlx::error::BoxDynError> {
        columns.add(rows.iter().map(|row| row.transaction.transaction_id).collect::<Vec<_>>())?;
        columns.add(rows.iter().map(|row| row.transaction.deadline_unix_ms).collect::<Vec<_>>())?;
        columns.add(rows.iter().map(|row| row.participants).collect::<Vec<_>>())?;
        columns.add(rows.iter().map(|row| row.owner_id).collect::<Vec<_>>())?;
        columns.add(rows.iter().map(|row| row.branch).collect::<Vec<_>>())?;
        // What is shorter than the others is filled up with NULL.
        columns.add(rows.iter().map_while(|row| row.refusal).map(Refusal::to_json).collect::<Vec<_>>())?;
        columns.add(state_code(state))
    };
    add().map_err(sqlx::Error::Encode)?;
    Ok(columns)
}

/// PREPARED rows become COMMITTED, all of which are expected to stand: if one does not, the batch is to be run again.
pub async fn commit_all(connection: &mut PgConnection, references: &[TransactionRef]) -> Result<(), sqlx::Error> {
    let done = sqlx::query(commit!("")).bind(ids(references)).execute(connection).await?;
    duplicates::all(done.rows_affected(), references.len())
}

/// PREPARED rows become COMMITTED; answers those that did, with their branches.
pub async fn commit(
    connection: &mut PgConnection,
    references: &[TransactionRef],
) -> Result<Vec<(Uuid, Vec<u8>)>, sqlx::Error> {
    sqlx::query_as(commit!(" RETURNING transaction_id, branch")).bind(ids(references)).fetch_all(connection).await
}

/// PREPARED rows become ABORTED; answers those that did, with their branches.
pub async fn abort(
    connection: &mut PgConnection,
    aborts: &[(TransactionRef, &Refusal)],
) -> Result<Vec<(Uuid, Vec<u8>)>, sqlx::Error> {
    sqlx::query_as(
        "UPDATE branch_log SET state = 3, decide_time = now(), refusal = a.refusal::jsonb
         FROM unnest($1::uuid[], $2::text[]) AS a (transaction_id, refusal)
         WHERE branch_log.transaction_id = a.transaction_id AND branch_log.state = 1
         RETURNING branch_log.transaction_id, branch_log.branch",
    )
    .bind(aborts.iter().map(|(reference, _)| reference.transaction_id).collect::<Vec<_>>())
    .bind(aborts.iter().map(|(_, refusal)| refusal.to_json()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
}

/// COMMITTED rows at or below the watermark go; answers which did.
pub async fn end(
    connection: &mut PgConnection,
    references: &[TransactionRef],
    watermark_unix_ms: i64,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let deleted: Vec<Uuid> = sqlx::query_scalar(
        "DELETE FROM branch_log WHERE transaction_id = ANY($1::uuid[]) AND state = 2 AND deadline_unix_ms <= $2
         RETURNING transaction_id",
    )
    .bind(ids(references))
    .bind(watermark_unix_ms)
    .fetch_all(connection)
    .await?;
    Ok(deleted.into_iter().collect())
}

/// A row that was already there.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Where it stands.
    pub state: BranchState,
    /// Its deadline, which a message about it may name wrongly.
    pub deadline_unix_ms: i64,
    /// Why it was aborted.
    pub refusal: Option<Refusal>,
}

/// The watermark, and the rows that stand, locked until the end of the local transaction.
///
/// Locking writes, so the COMMIT of a local transaction that is to be durable flushes also when nothing else was written in
/// it, and with it what was committed lazily before.
pub async fn standing(
    connection: &mut PgConnection,
    references: &[TransactionRef],
) -> Result<(i64, HashMap<Uuid, Standing>), sqlx::Error> {
    let watermark = watermark(connection).await?;
    let rows: Vec<(Uuid, i16, i64, Option<String>)> = sqlx::query_as(
        "SELECT transaction_id, state, deadline_unix_ms, refusal::text FROM branch_log WHERE transaction_id = ANY($1::uuid[])
         ORDER BY transaction_id FOR NO KEY UPDATE",
    )
    .bind(ids(references))
    .fetch_all(connection)
    .await?;
    let mut standing = HashMap::with_capacity(rows.len());
    for (transaction_id, state, deadline_unix_ms, refusal) in rows {
        let refusal = refusal.as_deref().map(Refusal::from_json);
        standing.insert(transaction_id, Standing { state: state_of(state)?, deadline_unix_ms, refusal });
    }
    Ok((watermark, standing))
}

/// The watermark, kept from advancing past its drain until the end of the local transaction.
pub async fn watermark(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT deadline_unix_ms FROM log_watermark WHERE sole FOR KEY SHARE")
        .fetch_one(connection)
        .await
}
