//! Readings: stock with what decides how it is shown.
use std::collections::HashMap;

use participant::Pool;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use crate::domain::{Balance, Denied, Marks, Reading, Stock, SupplyKind, WhenOut};

/// Reads SKUs; those that there are not are left out.
pub async fn read(pool: &Pool, skus: &[String]) -> Result<HashMap<String, Reading>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT sku, on_hand, held, version, update_time, coalesce(reserved, 0) AS reserved, coalesce(buffer, 0) AS buffer,
                coalesce(damaged, 0) AS damaged, coalesce(quality_control, 0) AS quality_control,
                coalesce(marks, 0) AS marks, coalesce(threshold, 0) AS low_at, supply_policy.kind AS supply,
                now() AS as_of
         FROM stock LEFT JOIN low_stock USING (sku) LEFT JOIN supply_policy USING (sku) WHERE sku = ANY($1::text[])",
    )
    .bind(skus)
    .fetch_all(pool)
    .await?;
    let reading = |row: PgRow| {
        let stock = Stock {
            sku: row.try_get("sku")?,
            balance: Balance {
                on_hand: row.try_get("on_hand")?,
                held: row.try_get("held")?,
                reserved: row.try_get("reserved")?,
                buffer: row.try_get("buffer")?,
                damaged: row.try_get("damaged")?,
                quality_control: row.try_get("quality_control")?,
            },
            version: row.try_get("version")?,
            update_time: row.try_get("update_time")?,
            marks: Marks::of_bits(row.try_get("marks")?),
        };
        let (low_at, when_out, as_of) = (row.try_get("low_at")?, when_out(&row)?, row.try_get("as_of")?);
        Ok((stock.sku.clone(), Reading { stock, low_at, when_out, as_of }))
    };
    rows.into_iter().map(reading).collect()
}

/// Whether a SKU is sold that is not there: by its policy, where it has one.
fn when_out(row: &PgRow) -> Result<WhenOut, sqlx::Error> {
    Ok(match row.try_get::<Option<i16>, _>("supply")?.map(SupplyKind::of_code).transpose()? {
        None => WhenOut::Refused,
        Some(SupplyKind::Backorder) => WhenOut::Backordered,
        Some(SupplyKind::Preorder) => WhenOut::Preordered,
    })
}

/// Sets at how many a SKU is said to be low; 0: never.
pub async fn set_low_at(
    connection: &mut PgConnection,
    sku: &str,
    threshold: i64,
) -> Result<Result<(), Denied>, sqlx::Error> {
    if super::stock::get(&mut *connection, sku).await?.is_none() {
        return Ok(Err(Denied::UnknownSku { sku: sku.to_owned() }));
    }
    let query = match threshold {
        0 => sqlx::query("DELETE FROM low_stock WHERE sku = $1").bind(sku),
        _ => sqlx::query(
            "INSERT INTO low_stock (sku, threshold) VALUES ($1, $2)
             ON CONFLICT (sku) DO UPDATE SET threshold = EXCLUDED.threshold",
        )
        .bind(sku)
        .bind(threshold),
    };
    query.execute(connection).await?;
    Ok(Ok(()))
}

/// What tells this database's readings from another's.
pub async fn id(pool: &Pool) -> Result<Uuid, sqlx::Error> {
    sqlx::query_scalar("SELECT id FROM readings").fetch_one(pool).await
}
