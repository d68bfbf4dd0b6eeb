//! Reads of sagas.
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use protocol::saga::Saga;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{NewStep, SagaRow, SagaStep, kind_of, split, state_of, step_of};
use crate::store::Store;

type Row = (Uuid, i16, i64, String, bool, i64, Option<DateTime<Utc>>);

fn saga((transaction_id, state, epoch, owner_id, paused, deadline, end_time): Row) -> Result<SagaRow, sqlx::Error> {
    Ok(SagaRow {
        transaction_id,
        saga: Saga { state: state_of(state)?, steps: Vec::new(), deadline },
        epoch: u64::try_from(epoch).unwrap_or_default(),
        owner_id,
        paused,
        end_time,
        steps: Vec::new(),
    })
}

#[derive(sqlx::FromRow)]
struct StepRow {
    transaction_id: Uuid,
    name: String,
    participant: String,
    kind: i16,
    after: String,
    branch: Vec<u8>,
    timeout_ms: Option<i32>,
    state: i16,
    attempt_count: i32,
    next_attempt_time: Option<DateTime<Utc>>,
    last_error: String,
}

/// Adds their steps to sagas.
async fn with_steps(executor: impl PgExecutor<'_>, rows: Vec<Row>) -> Result<HashMap<Uuid, SagaRow>, sqlx::Error> {
    let mut sagas = HashMap::with_capacity(rows.len());
    for row in rows {
        sagas.insert(row.0, saga(row)?);
    }
    if sagas.is_empty() {
        return Ok(sagas);
    }
    let steps: Vec<StepRow> = sqlx::query_as(
        "SELECT transaction_id, name, participant, kind, after, branch, timeout_ms, state, attempt_count, next_attempt_time, last_error \
         FROM saga_step WHERE transaction_id = ANY($1::uuid[]) ORDER BY transaction_id, place",
    )
    .bind(sagas.keys().copied().collect::<Vec<_>>())
    .fetch_all(executor)
    .await?;
    for row in steps {
        let Some(saga) = sagas.get_mut(&row.transaction_id) else { continue };
        saga.saga.steps.push(step_of(row.state)?);
        saga.steps.push(SagaStep {
            step: NewStep {
                name: row.name,
                participant: row.participant,
                kind: kind_of(row.kind)?,
                after: split(&row.after)?,
                branch: row.branch,
                timeout_ms: row.timeout_ms,
            },
            attempt_count: row.attempt_count,
            next_attempt_time: row.next_attempt_time,
            last_error: row.last_error,
        });
    }
    Ok(sagas)
}

/// The sagas named that stand, locked until the end of the local transaction.
pub async fn lock(connection: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<Uuid, SagaRow>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query_as(
        "SELECT transaction_id, state, epoch, owner_id, paused, deadline_unix_ms, end_time FROM saga \
         WHERE transaction_id = ANY($1::uuid[]) ORDER BY transaction_id FOR NO KEY UPDATE",
    )
    .bind(ids)
    .fetch_all(&mut *connection)
    .await?;
    with_steps(connection, rows).await
}

impl Store {
    /// One saga.
    pub async fn saga(&self, transaction_id: Uuid) -> Result<Option<SagaRow>, sqlx::Error> {
        Ok(self.sagas(&[transaction_id]).await?.remove(&transaction_id))
    }

    /// Those of the sagas named that stand.
    pub async fn sagas(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, SagaRow>, sqlx::Error> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = sqlx::query_as(
            "SELECT transaction_id, state, epoch, owner_id, paused, deadline_unix_ms, end_time FROM saga \
             WHERE transaction_id = ANY($1::uuid[])",
        )
        .bind(ids)
        .fetch_all(&self.pool)
        .await?;
        with_steps(&self.pool, rows).await
    }

    /// Ids and owners of sagas that perhaps nobody drives any more: their owner's lease ran out, or it is `owner_id`, who
    /// knows what it drives. Paused ones wait for their operator.
    pub async fn abandoned_sagas(&self, owner_id: &str, limit: i64) -> Result<Vec<(Uuid, String)>, sqlx::Error> {
        sqlx::query_as(
            "SELECT s.transaction_id, s.owner_id FROM open_saga o \
             CROSS JOIN LATERAL (SELECT * FROM saga WHERE transaction_id = o.transaction_id LIMIT 1) s \
             WHERE NOT s.paused AND (s.owner_id = $1 OR NOT EXISTS ( \
                 SELECT FROM lease l WHERE l.owner_id = s.owner_id AND l.lease_until > now())) \
             ORDER BY o.transaction_id LIMIT $2",
        )
        .bind(owner_id)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
    }

    /// Ids of sagas that have not ended though their deadline passed before `now_unix_ms`, or that are paused.
    pub async fn late_sagas(&self, now_unix_ms: i64, limit: i64) -> Result<Vec<Uuid>, sqlx::Error> {
        sqlx::query_scalar(
            "SELECT o.transaction_id FROM open_saga o \
             CROSS JOIN LATERAL (SELECT * FROM saga WHERE transaction_id = o.transaction_id LIMIT 1) s \
             CROSS JOIN LATERAL (SELECT * FROM record WHERE transaction_id = o.transaction_id LIMIT 1) r \
             WHERE s.paused OR r.deadline_unix_ms < $1 ORDER BY o.transaction_id DESC LIMIT $2",
        )
        .bind(now_unix_ms)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
    }

    /// Sagas that have ended and whose participants are to be told so: all deadlines at or below the watermark.
    pub async fn sagas_to_end(
        &self,
        watermark_unix_ms: i64,
        after: Uuid,
        limit: i64,
    ) -> Result<Vec<SagaRow>, sqlx::Error> {
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "SELECT r.transaction_id FROM record r JOIN saga s USING (transaction_id) \
             WHERE NOT r.ended AND r.mode = 2 AND r.deadline_unix_ms <= $1 AND s.deadline_unix_ms <= $1 \
                 AND s.end_time IS NOT NULL AND r.transaction_id > $2 \
             ORDER BY r.transaction_id LIMIT $3",
        )
        .bind(watermark_unix_ms)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        let mut sagas: Vec<SagaRow> = self.sagas(&ids).await?.into_values().collect();
        sagas.sort_unstable_by_key(|saga| saga.transaction_id);
        Ok(sagas)
    }

    /// Notes that the participants of these sagas were told END.
    pub async fn mark_sagas_ended(&self, ids: &[Uuid]) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE record SET ended = true WHERE transaction_id = ANY($1::uuid[]) AND mode = 2")
            .bind(ids)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
