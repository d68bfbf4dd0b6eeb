//! Allotments: goods that orders have got, kept until the coordinator has had their price captured.
use std::collections::BTreeMap;

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// So many of a SKU that an order has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The order.
    pub order_id: Uuid,
    /// The article.
    pub sku: String,
    /// How many of it the order had before.
    pub first: i64,
    /// How many it has got.
    pub quantity: i64,
}

/// What an order has got at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allotment {
    /// Its id.
    pub allotment_id: Uuid,
    /// The order.
    pub order_id: Uuid,
    /// How often it was asked for, and refused, before.
    pub attempt: i32,
    /// What it has got: SKU, how many it had before, how many it has got.
    pub lines: Vec<(String, i64, i64)>,
}

/// Writes down what orders have got in this local transaction: one allotment for each.
pub async fn write(connection: &mut PgConnection, given: &[Line]) -> Result<(), sqlx::Error> {
    if given.is_empty() {
        return Ok(());
    }
    let mut ids: BTreeMap<Uuid, Uuid> = BTreeMap::new();
    for line in given {
        ids.entry(line.order_id).or_insert_with(Uuid::now_v7);
    }
    sqlx::query("INSERT INTO allotment (allotment_id, order_id) SELECT * FROM unnest($1::uuid[], $2::uuid[])")
        .bind(ids.values().copied().collect::<Vec<_>>())
        .bind(ids.keys().copied().collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO allotment_line (allotment_id, sku, first, quantity)
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[])",
    )
    .bind(given.iter().filter_map(|line| ids.get(&line.order_id).copied()).collect::<Vec<_>>())
    .bind(given.iter().map(|line| line.sku.as_str()).collect::<Vec<_>>())
    .bind(given.iter().map(|line| line.first).collect::<Vec<_>>())
    .bind(given.iter().map(|line| line.quantity).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

/// Allotments whose price is to be captured now, at most `limit`. For a while nobody else is given them.
pub async fn due(connection: &mut PgConnection, limit: i64) -> Result<Vec<Allotment>, sqlx::Error> {
    let rows: Vec<(Uuid, Uuid, i32)> = sqlx::query_as(
        "UPDATE allotment SET next_time = now() + interval '10 s' WHERE allotment_id IN (
            SELECT allotment_id FROM allotment WHERE NOT settled AND next_time <= now()
            ORDER BY next_time LIMIT $1 FOR UPDATE SKIP LOCKED)
         RETURNING allotment_id, order_id, attempt",
    )
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let lines: Vec<(Uuid, String, i64, i64)> = sqlx::query_as(
        "SELECT allotment_id, sku, first, quantity FROM allotment_line WHERE allotment_id = ANY($1::uuid[]) ORDER BY 1, 2",
    )
    .bind(rows.iter().map(|row| row.0).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut of: BTreeMap<Uuid, Vec<(String, i64, i64)>> = BTreeMap::new();
    for (allotment_id, sku, first, quantity) in lines {
        of.entry(allotment_id).or_default().push((sku, first, quantity));
    }
    let allotment = |(allotment_id, order_id, attempt)| {
        let lines = of.remove(&allotment_id).unwrap_or_default();
        Allotment { allotment_id, order_id, attempt, lines }
    };
    Ok(rows.into_iter().map(allotment).collect())
}

/// The price of an allotment is captured, or is none to be captured any more.
pub async fn settled(executor: impl PgExecutor<'_>, allotment_id: Uuid) -> Result<(), sqlx::Error> {
    let settle = "UPDATE allotment SET settled = true, last_error = NULL WHERE allotment_id = $1";
    sqlx::query(settle).bind(allotment_id).execute(executor).await.map(drop)
}

/// It could not be captured; it is tried again, as a new attempt only if this one was surely refused.
pub async fn failed(
    executor: impl PgExecutor<'_>,
    allotment: &Allotment,
    refused: bool,
    why: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE allotment SET last_error = $3, attempt = $2 + $4,
                next_time = now() + least(60000, 100 * power(2, least(attempt, 10))) * interval '1 millisecond'
         WHERE allotment_id = $1 AND attempt = $2 AND NOT settled",
    )
    .bind(allotment.allotment_id)
    .bind(allotment.attempt)
    .bind(why)
    .bind(i32::from(refused))
    .execute(executor)
    .await
    .map(drop)
}
