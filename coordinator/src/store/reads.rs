//! Reads of records.
use chrono::{DateTime, Utc};
use participant::metrics::InDoubt;
use participant::{Refusal, names};
use protocol::record::RecordState;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::{Record, Store, answer_of, state_code, state_of};

/// The columns of a record, in no particular order: they are read by name. `$from` says which records: a table would tell
/// what they say themselves, without their batches.
macro_rules! select_record {
    ($from:literal, $rest:literal) => {
        concat!(
            "SELECT r.transaction_id, r.client_id, r.request_id, r.request_digest, r.state, r.holds_request, ",
            "r.owner_id, r.deadline_unix_ms, r.participants, r.refusal::text AS refusal, r.client_answer, ",
            "r.first_decision, r.create_time, r.decide_time, r.mode FROM ",
            $from,
            " r ",
            $rest
        )
    };
}

impl FromRow<'_, PgRow> for Record {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let participants: String = row.try_get("participants")?;
        let refusal: Option<String> = row.try_get("refusal")?;
        let first_decision: Option<i16> = row.try_get("first_decision")?;
        Ok(Record {
            transaction_id: row.try_get("transaction_id")?,
            client_id: row.try_get("client_id")?,
            request_id: row.try_get("request_id")?,
            request_digest: row.try_get("request_digest")?,
            state: state_of(row.try_get("state")?)?,
            holds_request: row.try_get("holds_request")?,
            owner_id: row.try_get("owner_id")?,
            deadline_unix_ms: row.try_get("deadline_unix_ms")?,
            participants: names::split(&participants),
            refusal: refusal.as_deref().map(Refusal::from_json),
            client_answer: answer_of(row.try_get("client_answer")?),
            first_decision: first_decision.map(state_of).transpose()?,
            create_time: row.try_get::<DateTime<Utc>, _>("create_time")?,
            decide_time: row.try_get("decide_time")?,
            is_saga: row.try_get::<i16, _>("mode")? == 2,
        })
    }
}

impl Store {
    /// How many records, of orders and sagas, are not decided.
    pub async fn in_doubt(&self) -> Result<InDoubt, sqlx::Error> {
        let (count, oldest_seconds) = sqlx::query_as(
            "SELECT count(*), coalesce(extract(epoch FROM now() - min(r.create_time)), 0)::float8
             FROM (SELECT create_time FROM undecided_record UNION ALL
                   SELECT create_time FROM undecided_saga_record) r",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(InDoubt { count, oldest_seconds })
    }

    /// One record.
    pub async fn record(&self, transaction_id: Uuid) -> Result<Option<Record>, sqlx::Error> {
        sqlx::query_as(select_record!("record_as_it_stands", "WHERE r.transaction_id = $1"))
            .bind(transaction_id)
            .fetch_optional(&self.pool)
            .await
    }

    /// The record that holds a request.
    pub async fn holder(&self, client_id: &str, request_id: &str) -> Result<Option<Record>, sqlx::Error> {
        sqlx::query_as(select_record!(
            "record_as_it_stands",
            "WHERE r.client_id = $1 AND r.request_id = $2 AND r.holds_request"
        ))
        .bind(client_id)
        .bind(request_id)
        .fetch_optional(&self.pool)
        .await
    }

    /// Those of the records named that stand, newest first.
    pub async fn records(&self, transaction_ids: &[Uuid]) -> Result<Vec<Record>, sqlx::Error> {
        sqlx::query_as(select_record!(
            "record_as_it_stands",
            "WHERE r.transaction_id = ANY($1::uuid[]) ORDER BY r.transaction_id DESC"
        ))
        .bind(transaction_ids)
        .fetch_all(&self.pool)
        .await
    }

    /// Records older than `before`, newest first; of one state, or all.
    pub async fn list(
        &self,
        state: Option<RecordState>,
        before: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Record>, sqlx::Error> {
        let before = before.unwrap_or(Uuid::max());
        match state {
            Some(RecordState::Staging) => {
                sqlx::query_as(select_record!(
                    "(SELECT * FROM undecided_record UNION ALL \
                      SELECT * FROM undecided_saga_record)",
                    "WHERE r.transaction_id < $1 ORDER BY r.transaction_id DESC LIMIT $2"
                ))
                .bind(before)
                .bind(limit)
                .fetch_all(&self.pool)
                .await
            }
            state => {
                sqlx::query_as(select_record!(
                    "record_as_it_stands",
                    "WHERE ($3::smallint IS NULL OR r.state = $3) AND r.transaction_id < $1 \
                     ORDER BY r.transaction_id DESC LIMIT $2"
                ))
                .bind(before)
                .bind(limit)
                .bind(state.map(state_code))
                .fetch_all(&self.pool)
                .await
            }
        }
    }

    /// STAGING records that perhaps nobody drives any more: their owner's lease ran out, or it is `owner_id`, who knows
    /// what it drives, or their deadline passed before `overdue_unix_ms` and they still stand.
    pub async fn abandoned(
        &self,
        owner_id: &str,
        overdue_unix_ms: i64,
        limit: i64,
    ) -> Result<Vec<Record>, sqlx::Error> {
        sqlx::query_as(select_record!(
            "undecided_record",
            "WHERE (r.deadline_unix_ms < $1 OR r.owner_id = $3 OR NOT EXISTS ( \
                 SELECT FROM lease l WHERE l.owner_id = r.owner_id AND l.lease_until > now())) \
             ORDER BY r.transaction_id LIMIT $2"
        ))
        .bind(overdue_unix_ms)
        .bind(limit)
        .bind(owner_id)
        .fetch_all(&self.pool)
        .await
    }

    /// STAGING records whose deadline passed before `now_unix_ms`.
    pub async fn overdue(&self, now_unix_ms: i64, limit: i64) -> Result<Vec<Record>, sqlx::Error> {
        sqlx::query_as(select_record!(
            "undecided_record",
            "WHERE r.deadline_unix_ms < $1 ORDER BY r.transaction_id DESC LIMIT $2"
        ))
        .bind(now_unix_ms)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
    }
}
