//! The statements on rows of steps: each takes a whole batch, in which a transaction has at most one step, and touches
//! rows in the order of their keys.
use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use protocol::step::StepRow;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row as _};
use uuid::Uuid;

use super::Log;
use super::steps::StepRef;
use crate::{Refusal, TransactionRef};

fn ids(steps: &[&StepRef]) -> Vec<Uuid> {
    steps.iter().map(|step| step.transaction.transaction_id).collect()
}

fn names<'a>(steps: &[&'a StepRef]) -> Vec<&'a str> {
    steps.iter().map(|step| step.step.as_str()).collect()
}

fn deadlines(steps: &[&StepRef]) -> Vec<i64> {
    steps.iter().map(|step| step.transaction.deadline_unix_ms).collect()
}

/// Inserts rows of one state where the deadline is above the watermark and none stands; returns the transactions whose
/// steps were inserted. The watermark is read as in [`super::write::insert`].
pub async fn insert(
    connection: &mut PgConnection,
    state: StepRow,
    rows: &[(&StepRef, Option<&[u8]>)],
    refusals: Option<&[&Refusal]>,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let steps: Vec<&StepRef> = rows.iter().map(|(step, _)| *step).collect();
    let inserted: Vec<Uuid> = sqlx::query_scalar(
        "WITH watermark AS MATERIALIZED (
            SELECT deadline_unix_ms FROM log_watermark WHERE sole FOR KEY SHARE
         )
         INSERT INTO step_log (transaction_id, step, deadline_unix_ms, state, branch, refusal)
         SELECT n.transaction_id, n.step, n.deadline_unix_ms, $6::smallint, n.branch, n.refusal::jsonb
         FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bytea[], $5::text[])
              AS n (transaction_id, step, deadline_unix_ms, branch, refusal),
              watermark
         WHERE n.deadline_unix_ms > watermark.deadline_unix_ms
         ORDER BY n.transaction_id, n.step
         ON CONFLICT DO NOTHING RETURNING transaction_id",
    )
    .bind(ids(&steps))
    .bind(names(&steps))
    .bind(deadlines(&steps))
    .bind(rows.iter().map(|(_, branch)| *branch).collect::<Vec<_>>())
    .bind(refusals.unwrap_or_default().iter().map(|refusal| refusal.to_json()).collect::<Vec<_>>())
    .bind(code(state))
    .fetch_all(connection)
    .await?;
    Ok(inserted.into_iter().collect())
}

/// Rows that were inserted as EXECUTED in this local transaction become REFUSED.
pub async fn refuse(connection: &mut PgConnection, refused: &[(&StepRef, Refusal)]) -> Result<(), sqlx::Error> {
    if refused.is_empty() {
        return Ok(());
    }
    let steps: Vec<&StepRef> = refused.iter().map(|(step, _)| *step).collect();
    sqlx::query(
        "UPDATE step_log l SET state = 2, refusal = r.refusal::jsonb
         FROM unnest($1::uuid[], $2::text[], $3::text[]) AS r (transaction_id, step, refusal)
         WHERE l.transaction_id = r.transaction_id AND l.step = r.step AND l.state = 1",
    )
    .bind(ids(&steps))
    .bind(names(&steps))
    .bind(refused.iter().map(|(_, refusal)| refusal.to_json()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Rows that were inserted as EXECUTED in this local transaction go again.
pub async fn take_back(connection: &mut PgConnection, steps: &[&StepRef]) -> Result<(), sqlx::Error> {
    if steps.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM step_log l USING unnest($1::uuid[], $2::text[]) AS r (transaction_id, step)
         WHERE l.transaction_id = r.transaction_id AND l.step = r.step AND l.state = 1",
    )
    .bind(ids(steps))
    .bind(names(steps))
    .execute(connection)
    .await?;
    Ok(())
}

/// EXECUTED rows become COMPENSATED; answers those that did, with what they did.
pub async fn compensate(
    connection: &mut PgConnection,
    steps: &[(&StepRef, &Refusal)],
) -> Result<Vec<(Uuid, Vec<u8>)>, sqlx::Error> {
    let refs: Vec<&StepRef> = steps.iter().map(|(step, _)| *step).collect();
    sqlx::query_as(
        "UPDATE step_log l SET state = 3, refusal = c.refusal::jsonb, update_time = now(),
             deadline_unix_ms = greatest(l.deadline_unix_ms, c.deadline_unix_ms)
         FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[])
              AS c (transaction_id, step, deadline_unix_ms, refusal)
         WHERE l.transaction_id = c.transaction_id AND l.step = c.step AND l.state = 1
         RETURNING l.transaction_id, l.branch",
    )
    .bind(ids(&refs))
    .bind(names(&refs))
    .bind(deadlines(&refs))
    .bind(steps.iter().map(|(_, refusal)| refusal.to_json()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
}

/// Rows of ended sagas go where both their own and the message's deadline are at or below the watermark; answers which.
pub async fn end(
    connection: &mut PgConnection,
    steps: &[&StepRef],
    watermark_unix_ms: i64,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let deleted: Vec<Uuid> = sqlx::query_scalar(
        "DELETE FROM step_log l
         USING unnest($1::uuid[], $2::text[], $3::bigint[]) AS e (transaction_id, step, deadline_unix_ms)
         WHERE l.transaction_id = e.transaction_id AND l.step = e.step
           AND greatest(l.deadline_unix_ms, e.deadline_unix_ms) <= $4
         RETURNING l.transaction_id",
    )
    .bind(ids(steps))
    .bind(names(steps))
    .bind(deadlines(steps))
    .bind(watermark_unix_ms)
    .fetch_all(connection)
    .await?;
    Ok(deleted.into_iter().collect())
}

/// A row that was already there.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Where it stands.
    pub state: StepRow,
    /// Why it was refused or undone.
    pub refusal: Option<Refusal>,
}

/// The rows that stand, by transaction, locked until the end of the local transaction. Locking writes; see
/// [`super::write::standing`].
pub async fn standing(
    connection: &mut PgConnection,
    steps: &[&StepRef],
) -> Result<HashMap<Uuid, Standing>, sqlx::Error> {
    let rows: Vec<(Uuid, i16, Option<String>)> = sqlx::query_as(
        "SELECT l.transaction_id, l.state, l.refusal::text FROM step_log l
         JOIN unnest($1::uuid[], $2::text[]) AS s (transaction_id, step)
             ON l.transaction_id = s.transaction_id AND l.step = s.step
         ORDER BY l.transaction_id, l.step FOR NO KEY UPDATE OF l",
    )
    .bind(ids(steps))
    .bind(names(steps))
    .fetch_all(connection)
    .await?;
    let read = |(transaction_id, state, refusal): (Uuid, i16, Option<String>)| {
        Ok((transaction_id, Standing { state: row_of(state)?, refusal: refusal.as_deref().map(Refusal::from_json) }))
    };
    rows.into_iter().map(read).collect()
}

/// A row as it is read.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which step.
    pub step: StepRef,
    /// Where it stands.
    pub state: StepRow,
    /// Why it was refused or undone.
    pub refusal: Option<Refusal>,
    /// When the row was written.
    pub create_time: DateTime<Utc>,
    /// When it was changed last.
    pub update_time: DateTime<Utc>,
}

impl FromRow<'_, PgRow> for Row {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let refusal: Option<String> = row.try_get("refusal")?;
        let transaction = TransactionRef {
            transaction_id: row.try_get("transaction_id")?,
            deadline_unix_ms: row.try_get("deadline_unix_ms")?,
        };
        Ok(Row {
            step: StepRef { transaction, step: row.try_get("step")? },
            state: row_of(row.try_get("state")?)?,
            refusal: refusal.as_deref().map(Refusal::from_json),
            create_time: row.try_get("create_time")?,
            update_time: row.try_get("update_time")?,
        })
    }
}

impl Log {
    /// Rows of steps after `after`, in the order of their keys; of one saga, or all.
    pub async fn steps(
        &self,
        transaction_id: Option<Uuid>,
        after: (Uuid, &str),
        limit: i64,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let (from, name) = after;
        sqlx::query_as(
            "SELECT transaction_id, step, deadline_unix_ms, state, refusal::text AS refusal, create_time, update_time
             FROM step_log WHERE (transaction_id, step) > ($1, $2) AND ($3::uuid IS NULL OR transaction_id = $3)
             ORDER BY transaction_id, step LIMIT $4",
        )
        .bind(from)
        .bind(name)
        .bind(transaction_id)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
    }
}

fn code(state: StepRow) -> i16 {
    match state {
        StepRow::Executed => 1,
        StepRow::Refused => 2,
        StepRow::Compensated => 3,
    }
}

fn row_of(code: i16) -> Result<StepRow, sqlx::Error> {
    match code {
        1 => Ok(StepRow::Executed),
        2 => Ok(StepRow::Refused),
        3 => Ok(StepRow::Compensated),
        other => Err(sqlx::Error::Decode(format!("{other} is no state of a step").into())),
    }
}
