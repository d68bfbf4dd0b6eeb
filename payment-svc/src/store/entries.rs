//! The ledger's entries of an account: its sides of its bookings.
use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::domain::Entry;

/// Lists an account's entries before the booking `before`, newest first, at most `limit`.
pub async fn list(
    executor: impl PgExecutor<'_>,
    account: &str,
    before: Uuid,
    limit: usize,
) -> Result<Vec<Entry>, sqlx::Error> {
    let rows: Vec<(Uuid, i64, String, DateTime<Utc>)> = sqlx::query_as(
        "(SELECT booking_id, -amount_minor, kind, create_time FROM booking
          WHERE debit_account = $1 AND booking_id < $2 ORDER BY booking_id DESC LIMIT $3)
         UNION ALL
         (SELECT booking_id, amount_minor, kind, create_time FROM booking
          WHERE credit_account = $1 AND booking_id < $2 ORDER BY booking_id DESC LIMIT $3)
         ORDER BY booking_id DESC LIMIT $3",
    )
    .bind(account)
    .bind(before)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(executor)
    .await?;
    let entry = |(booking_id, amount_minor, kind, create_time)| Entry { booking_id, amount_minor, kind, create_time };
    Ok(rows.into_iter().map(entry).collect())
}
