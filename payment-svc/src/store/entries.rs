//! The ledger's entries of an account.
use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::domain::Entry;

/// Lists an account's entries before `before`, newest first, at most `limit`.
pub async fn list(
    executor: impl PgExecutor<'_>,
    account: &str,
    before: i64,
    limit: usize,
) -> Result<Vec<Entry>, sqlx::Error> {
    let rows: Vec<(i64, Uuid, i64, String, DateTime<Utc>)> = sqlx::query_as(
        "SELECT entry_id, booking_id, amount_minor, kind, create_time FROM entry
         WHERE account = $1 AND entry_id < $2 ORDER BY entry_id DESC LIMIT $3",
    )
    .bind(account)
    .bind(before)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(executor)
    .await?;
    let entry = |(entry_id, booking_id, amount_minor, kind, create_time)| Entry {
        entry_id,
        booking_id,
        amount_minor,
        kind,
        create_time,
    };
    Ok(rows.into_iter().map(entry).collect())
}
