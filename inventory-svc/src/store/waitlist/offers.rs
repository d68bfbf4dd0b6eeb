//! Offers: made within the local transaction that frees stock, and what becomes of the wait when one ends.
use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{EntryState, Kind, Marks, Stock, Waiting, offer};
use crate::store::holds::{Guard, all_there, change};
use crate::store::ledger::{self, Batch, Line};
use crate::store::reservations::Gone;
use crate::store::supply;

/// Those of a SKU that are read at a time.
const AT_ONCE: i64 = 100;

/// Why an offer's units are reserved, in the ledger.
const OFFERED: &str = "OFFERED";

/// So many of a SKU, for an entry.
struct Made {
    reservation_id: Uuid,
    entry_id: Uuid,
    sku: String,
    quantity: i64,
}

/// Offers what is free of SKUs, whose rows are locked, to those who wait for them. Answers what the SKUs are then.
pub async fn offer_freed(
    connection: &mut PgConnection,
    freed: &[&Stock],
) -> Result<BTreeMap<String, Stock>, sqlx::Error> {
    let (made, unwaited) = decide(connection, freed).await?;
    supply::unmark(connection, &unwaited, Marks::WAITED).await?;
    if made.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut batch = Batch::default();
    for Made { reservation_id, sku, quantity, .. } in &made {
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

/// Who gets what, and for which SKUs nobody waits any more then.
async fn decide<'a>(
    connection: &mut PgConnection,
    freed: &[&'a Stock],
) -> Result<(Vec<Made>, Vec<&'a str>), sqlx::Error> {
    let mut made = Vec::new();
    let mut left: BTreeMap<&str, Left> =
        freed.iter().map(|stock| (stock.sku.as_str(), Left::new(stock.balance.available()))).collect();
    loop {
        let open: Vec<(&str, i64)> =
            left.iter().filter(|(_, left)| left.goes_on()).map(|(sku, left)| (*sku, left.after)).collect();
        if open.is_empty() {
            break;
        }
        let mut waiting = read(connection, &open).await?;
        for (sku, _) in open {
            let (Some(left), waiting) = (left.get_mut(sku), waiting.remove(sku).unwrap_or_default()) else { continue };
            let offered = offer(&mut left.free, &waiting);
            left.seen(&waiting, &offered);
            made.extend(waiting.iter().zip(offered).filter(|(_, quantity)| *quantity > 0).map(|(one, quantity)| {
                Made { reservation_id: Uuid::new_v4(), entry_id: one.entry_id, sku: sku.to_owned(), quantity }
            }));
        }
    }
    let unwaited = left.into_iter().filter(|(_, left)| left.at_end && !left.waits).map(|(sku, _)| sku).collect();
    Ok((made, unwaited))
}

/// What is left of a SKU while it is offered.
struct Left {
    free: i64,
    /// The place up to which was read.
    after: i64,
    /// Whether all who wait were read.
    at_end: bool,
    /// Whether any of them still waits.
    waits: bool,
}

impl Left {
    fn new(free: i64) -> Self {
        Left { free, after: 0, at_end: false, waits: false }
    }

    fn goes_on(&self) -> bool {
        self.free > 0 && !self.at_end
    }

    fn seen(&mut self, waiting: &[Waiting], offered: &[i64]) {
        self.after = waiting.last().map_or(self.after, |last| last.place);
        self.at_end = i64::try_from(waiting.len()).is_ok_and(|count| count < AT_ONCE);
        self.waits |= waiting.iter().zip(offered).any(|(one, offered)| *offered < one.wanted);
    }
}

/// Those who wait for SKUs after a place, the first of each. The rows of the SKUs are locked, so nobody changes them.
async fn read(
    connection: &mut PgConnection,
    open: &[(&str, i64)],
) -> Result<BTreeMap<String, Vec<Waiting>>, sqlx::Error> {
    let rows: Vec<(String, Uuid, i64, i64, i64)> = sqlx::query_as(
        "SELECT freed.sku, e.entry_id, e.place, e.wanted, e.min_quantity
         FROM unnest($1::text[], $2::bigint[]) AS freed (sku, after), LATERAL (
            SELECT entry_id, place, quantity - offered AS wanted, min_quantity FROM waitlist_entry
            WHERE waitlist_entry.sku = freed.sku AND state = 1 AND place > freed.after ORDER BY place LIMIT $3
         ) e ORDER BY freed.sku, e.place",
    )
    .bind(open.iter().map(|(sku, _)| *sku).collect::<Vec<_>>())
    .bind(open.iter().map(|(_, after)| *after).collect::<Vec<_>>())
    .bind(AT_ONCE)
    .fetch_all(connection)
    .await?;
    let mut waiting: BTreeMap<String, Vec<Waiting>> = BTreeMap::new();
    for (sku, entry_id, place, wanted, least) in rows {
        waiting.entry(sku).or_default().push(Waiting { entry_id, place, wanted, least });
    }
    Ok(waiting)
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
    .bind(made.iter().map(|made| made.reservation_id).collect::<Vec<_>>())
    .bind(made.iter().map(|made| made.entry_id).collect::<Vec<_>>())
    .bind(made.iter().map(|made| made.quantity).collect::<Vec<_>>())
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
