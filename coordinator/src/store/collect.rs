//! Garbage collection: the watermark, and what it allows to delete. What may go is said by [`protocol::collection`].
use participant::crash_point;
use protocol::collection::may_delete_record;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{Record, Store, state_of};
use crate::saga::group;

impl Store {
    /// Advances the watermark, and returns it once nothing can be inserted at or below it any more.
    ///
    /// Writers hold the row FOR KEY SHARE until their local transaction ends. The advance is no key update, so it waits
    /// for nobody; the lock taken after it waits for those who may still have read the old watermark.
    pub async fn advance_watermark(&self, to_unix_ms: i64) -> Result<i64, sqlx::Error> {
        let watermark: i64 = sqlx::query_scalar(
            "UPDATE watermark SET deadline_unix_ms = GREATEST(deadline_unix_ms, $1), advance_time = now() WHERE sole \
             RETURNING deadline_unix_ms",
        )
        .bind(to_unix_ms)
        .fetch_one(&self.pool)
        .await?;
        crash_point::pass("watermark.advanced");
        sqlx::query("SELECT FROM watermark WHERE sole FOR UPDATE").execute(&self.pool).await?;
        Ok(watermark)
    }

    /// COMMITTED records at or below the watermark whose participants have not been told END, by deadline and id;
    /// those that come after `after`.
    ///
    /// They are durably so when this returns: the forced commit of the local transaction that has seen them flushes them.
    /// Of that one: on another connection it could be that of a database that crashed in between, and lost them.
    pub async fn to_end(
        &self,
        watermark_unix_ms: i64,
        after: Option<(i64, Uuid)>,
        limit: i64,
    ) -> Result<Vec<Record>, sqlx::Error> {
        let (deadline, id) = after.unwrap_or((i64::MIN, Uuid::nil()));
        let seen = self.pool.run(async |connection: &mut PgConnection| {
            let mut local = connection.begin().await?;
            let ids: Vec<Uuid> = sqlx::query_scalar(
                "SELECT transaction_id FROM record WHERE state = 2 AND mode = 1 AND NOT ended AND deadline_unix_ms <= $1 \
                     AND (deadline_unix_ms, transaction_id) > ($2, $3) \
                 ORDER BY deadline_unix_ms, transaction_id LIMIT $4",
            )
            .bind(watermark_unix_ms)
            .bind(deadline)
            .bind(id)
            .bind(limit)
            .fetch_all(&mut *local)
            .await?;
            if !ids.is_empty() {
                sqlx::query("UPDATE watermark SET advance_time = now() WHERE sole").execute(&mut *local).await?;
            }
            local.commit().await?;
            Ok(ids)
        });
        let ids = seen.await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut records = self.records(&ids).await?;
        records.sort_unstable_by_key(|record| (record.deadline_unix_ms, record.transaction_id));
        Ok(records)
    }

    /// Notes that the participants of these were told END.
    pub async fn mark_ended(&self, transaction_ids: &[Uuid]) -> Result<(), sqlx::Error> {
        crash_point::pass("ended.before");
        sqlx::query("UPDATE record SET ended = true WHERE transaction_id = ANY($1::uuid[]) AND state = 2")
            .bind(transaction_ids)
            .execute(&self.pool)
            .await?;
        crash_point::pass("ended.after");
        Ok(())
    }

    /// Records that are what a step of a saga came to stay as long as the saga, which asks them again.
    async fn keep_those_of_open_sagas(&self, deletable: &mut Vec<Uuid>) -> Result<(), sqlx::Error> {
        let kept: Vec<Uuid> = sqlx::query_scalar(
            "SELECT r.transaction_id FROM record r
             WHERE r.transaction_id = ANY($1::uuid[]) AND r.client_id = $2
                   AND EXISTS (SELECT FROM open_saga o WHERE o.transaction_id::text = split_part(r.request_id, '/', 1))",
        )
        .bind(&*deletable)
        .bind(group::CLIENT)
        .fetch_all(&self.pool)
        .await?;
        deletable.retain(|transaction_id| !kept.contains(transaction_id));
        Ok(())
    }

    /// Deletes what may go, at most about `limit` records; returns how many went.
    ///
    /// `retention_unix_ms`: records that hold a request go only if their deadline is at or below it.
    pub async fn delete_settled(
        &self,
        watermark_unix_ms: i64,
        retention_unix_ms: i64,
        limit: i64,
    ) -> Result<u64, sqlx::Error> {
        // The oldest records are the first of the primary key, because the ids are ordered by time.
        let candidates: Vec<(Uuid, i16, bool, bool, i64, i16)> = sqlx::query_as(
            "(SELECT transaction_id, state, ended, holds_request, deadline_unix_ms, mode FROM record \
              ORDER BY transaction_id LIMIT $2) \
             UNION \
             (SELECT transaction_id, state, ended, holds_request, deadline_unix_ms, mode FROM record \
              WHERE NOT holds_request AND deadline_unix_ms <= $1 ORDER BY deadline_unix_ms LIMIT $2)",
        )
        .bind(watermark_unix_ms)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        let mut deletable = Vec::new();
        for (transaction_id, state, ended, holds_request, deadline_unix_ms, mode) in candidates {
            // A saga's record stays until the saga has ended everywhere, also where it has turned.
            if mode == 2 && !ended {
                continue;
            }
            let below = deadline_unix_ms <= watermark_unix_ms;
            if may_delete_record(state_of(state)?, ended, below, holds_request, deadline_unix_ms <= retention_unix_ms) {
                deletable.push(transaction_id);
            }
        }
        self.keep_those_of_open_sagas(&mut deletable).await?;
        if deletable.is_empty() {
            return Ok(0);
        }
        crash_point::pass("collect.before");
        // A final state never changes; but one that was written lazily may be lost again with a crash of the database.
        let deleted: i64 = sqlx::query_scalar(
            "WITH gone AS (DELETE FROM record WHERE transaction_id = ANY($1::uuid[]) AND state <> 1 RETURNING transaction_id), \
                 sagas AS (DELETE FROM saga WHERE transaction_id IN (SELECT transaction_id FROM gone)), \
                 steps AS (DELETE FROM saga_step WHERE transaction_id IN (SELECT transaction_id FROM gone)) \
             SELECT count(*) FROM gone",
        )
        .bind(deletable)
        .fetch_one(&self.pool)
        .await?;
        crash_point::pass("collect.after");
        Ok(u64::try_from(deleted).unwrap_or_default())
    }
}
