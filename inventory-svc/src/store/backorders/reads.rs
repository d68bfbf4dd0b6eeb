//! Reads of backorders, and whether they are served.
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Owed, OwedState, SupplyKind};

type Row = (Uuid, String, i64, i16, i64, i64, i16, Option<DateTime<Utc>>);

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT b.order_id, b.sku, b.place, b.kind, b.ordered, b.owed, b.state, p.available_time ",
            "FROM backorder b LEFT JOIN supply_policy p USING (sku) ",
            $rest
        )
    };
}

fn owed((order_id, sku, place, kind, ordered, owed, state, available_time): Row) -> Result<Owed, sqlx::Error> {
    let state = match state {
        1 => OwedState::InDoubt,
        2 => OwedState::Waiting,
        3 => OwedState::Given,
        4 => OwedState::Cancelled,
        _ => return Err(sqlx::Error::Decode(format!("{state} is no state of a backorder").into())),
    };
    let kind = SupplyKind::of_code(kind)?;
    Ok(Owed { order_id, sku, place, kind, ordered, owed, state, available_time })
}

/// What an order is or was owed, by SKU.
pub async fn of_order(connection: &mut PgConnection, order_id: Uuid) -> Result<Vec<Owed>, sqlx::Error> {
    let rows: Vec<Row> =
        sqlx::query_as(select!("WHERE b.order_id = $1 ORDER BY b.sku")).bind(order_id).fetch_all(connection).await?;
    rows.into_iter().map(owed).collect()
}

/// The orders that wait for a SKU after a place, in the order of placement, at most `limit`.
pub async fn list(
    connection: &mut PgConnection,
    sku: &str,
    after: i64,
    limit: usize,
) -> Result<Vec<Owed>, sqlx::Error> {
    let rows: Vec<Row> =
        sqlx::query_as(select!("WHERE b.sku = $1 AND b.state = 2 AND b.place > $2 ORDER BY b.place LIMIT $3"))
            .bind(sku)
            .bind(after)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(connection)
            .await?;
    rows.into_iter().map(owed).collect()
}

/// SKUs whose backorders are not as they must be: something is free while an order waits for it, an order that waits has
/// left no mark, or what an order has got is not what it was allotted.
pub async fn unserved(connection: &mut PgConnection) -> Result<Vec<(String, String)>, sqlx::Error> {
    sqlx::query_as(
        "WITH waiting AS (
            SELECT b.sku, coalesce(s.marks, 0) & 4 AS mark,
                   s.on_hand - s.held - coalesce(s.reserved, 0) - coalesce(s.buffer, 0) AS free
            FROM backorder b LEFT JOIN stock s USING (sku) WHERE b.state = 2
         )
         SELECT sku, min(free) || ' are free, and ' || count(*) || ' orders wait' FROM waiting WHERE free > 0 GROUP BY sku
         UNION ALL
         SELECT DISTINCT sku, 'orders wait for it without its mark' FROM waiting WHERE coalesce(mark, 0) = 0
         UNION ALL
         SELECT b.sku, 'order ' || b.order_id || ' has ' || b.has || ', and was allotted ' || coalesce(l.quantity, 0)
         FROM (SELECT *, CASE WHEN whole AND state = 2 THEN 0 ELSE ordered - owed END AS has FROM backorder) b LEFT JOIN (
            SELECT a.order_id, l.sku, sum(l.quantity)::bigint AS quantity
            FROM allotment a JOIN allotment_line l USING (allotment_id) GROUP BY 1, 2
         ) l USING (order_id, sku)
         WHERE b.state IN (2, 3) AND b.has <> coalesce(l.quantity, 0)
         ORDER BY 1, 2",
    )
    .fetch_all(connection)
    .await
}
