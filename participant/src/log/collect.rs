//! Garbage collection: the watermark, the horizon up to which coordinators say END, and the rows that these allow to delete.
//! What may go is said by [`protocol::collection`]; COMMITTED rows go only when a coordinator says END. Most go with their
//! partition ([`super::partitions`]); here is how the others do.
use protocol::branch::BranchState;
use protocol::collection::{horizon, may_delete_branch};
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
        self.drained_watermark().await?;
        Ok(watermark)
    }

    /// The watermark, once nothing can be inserted at or below it any more.
    async fn drained_watermark(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT deadline_unix_ms FROM log_watermark WHERE sole FOR UPDATE")
            .fetch_one(&self.pool)
            .await
    }

    /// The highest horizon, no higher than the one asked, at or below which nothing is PREPARED here, durably, and never will
    /// be again.
    ///
    /// What was committed lazily is on disk when this returns: the statement that has seen it writes, and its own commit is
    /// forced. Another one's could be that of a database that crashed in between, and lost it.
    pub async fn confirm_horizon(&self, asked_unix_ms: i64) -> Result<i64, sqlx::Error> {
        let watermark = self.drained_watermark().await?;
        let first_prepared: Option<i64> = sqlx::query_scalar(
            "WITH written AS (UPDATE log_watermark SET advance_time = now() WHERE sole)
             SELECT min(deadline_unix_ms) FROM branch_in_doubt",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(horizon(asked_unix_ms, watermark, first_prepared))
    }

    /// Notes that all COMMITTED transactions up to a horizon have ended, as far as the horizon is confirmed here; returns up
    /// to where they have by now.
    pub async fn end_horizon(&self, asked_unix_ms: i64) -> Result<i64, sqlx::Error> {
        let confirmed = self.confirm_horizon(asked_unix_ms).await?;
        sqlx::query_scalar(
            "UPDATE log_watermark SET ended_unix_ms = GREATEST(ended_unix_ms, $1) WHERE sole RETURNING ended_unix_ms",
        )
        .bind(confirmed)
        .fetch_one(&self.pool)
        .await
    }

    /// Up to where COMMITTED transactions have ended.
    pub async fn ended_horizon(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT ended_unix_ms FROM log_watermark WHERE sole").fetch_one(&self.pool).await
    }

    /// Deletes batches all of whose transactions have ended, with their rows, at most about `limit`; returns how many rows
    /// went.
    pub async fn delete_ended(&self, ended_unix_ms: i64, limit: i64) -> Result<u64, sqlx::Error> {
        let batches: Vec<(Uuid, Vec<Uuid>)> = sqlx::query_as(
            "WITH oldest AS (
                 SELECT batch_id, sum(rows_left) OVER (ORDER BY max_deadline_unix_ms, batch_id) - rows_left AS before
                 FROM (SELECT batch_id, max_deadline_unix_ms, rows_left FROM branch_batch
                       WHERE state = 2 AND max_deadline_unix_ms <= $1 ORDER BY max_deadline_unix_ms LIMIT $2) AS ended
             )
             SELECT b.batch_id, b.transaction_ids FROM oldest JOIN branch_batch b USING (batch_id) WHERE oldest.before < $2",
        )
        .bind(ended_unix_ms)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        if batches.is_empty() {
            return Ok(0);
        }
        crash_point::pass("collect.before");
        let deleted = self.pool.run(async |connection| delete_batches(connection, batches).await).await?;
        crash_point::pass("collect.after");
        Ok(deleted)
    }

    /// Deletes rows that nobody can need any more though no END was said of them, at most `limit`; returns how many went.
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
            if may_delete_branch(state_of(state)?, deadline_unix_ms <= watermark_unix_ms, false) {
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

/// A closed batch has final rows only. One that was closed lazily may be lost with a crash of the database: it is open then,
/// and stays.
async fn delete_batches(connection: &mut PgConnection, batches: Vec<(Uuid, Vec<Uuid>)>) -> Result<u64, sqlx::Error> {
    debug_assert!(
        [BranchState::Committed, BranchState::Aborted].iter().all(|state| may_delete_branch(*state, true, true))
    );
    let (batch_ids, transaction_ids): (Vec<Uuid>, Vec<Vec<Uuid>>) = batches.into_iter().unzip();
    let mut local = connection.begin().await?;
    // By its time, not by its state; see [`batches::close`].
    let deleted: i64 = sqlx::query_scalar(
        "WITH batch AS (
             DELETE FROM branch_batch WHERE batch_id = ANY($1::uuid[]) AND decide_time IS NOT NULL RETURNING batch_id
         ), deleted AS (
             DELETE FROM branch_log USING unnest($2::uuid[]) AS of (id)
             WHERE transaction_id = of.id AND batch_id IN (SELECT batch_id FROM batch)
             RETURNING transaction_id
         )
         SELECT count(*) FROM deleted",
    )
    .bind(batch_ids)
    .bind(transaction_ids.concat())
    .fetch_one(&mut *local)
    .await?;
    local.commit().await?;
    Ok(u64::try_from(deleted).unwrap_or_default())
}

async fn delete_aborted(connection: &mut PgConnection, transaction_ids: Vec<Uuid>) -> Result<u64, sqlx::Error> {
    let mut local = connection.begin().await?;
    let deleted: Vec<(Uuid, Option<Uuid>)> =
        sqlx::query_as(batches::delete_rows!("state = 3")).bind(transaction_ids).fetch_all(&mut *local).await?;
    batches::delete_empty(&mut local, deleted.iter().filter_map(|(_, batch_id)| *batch_id)).await?;
    local.commit().await?;
    Ok(u64::try_from(deleted.len()).unwrap_or(u64::MAX))
}
