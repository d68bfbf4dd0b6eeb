//! Garbage collection: the watermark, and the rows that it allows to delete. What may go is said by
//! [`protocol::collection`]; COMMITTED rows go only when the coordinator says END.
use protocol::collection::may_delete_branch;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{Log, batches, state_of};
use crate::crash_point;

impl Log {
    /// Advances the watermark, and returns it once nothing can be inserted at or below it any more.
    ///
    /// Writers hold the row FOR KEY SHARE until their local transaction ends. The advance is no key update, so it waits
    /// for nobody; the lock taken after it waits for those who may still have read the old watermark.
    pub async fn advance_watermark(&self, to_unix_ms: i64) -> Result<i64, sqlx::Error> {
        let watermark: i64 = sqlx::query_scalar(
            "UPDATE log_watermark SET deadline_unix_ms = GREATEST(deadline_unix_ms, $1), advance_time = now() WHERE sole
             RETURNING deadline_unix_ms",
        )
        .bind(to_unix_ms)
        .fetch_one(&self.pool)
        .await?;
        crash_point::pass("watermark.advanced");
        sqlx::query("SELECT FROM log_watermark WHERE sole FOR UPDATE").execute(&self.pool).await?;
        Ok(watermark)
    }

    /// Deletes rows that nobody can need any more, at most `limit`; returns how many went.
    pub async fn delete_settled(&self, watermark_unix_ms: i64, limit: i64) -> Result<u64, sqlx::Error> {
        let candidates: Vec<(Uuid, i16, i64)> = sqlx::query_as(
            "SELECT transaction_id, state, deadline_unix_ms FROM branch_log
             WHERE state = 3 AND deadline_unix_ms <= $1 ORDER BY deadline_unix_ms LIMIT $2",
        )
        .bind(watermark_unix_ms)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        let mut deletable = Vec::with_capacity(candidates.len());
        for (transaction_id, state, deadline_unix_ms) in candidates {
            if may_delete_branch(state_of(state)?, deadline_unix_ms <= watermark_unix_ms) {
                deletable.push(transaction_id);
            }
        }
        if deletable.is_empty() {
            return Ok(0);
        }
        crash_point::pass("collect.before");
        // ABORTED is final, so what was read still holds.
        let deleted = self.pool.run(async |connection| delete_aborted(connection, deletable).await).await?;
        crash_point::pass("collect.after");
        Ok(deleted)
    }
}

async fn delete_aborted(connection: &mut PgConnection, transaction_ids: Vec<Uuid>) -> Result<u64, sqlx::Error> {
    let mut local = connection.begin().await?;
    let deleted: Vec<(Uuid, Option<Uuid>)> =
        sqlx::query_as(batches::delete_rows!("transaction_id = ANY($1::uuid[]) AND state = 3"))
            .bind(transaction_ids)
            .fetch_all(&mut *local)
            .await?;
    batches::delete_empty(&mut local, deleted.iter().filter_map(|(_, batch_id)| *batch_id)).await?;
    local.commit().await?;
    Ok(u64::try_from(deleted.len()).unwrap_or(u64::MAX))
}
