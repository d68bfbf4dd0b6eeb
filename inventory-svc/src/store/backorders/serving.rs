//! What is freed goes to the orders that wait for it, in the order of placement and exactly once, within the local transaction
//! that frees it.
use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::allotments::{self, Line as Given};
use crate::domain::{Kind, Marks, Stock};
use crate::store::holds::{Guard, all_there, change};
use crate::store::ledger::{self, Batch, Line};
use crate::store::queue::{Share, share};
use crate::store::{locations, supply};

const WAITING: &str = "SELECT freed.sku, b.order_id, b.place, b.owed, 1::bigint
    FROM unnest($1::text[], $2::bigint[]) AS freed (sku, after), LATERAL (
        SELECT order_id, place, owed FROM backorder
        WHERE backorder.sku = freed.sku AND state = 2 AND place > freed.after ORDER BY place LIMIT $3
    ) b ORDER BY freed.sku, b.place";

/// Why units leave stock for an order that has waited, in the ledger.
const BACKORDER: &str = "BACKORDER";

/// Gives what is free of SKUs, whose rows are locked, to the orders that wait for them. Answers what the SKUs are then.
pub async fn serve(connection: &mut PgConnection, freed: &[&Stock]) -> Result<BTreeMap<String, Stock>, sqlx::Error> {
    let (shares, unwaited) = share(connection, freed, WAITING).await?;
    supply::unmark(connection, &unwaited, Marks::OWED).await?;
    if shares.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut batch = Batch::default();
    for Share { id, sku, quantity } in &shares {
        batch.add(Line {
            kind: Kind::Allotted,
            sku,
            quantity: *quantity,
            transaction_id: Some(*id),
            reservation_id: None,
            reason: Some(BACKORDER),
        });
    }
    let figures = change(connection, &batch.changes, Guard::Locked).await?;
    all_there(figures.len(), batch.changes.len())?;
    let written = batch.with(ledger::insert(connection, &batch, &figures).await?);
    let located = locations::located(figures.values());
    if !located.is_empty() {
        locations::divide(connection, &located, &written, None).await?;
    }
    let rows: Vec<(Uuid, String, i64, i64, i64, bool)> = sqlx::query_as(
        "UPDATE backorder b SET owed = b.owed - s.quantity, update_time = now(),
                state = CASE WHEN b.owed = s.quantity THEN 3 ELSE 2 END
         FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS s (order_id, sku, quantity)
         WHERE b.order_id = s.order_id AND b.sku = s.sku AND b.state = 2
         RETURNING b.order_id, b.sku, s.quantity, b.ordered, b.owed, b.whole",
    )
    .bind(shares.iter().map(|share| share.id).collect::<Vec<_>>())
    .bind(shares.iter().map(|share| share.sku.as_str()).collect::<Vec<_>>())
    .bind(shares.iter().map(|share| share.quantity).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    all_there(rows.len(), shares.len())?;
    let given = rows.into_iter().filter_map(|(order_id, sku, quantity, ordered, owed, whole)| match (whole, owed) {
        (false, _) => Some(Given { order_id, sku, first: ordered - owed - quantity, quantity }),
        // All of it is there now, with what was there when the order was placed.
        (true, 0) => Some(Given { order_id, sku, first: 0, quantity: ordered }),
        (true, _) => None,
    });
    allotments::write(connection, &given.collect::<Vec<_>>()).await?;
    Ok(figures)
}
