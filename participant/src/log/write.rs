//! The statements of the log's writer: each takes a whole batch, and touches rows in the order of their ids.
use std::collections::{HashMap, HashSet};

use protocol::branch::BranchState;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ids, state_code, state_of};
use crate::{Refusal, TransactionRef};

/// What a new row says.
#[derive(Debug, Clone, Default)]
pub struct NewRow {
    /// Names of all participants, joined by commas; empty where they are not known.
    pub participants: String,
    /// The coordinator incarnation that drives the attempt; empty where it is not known.
    pub owner_id: String,
    /// The branch as it was asked for.
    pub branch: Option<Vec<u8>>,
    /// Why, on an ABORTED row.
    pub refusal: Option<Refusal>,
}

macro_rules! insert {
    ($conflict:literal) => {
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
            $conflict,
            " RETURNING transaction_id"
        )
    };
}

/// Inserts rows of one state where the deadline is above the watermark and none stands; returns which were inserted. If
/// duplicates are not expected, one fails the statement.
///
/// The watermark is read FOR KEY SHARE in the inserting statement, which keeps the collector's drain waiting until this
/// local transaction has ended.
pub async fn insert(
    connection: &mut PgConnection,
    state: BranchState,
    rows: &[(TransactionRef, &NewRow)],
    duplicates_expected: bool,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let insert = if duplicates_expected { insert!(" ON CONFLICT DO NOTHING") } else { insert!("") };
    let inserted: Vec<Uuid> = sqlx::query_scalar(insert)
        .bind(rows.iter().map(|(reference, _)| reference.transaction_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|(reference, _)| reference.deadline_unix_ms).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.participants.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.owner_id.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.branch.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, row)| row.refusal.as_ref().map(Refusal::to_json)).collect::<Vec<_>>())
        .bind(state_code(state))
        .fetch_all(connection)
        .await?;
    Ok(inserted.into_iter().collect())
}

/// PREPARED rows become COMMITTED; answers those that did, with their branches.
pub async fn commit(
    connection: &mut PgConnection,
    references: &[TransactionRef],
) -> Result<Vec<(Uuid, Vec<u8>)>, sqlx::Error> {
    sqlx::query_as(
        "UPDATE branch_log SET state = 2, decide_time = now()
         WHERE transaction_id = ANY($1::uuid[]) AND state = 1 RETURNING transaction_id, branch",
    )
    .bind(ids(references))
    .fetch_all(connection)
    .await
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
