//! Offers: made within the local transaction that frees stock, and what becomes of the wait when one ends.
use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{EntryState, Kind, Marks, Stock};
use crate::store::holds::{Guard, all_there, change};
use crate::store::ledger::{self, Batch, Line};
use crate::store::queue::{Share, share};
use crate::store::reservations::Gone;
use crate::store::supply;

/// Why an offer's units are reserved, in the ledger.
const OFFERED: &str = "OFFERED";

const WAITING: &str = "SELECT freed.sku, e.entry_id, e.place, e.wanted, e.min_quantity
    FROM unnest($1::text[], $2::bigint[]) AS freed (sku, after), LATERAL (
        SELECT entry_id, place, quantity - offered AS wanted, min_quantity FROM waitlist_entry
        WHERE waitlist_entry.sku = freed.sku AND state = 1 AND place > freed.after ORDER BY place LIMIT $3
    ) e ORDER BY freed.sku, e.place";

/// A share, and the reservation that keeps it.
type Made = (Share, Uuid);

/// Offers what is free of SKUs, whose rows are locked, to those who wait for them. Answers what the SKUs are then.
pub async fn offer_freed(
    connection: &mut PgConnection,
    freed: &[&Stock],
) -> Result<BTreeMap<String, Stock>, sqlx::Error> {
    let (shares, unwaited) = share(connection, freed, WAITING).await?;
    let made: Vec<Made> = shares.into_iter().map(|share| (share, Uuid::new_v4())).collect();
    supply::unmark(connection, &unwaited, Marks::WAITED).await?;
    if made.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut batch = Batch::default();
    for (Share { sku, quantity, .. }, reservation_id) in &made {
        batch.add(Line {
            kind: Kind::Reserved,
            sku,
            quantity: *quantity,
            transaction_id: None,
            reservation_id: Some(*reservation_id),
            reason: Some(OFFERED),
        });
    }
    let figures = change(connection, &batch.changes, Guard::Locked).await?;
    all_there(figures.len(), batch.changes.len())?;
    ledger::insert(connection, &batch, &figures).await?;
    write(connection, &made).await?;
    Ok(figures)
}

/// Writes offers down: reservations of their entries.
async fn write(connection: &mut PgConnection, made: &[Made]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH entry AS (
            UPDATE waitlist_entry e SET offered = e.offered + m.quantity, update_time = now(),
                   state = CASE WHEN e.offered + m.quantity = e.quantity THEN 2 ELSE 1 END
            FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS m (reservation_id, entry_id, quantity)
            WHERE e.entry_id = m.entry_id
            RETURNING m.reservation_id, m.quantity, e.entry_id, e.sku, e.customer, e.client_id, e.offer_ttl_ms
         ), made AS (
            INSERT INTO reservation (reservation_id, customer, expire_time, client_id, entry_id)
            SELECT reservation_id, customer, clock_timestamp() + offer_ttl_ms * interval '1 millisecond', client_id, entry_id
            FROM entry
         )
         INSERT INTO reservation_line (reservation_id, sku, customer, quantity)
         SELECT reservation_id, sku, customer, quantity FROM entry",
    )
    .bind(made.iter().map(|(_, reservation_id)| *reservation_id).collect::<Vec<_>>())
    .bind(made.iter().map(|(share, _)| share.id).collect::<Vec<_>>())
    .bind(made.iter().map(|(share, _)| share.quantity).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

/// Ends the waits whose offers are gone with units left in them: these go to the next. Where orders have taken all, the wait
/// goes on if there is more to wait for.
pub async fn end(connection: &mut PgConnection, gone: &[Gone], state: EntryState) -> Result<(), sqlx::Error> {
    let entries = |is_left: fn(&Gone) -> bool| -> Vec<Uuid> {
        gone.iter().filter(|gone| is_left(gone)).filter_map(|gone| gone.entry_id).collect()
    };
    let (ended, taken) = (entries(|gone| gone.quantity > 0), entries(|gone| gone.quantity == 0));
    if ended.is_empty() && taken.is_empty() {
        return Ok(());
    }
    // Two offers of one entry may end at the same time: the later one has to see that the other is gone.
    let lock =
        "SELECT entry_id FROM waitlist_entry WHERE entry_id = ANY($1::uuid[]) ORDER BY entry_id FOR NO KEY UPDATE";
    let all: Vec<Uuid> = ended.iter().chain(&taken).copied().collect();
    sqlx::query(lock).bind(all).execute(&mut *connection).await?;
    let end = "UPDATE waitlist_entry SET state = $2, update_time = now() WHERE entry_id = ANY($1::uuid[]) AND state IN (1, 2)";
    sqlx::query(end).bind(ended).bind(state.code()).execute(&mut *connection).await?;
    let take =
        "UPDATE waitlist_entry e SET state = 3, update_time = now() WHERE entry_id = ANY($1::uuid[]) AND state = 2
        AND NOT EXISTS (SELECT FROM reservation WHERE reservation.entry_id = e.entry_id)";
    sqlx::query(take).bind(taken).execute(connection).await.map(drop)
}
