//! Garbage collection: the watermark, and what it allows to delete. What may go is said by [`protocol::collection`].
use std::collections::HashMap;

use participant::crash_point;
use protocol::collection::{horizon, may_delete_record};
use protocol::record::RecordState;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{Record, Store, state_of};
use crate::saga::group;

/// A closed batch.
#[derive(Debug, Clone)]
pub struct ClosedBatch {
    /// Which.
    pub batch_id: Uuid,
    /// The latest deadline of its records.
    pub max_deadline_unix_ms: i64,
    /// Its records; all are final.
    pub records: Vec<Record>,
}

/// What may be deleted.
struct Deletable {
    /// Records without a batch.
    transaction_ids: Vec<Uuid>,
    /// Batches with all their records.
    batch_ids: Vec<Uuid>,
}

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

    /// Up to which horizon all records are decided, durably, and all that are about to end name only participants among
    /// `known`; `watermark_unix_ms` is drained.
    ///
    /// What was committed lazily is on disk when this returns: the statement that has seen it writes, and its own commit is
    /// forced. Another one's could be that of a database that crashed in between, and lost it.
    ///
    /// A batch that names another one must not be marked as ended here, which is done by its latest deadline. Its rows at the
    /// participants that are known may go before that: the other one needs the record, not these.
    pub async fn horizon(&self, watermark_unix_ms: i64, known: &[String]) -> Result<i64, sqlx::Error> {
        let first_open: Option<i64> = sqlx::query_scalar(
            "WITH written AS (UPDATE watermark SET advance_time = now() WHERE sole) \
             SELECT least((SELECT min(deadline_unix_ms) FROM undecided_record), \
                          (SELECT min(max_deadline_unix_ms) FROM record_batch \
                           WHERE state = 2 AND NOT ended AND max_deadline_unix_ms <= $1 \
                               AND NOT participants <@ $2::text[]))",
        )
        .bind(watermark_unix_ms)
        .bind(known)
        .fetch_one(&self.pool)
        .await?;
        Ok(horizon(i64::MAX, watermark_unix_ms, first_open))
    }

    /// Notes that the participants of all records up to a horizon were told END. All are decided, and none is inserted there
    /// any more; returns how many batches that were.
    pub async fn mark_ended_up_to(&self, horizon_unix_ms: i64) -> Result<u64, sqlx::Error> {
        crash_point::pass("ended.before");
        let marked = sqlx::query(
            "UPDATE record_batch SET ended = true WHERE state = 2 AND NOT ended AND max_deadline_unix_ms <= $1",
        )
        .bind(horizon_unix_ms)
        .execute(&self.pool)
        .await?;
        crash_point::pass("ended.after");
        Ok(marked.rows_affected())
    }

    /// Closed batches all of whose records are at or below the watermark and whose participants have not been told END, by
    /// deadline and id; those that come after `after`, with at most about `limit` records.
    ///
    /// They are durably closed when this returns: the forced commit of the local transaction that has seen them flushes them.
    /// Of that one: on another connection it could be that of a database that crashed in between, and lost them.
    pub async fn to_end(
        &self,
        watermark_unix_ms: i64,
        after: Option<(i64, Uuid)>,
        limit: i64,
    ) -> Result<Vec<ClosedBatch>, sqlx::Error> {
        let (deadline, id) = after.unwrap_or((i64::MIN, Uuid::nil()));
        let seen = self.pool.run(async |connection: &mut PgConnection| {
            let mut local = connection.begin().await?;
            let batches: Vec<(Uuid, i64, Vec<Uuid>)> = sqlx::query_as(
                "WITH closed AS ( \
                     SELECT batch_id, sum(record_count) OVER (ORDER BY max_deadline_unix_ms, batch_id) - record_count AS before \
                     FROM (SELECT batch_id, max_deadline_unix_ms, record_count FROM record_batch \
                           WHERE state = 2 AND NOT ended AND max_deadline_unix_ms <= $1 \
                               AND (max_deadline_unix_ms, batch_id) > ($2, $3) \
                           ORDER BY max_deadline_unix_ms, batch_id LIMIT $4) AS oldest) \
                 SELECT b.batch_id, b.max_deadline_unix_ms, b.transaction_ids \
                 FROM closed JOIN record_batch b USING (batch_id) WHERE closed.before < $4 \
                 ORDER BY b.max_deadline_unix_ms, b.batch_id",
            )
            .bind(watermark_unix_ms)
            .bind(deadline)
            .bind(id)
            .bind(limit)
            .fetch_all(&mut *local)
            .await?;
            if !batches.is_empty() {
                sqlx::query("UPDATE watermark SET advance_time = now() WHERE sole").execute(&mut *local).await?;
            }
            local.commit().await?;
            Ok(batches)
        });
        let batches = seen.await?;
        let ids: Vec<Uuid> = batches.iter().flat_map(|(.., ids)| ids).copied().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut records: HashMap<Uuid, Record> =
            self.records(&ids).await?.into_iter().map(|record| (record.transaction_id, record)).collect();
        let batch = |(batch_id, max_deadline_unix_ms, ids): (Uuid, i64, Vec<Uuid>)| ClosedBatch {
            batch_id,
            max_deadline_unix_ms,
            records: ids.iter().filter_map(|id| records.remove(id)).collect(),
        };
        Ok(batches.into_iter().map(batch).collect())
    }

    /// Notes that the participants of all records of these batches were told END.
    pub async fn mark_ended(&self, batch_ids: &[Uuid]) -> Result<(), sqlx::Error> {
        crash_point::pass("ended.before");
        // That they are decided is asked by the time, as wherever batches are named ([`super::record`]).
        sqlx::query(
            "UPDATE record_batch SET ended = true WHERE batch_id = ANY($1::uuid[]) AND decide_time IS NOT NULL",
        )
        .bind(batch_ids)
        .execute(&self.pool)
        .await?;
        crash_point::pass("ended.after");
        Ok(())
    }

    /// Records that are what a step of a saga came to stay as long as the saga, which asks them again; so do their batches. Where
    /// no saga is open no record is looked at.
    async fn keep_those_of_open_sagas(&self, deletable: &mut Deletable) -> Result<(), sqlx::Error> {
        let kept: Vec<(Uuid, Option<Uuid>)> = sqlx::query_as(
            "WITH deletable AS ( \
                 SELECT unnest($1::uuid[]) AS transaction_id UNION ALL \
                 SELECT unnest(transaction_ids) FROM record_batch WHERE batch_id = ANY($2::uuid[])) \
             SELECT r.transaction_id, r.batch_id FROM deletable JOIN record r USING (transaction_id) \
             WHERE EXISTS (SELECT FROM open_saga) AND r.client_id = $3 \
                 AND EXISTS (SELECT FROM open_saga o WHERE o.transaction_id::text = split_part(r.request_id, '/', 1))",
        )
        .bind(&deletable.transaction_ids)
        .bind(&deletable.batch_ids)
        .bind(group::CLIENT)
        .persistent(false)
        .fetch_all(&self.pool)
        .await?;
        deletable.transaction_ids.retain(|id| kept.iter().all(|(kept, _)| kept != id));
        deletable.batch_ids.retain(|id| kept.iter().all(|(_, kept)| *kept != Some(*id)));
        Ok(())
    }

    /// Batches that may go, the oldest first, with at most about `limit` records. A batch goes as its youngest record may, of
    /// which all hold their requests.
    async fn deletable_batches(
        &self,
        watermark_unix_ms: i64,
        retention_unix_ms: i64,
        limit: i64,
    ) -> Result<Vec<Uuid>, sqlx::Error> {
        let candidates: Vec<(Uuid, i64, i32)> = sqlx::query_as(
            "SELECT batch_id, max_deadline_unix_ms, record_count FROM record_batch \
             WHERE state = 2 AND ended AND max_deadline_unix_ms <= $1 ORDER BY max_deadline_unix_ms, batch_id LIMIT $2",
        )
        .bind(watermark_unix_ms)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        let (mut deletable, mut records) = (Vec::new(), 0);
        for (batch_id, deadline_unix_ms, record_count) in candidates {
            let below = deadline_unix_ms <= watermark_unix_ms;
            let is_old = deadline_unix_ms <= retention_unix_ms;
            if records < limit && may_delete_record(RecordState::Committed, true, below, true, is_old) {
                records += i64::from(record_count);
                deletable.push(batch_id);
            }
        }
        Ok(deletable)
    }

    /// Deletes what may go, at most about `limit` records; returns how many went.
    ///
    /// `retention_unix_ms`: records that hold a request go only if their deadline is at or below it.
    ///
    /// What looks at records is planned anew each time: a plan of when there were few would go on to read all there are.
    pub async fn delete_settled(
        &self,
        watermark_unix_ms: i64,
        retention_unix_ms: i64,
        limit: i64,
    ) -> Result<u64, sqlx::Error> {
        let batch_ids = self.deletable_batches(watermark_unix_ms, retention_unix_ms, limit).await?;
        // Beside batches, and no sagas that have not ended: their records stay, also where they have turned.
        let candidates: Vec<(Uuid, i16, bool, bool, i64)> = sqlx::query_as(
            "(SELECT transaction_id, state, ended, holds_request, deadline_unix_ms FROM record \
              WHERE NOT holds_request AND deadline_unix_ms <= $1 AND (ended OR mode = 1) \
              ORDER BY deadline_unix_ms LIMIT $3) \
             UNION ALL \
             (SELECT transaction_id, state, ended, holds_request, deadline_unix_ms FROM record \
              WHERE holds_request AND batch_id IS NULL AND deadline_unix_ms <= $2 AND (ended OR mode = 1) \
              ORDER BY deadline_unix_ms LIMIT $3)",
        )
        .bind(watermark_unix_ms)
        .bind(retention_unix_ms.min(watermark_unix_ms))
        .bind(limit)
        .persistent(false)
        .fetch_all(&self.pool)
        .await?;
        let mut transaction_ids = Vec::new();
        for (transaction_id, state, ended, holds_request, deadline_unix_ms) in candidates {
            let below = deadline_unix_ms <= watermark_unix_ms;
            if may_delete_record(state_of(state)?, ended, below, holds_request, deadline_unix_ms <= retention_unix_ms) {
                transaction_ids.push(transaction_id);
            }
        }
        let mut deletable = Deletable { transaction_ids, batch_ids };
        if deletable.transaction_ids.is_empty() && deletable.batch_ids.is_empty() {
            return Ok(0);
        }
        self.keep_those_of_open_sagas(&mut deletable).await?;
        crash_point::pass("collect.before");
        // A final state never changes; but one that was written lazily may be lost again with a crash of the database.
        let deleted: i64 = sqlx::query_scalar(
            "WITH batches AS ( \
                     DELETE FROM record_batch WHERE batch_id = ANY($2::uuid[]) AND decide_time IS NOT NULL AND ended \
                     RETURNING transaction_ids), \
                 members AS ( \
                     DELETE FROM record WHERE transaction_id = ANY( \
                         (SELECT array_agg(member) FROM batches, unnest(transaction_ids) AS member)::uuid[]) RETURNING 1), \
                 apart AS ( \
                     DELETE FROM record WHERE transaction_id = ANY($1::uuid[]) AND state <> 1 RETURNING transaction_id), \
                 sagas AS (DELETE FROM saga WHERE transaction_id IN (SELECT transaction_id FROM apart)), \
                 steps AS (DELETE FROM saga_step WHERE transaction_id IN (SELECT transaction_id FROM apart)) \
             SELECT (SELECT count(*) FROM members) + (SELECT count(*) FROM apart)",
        )
        .bind(&deletable.transaction_ids)
        .bind(&deletable.batch_ids)
        .persistent(false)
        .fetch_one(&self.pool)
        .await?;
        crash_point::pass("collect.after");
        Ok(u64::try_from(deleted).unwrap_or_default())
    }
}
