//! How far the ledger was passed on.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use participant::Pool;
use sqlx::PgConnection;

/// The advisory lock of the one who passes on; nothing else in the database takes one with this number.
const LOCK: i64 = 0x4173_7365_6e74_0001;

/// What the one before has left.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Left {
    /// The SKUs of which the stream may have more than their cursors say.
    pub in_flight: Vec<String>,
    /// How far the stream was.
    pub stream_sequence: i64,
}

/// Tries to become the one who passes on, as long as the connection lives.
pub async fn lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(connection).await
}

/// Takes over from the one before.
pub async fn take_over(connection: &mut PgConnection, name: &str) -> Result<Left, sqlx::Error> {
    sqlx::query_as("UPDATE feed_relay SET relay = $1 RETURNING in_flight, stream_sequence")
        .bind(name)
        .fetch_one(connection)
        .await
}

/// Forgets all cursors.
pub async fn forget(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH forgotten AS (DELETE FROM feed_cursor) UPDATE feed_relay SET stream_sequence = 0, in_flight = '{}'",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// SKUs that have cursors, after this one.
pub async fn skus(connection: &mut PgConnection, after: &str, limit: usize) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT sku FROM feed_cursor WHERE sku > $1 ORDER BY sku LIMIT $2")
        .bind(after)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await
}

/// The cursors of SKUs; 0 where there is none.
pub async fn cursors(connection: &mut PgConnection, skus: &[String]) -> Result<BTreeMap<String, i64>, sqlx::Error> {
    let found: Vec<(String, i64)> = sqlx::query_as(
        "SELECT asked.sku, coalesce(feed_cursor.sequence, 0)
         FROM unnest($1::text[]) AS asked (sku) LEFT JOIN feed_cursor USING (sku)",
    )
    .bind(skus)
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().collect())
}

/// Notes what is about to be sent. Forced: when this has returned, all that could be read before it is durable too.
pub async fn announce(connection: &mut PgConnection, skus: &[&str]) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE feed_relay SET in_flight = $1").bind(skus).execute(connection).await?;
    Ok(())
}

/// Moves cursors. Lazily: what is lost of it is found again in the stream.
pub async fn save(
    connection: &mut PgConnection,
    cursors: &BTreeMap<String, i64>,
    stream_sequence: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH lazily AS (SELECT set_config('synchronous_commit', 'off', true) AS is),
              saved AS (
                  INSERT INTO feed_cursor (sku, sequence)
                  SELECT moved.* FROM unnest($1::text[], $2::bigint[]) AS moved (sku, sequence)
                  ON CONFLICT (sku) DO UPDATE SET sequence = EXCLUDED.sequence
              )
         UPDATE feed_relay SET stream_sequence = $3, publish_time = now() FROM lazily WHERE lazily.is = 'off'",
    )
    .bind(cursors.keys().map(String::as_str).collect::<Vec<_>>())
    .bind(cursors.values().copied().collect::<Vec<_>>())
    .bind(i64::try_from(stream_sequence).unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    Ok(())
}

/// SKUs that have more than was passed on, with their versions.
pub async fn behind(connection: &mut PgConnection, limit: usize) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT sku, version FROM stock LEFT JOIN feed_cursor USING (sku)
         WHERE version > coalesce(sequence, 0) ORDER BY sku LIMIT $1",
    )
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await
}

/// How far behind the stream is, for operators.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Lag {
    /// Who passes on, or did last.
    pub relay: String,
    /// When something was last passed on.
    pub publish_time: Option<DateTime<Utc>>,
    /// How far the stream is.
    pub stream_sequence: i64,
    /// Movements that it does not have yet.
    pub behind_count: i64,
    /// SKUs that these are of.
    pub behind_sku_count: i64,
    /// When the first of them was made, among some SKUs.
    pub behind_since: Option<DateTime<Utc>>,
}

/// Reads how far behind the stream is: looks at every SKU.
pub async fn lag(pool: &Pool) -> Result<Lag, sqlx::Error> {
    sqlx::query_as(
        "WITH behind AS (
             SELECT sku, version, coalesce(sequence, 0) AS passed_on FROM stock LEFT JOIN feed_cursor USING (sku)
             WHERE version > coalesce(sequence, 0)
         )
         SELECT relay, publish_time, stream_sequence,
                coalesce((SELECT sum(version - passed_on) FROM behind), 0)::bigint AS behind_count,
                (SELECT count(*) FROM behind) AS behind_sku_count,
                (SELECT min(first.create_time)
                 FROM (SELECT * FROM behind LIMIT 1000) AS some_of, LATERAL (
                     SELECT create_time FROM movement m WHERE m.sku = some_of.sku AND m.sequence > some_of.passed_on
                     ORDER BY sequence LIMIT 1
                 ) first) AS behind_since
         FROM feed_relay",
    )
    .fetch_one(pool)
    .await
}
