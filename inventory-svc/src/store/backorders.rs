//! Backorders: orders for more than there is, and what becomes of them.
//!
//! What an order is owed is written with its vote, and waits from its commit on, in the order of placement. Whatever frees
//! stock gives it to those orders first, in the same local transaction; each gift is an allotment, which is kept until the
//! coordinator has had its price captured.
mod allotments;
mod placing;
mod reads;
mod serving;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::{SupplyKind, SupplyPolicy};

pub use allotments::{Allotment, due, failed, settled};
pub use placing::{abort, cancel, commit, held_of, is_among, prepare};
pub use reads::{list, of_order, unserved};
pub use serving::serve;

/// Sets what may be owed of a SKU; none of it: nothing. What is owed already stays owed.
pub async fn set_policy(
    connection: &mut PgConnection,
    sku: &str,
    policy: Option<(SupplyKind, i64, Option<DateTime<Utc>>)>,
) -> Result<(), sqlx::Error> {
    let Some((kind, max_owed, available_time)) = policy else {
        return sqlx::query("DELETE FROM supply_policy WHERE sku = $1").bind(sku).execute(connection).await.map(drop);
    };
    sqlx::query(
        "INSERT INTO supply_policy (sku, kind, max_owed, available_time) VALUES ($1, $2, $3, $4)
         ON CONFLICT (sku) DO UPDATE SET kind = $2, max_owed = $3, available_time = $4",
    )
    .bind(sku)
    .bind(kind.code())
    .bind(max_owed)
    .bind(available_time)
    .execute(connection)
    .await
    .map(drop)
}

/// SKU, kind, limit, time, and what is owed.
type Row = (String, i16, i64, Option<DateTime<Utc>>, i64);

/// What may be owed of SKUs, and is: of those that have a policy.
pub async fn policies(
    connection: &mut PgConnection,
    skus: &[&str],
) -> Result<BTreeMap<String, SupplyPolicy>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT sku, kind, max_owed, available_time,
                (SELECT coalesce(sum(owed), 0)::bigint FROM backorder b WHERE b.sku = p.sku AND state IN (1, 2))
         FROM supply_policy p WHERE sku = ANY($1::text[])",
    )
    .bind(skus)
    .fetch_all(connection)
    .await?;
    let mut policies = BTreeMap::new();
    for (sku, kind, max_owed, available_time, owed) in rows {
        let kind = SupplyKind::of_code(kind)?;
        policies.insert(sku, SupplyPolicy { kind, max_owed, available_time, owed });
    }
    Ok(policies)
}
