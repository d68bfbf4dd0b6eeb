//! The statements of the log's writer about rows alone: each takes all that have come together. Those about what is prepared
//! are in [`super::batches`].
use std::collections::{HashMap, HashSet};

use protocol::branch::BranchState;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{batches, ids, state_of};
use crate::{Refusal, TransactionRef};

/// Inserts ABORTED rows where the deadline is above the watermark and none stands; returns which were inserted.
///
/// The statement reads the watermark FOR KEY SHARE, which keeps the collector's drain waiting until this local transaction
/// has ended.
pub async fn insert_aborted(
    connection: &mut PgConnection,
    aborts: &[(TransactionRef, &Refusal)],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    if aborts.is_empty() {
        return Ok(HashSet::new());
    }
    let mut rows: Vec<&(TransactionRef, &Refusal)> = aborts.iter().collect();
    rows.sort_unstable_by_key(|(reference, _)| reference.transaction_id);
    let inserted: Vec<Uuid> = sqlx::query_scalar(
        "WITH watermark AS MATERIALIZED (
            SELECT deadline_unix_ms FROM log_watermark WHERE sole FOR KEY SHARE
         )
         INSERT INTO branch_log (transaction_id, deadline_unix_ms, state, refusal, decide_time)
         SELECT n.transaction_id, n.deadline_unix_ms, 3, n.refusal::jsonb, now()
         FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS n (transaction_id, deadline_unix_ms, refusal), watermark
         WHERE n.deadline_unix_ms > watermark.deadline_unix_ms
         ON CONFLICT DO NOTHING RETURNING transaction_id",
    )
    .bind(rows.iter().map(|(reference, _)| reference.transaction_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|(reference, _)| reference.deadline_unix_ms).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, refusal)| refusal.to_json()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(inserted.into_iter().collect())
}

/// COMMITTED rows at or below the watermark go, and each batch with its last row; answers which rows did.
pub async fn end(
    connection: &mut PgConnection,
    references: &[TransactionRef],
    watermark_unix_ms: i64,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let deleted: Vec<(Uuid, Option<Uuid>)> = sqlx::query_as(batches::delete_rows!(
        "deadline_unix_ms <= $2 AND (state = 2 OR state = 1 AND
             (SELECT b.state FROM branch_batch b WHERE b.batch_id = branch_log.batch_id) = 2)"
    ))
    .bind(ids(references))
    .bind(watermark_unix_ms)
    .fetch_all(&mut *connection)
    .await?;
    batches::delete_empty(connection, deleted.iter().filter_map(|(_, batch_id)| *batch_id)).await?;
    Ok(deleted.into_iter().map(|(transaction_id, _)| transaction_id).collect())
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

/// The watermark, and the rows that stand.
///
/// Locking the watermark writes, so the COMMIT of a local transaction that is to be durable flushes also when nothing else
/// was written in it, and with it what was committed lazily before.
pub async fn standing(
    connection: &mut PgConnection,
    references: &[TransactionRef],
) -> Result<(i64, HashMap<Uuid, Standing>), sqlx::Error> {
    let watermark = watermark(connection).await?;
    let rows: Vec<(Uuid, i16, i64, Option<String>)> = sqlx::query_as(
        "SELECT transaction_id, state, deadline_unix_ms, refusal::text
         FROM unnest($1::uuid[]) AS asked (id) JOIN branch_with_state ON transaction_id = asked.id",
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
