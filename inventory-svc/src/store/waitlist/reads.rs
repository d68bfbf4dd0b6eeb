//! Reads of the waitlist, and whether it is served in order.
use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use crate::domain::{Entry, EntryState, Offer};

macro_rules! select_entries {
    ($rest:literal) => {
        concat!(
            "SELECT e.entry_id, e.sku, e.customer, e.place, e.quantity, e.min_quantity, e.offered, e.state, e.create_time, ",
            "e.update_time, ahead.entries, ahead.units, r.reservation_id, r.expire_time, l.quantity AS has ",
            "FROM (SELECT * FROM waitlist_entry ",
            $rest,
            ") e LEFT JOIN LATERAL (SELECT count(*) AS entries, coalesce(sum(a.quantity - a.offered), 0)::bigint AS units ",
            "FROM waitlist_entry a WHERE e.state = 1 AND a.sku = e.sku AND a.state = 1 AND a.place < e.place) ahead ON true ",
            "LEFT JOIN reservation r ON r.entry_id = e.entry_id ",
            "LEFT JOIN reservation_line l ON l.reservation_id = r.reservation_id AND l.sku = e.sku ",
            "ORDER BY e.place, r.expire_time, r.reservation_id"
        )
    };
}

/// Reads an entry, of one moment with its offers.
pub async fn get(connection: &mut PgConnection, entry_id: Uuid) -> Result<Option<Entry>, sqlx::Error> {
    let rows = sqlx::query(select_entries!("WHERE entry_id = $1")).bind(entry_id).fetch_all(connection).await?;
    Ok(entries(rows)?.pop())
}

/// Lists the entries of a SKU after a place, at most `limit`; those of one customer, if one is named, and those that have
/// ended only if they are asked for.
pub async fn list(
    connection: &mut PgConnection,
    (sku, customer, ended): (&str, &str, bool),
    after: i64,
    limit: usize,
) -> Result<Vec<Entry>, sqlx::Error> {
    let rows = sqlx::query(select_entries!(
        "WHERE sku = $1 AND ($2 = '' OR customer = $2) AND ($3 OR state <= 2) AND place > $4 ORDER BY place LIMIT $5"
    ))
    .bind(sku)
    .bind(customer)
    .bind(ended)
    .bind(after)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    entries(rows)
}

fn entries(rows: Vec<PgRow>) -> Result<Vec<Entry>, sqlx::Error> {
    let mut entries: Vec<Entry> = Vec::new();
    for row in rows {
        let entry_id: Uuid = row.try_get("entry_id")?;
        if entries.last().is_none_or(|last| last.entry_id != entry_id) {
            entries.push(entry(&row, entry_id)?);
        }
        if let (Some(entry), Some(reservation_id)) = (entries.last_mut(), row.try_get("reservation_id")?) {
            let expire_time: DateTime<Utc> = row.try_get("expire_time")?;
            let quantity = row.try_get::<Option<i64>, _>("has")?.unwrap_or_default();
            entry.offers.push(Offer { reservation_id, quantity, expire_time });
        }
    }
    Ok(entries)
}

fn entry(row: &PgRow, entry_id: Uuid) -> Result<Entry, sqlx::Error> {
    let state: i16 = row.try_get("state")?;
    let unknown = || sqlx::Error::Decode(format!("{state} is no state of a wait").into());
    Ok(Entry {
        entry_id,
        sku: row.try_get("sku")?,
        customer: row.try_get("customer")?,
        place: row.try_get("place")?,
        quantity: row.try_get("quantity")?,
        min_quantity: row.try_get("min_quantity")?,
        offered: row.try_get("offered")?,
        state: EntryState::of_code(state).ok_or_else(unknown)?,
        create_time: row.try_get("create_time")?,
        update_time: row.try_get("update_time")?,
        entries_ahead: row.try_get("entries")?,
        units_ahead: row.try_get("units")?,
        offers: Vec::new(),
    })
}

/// SKUs whose waitlist is not as it must be, and what is wrong: something is free that somebody waits for and would take,
/// whoever waits has left no mark, or an entry and its offers disagree.
pub async fn unfair(connection: &mut PgConnection) -> Result<Vec<(String, String)>, sqlx::Error> {
    sqlx::query_as(
        "WITH waiting AS (
            SELECT e.*, coalesce(s.marks, 0) & 1 AS mark,
                   s.on_hand - s.held - coalesce(s.reserved, 0) - coalesce(s.buffer, 0) AS free
            FROM waitlist_entry e LEFT JOIN stock s USING (sku) WHERE e.state = 1
         )
         SELECT sku, min(free) || ' are free, and ' || count(*) || ' who would take some wait' FROM waiting
         WHERE free >= greatest(least(min_quantity, quantity - offered), 1) GROUP BY sku
         UNION ALL
         SELECT DISTINCT sku, 'is waited for without its mark' FROM waiting WHERE coalesce(mark, 0) = 0
         UNION ALL
         SELECT sku, 'entry ' || entry_id || ' was offered all it wants, and has no offer' FROM waitlist_entry e
         WHERE state = 2 AND NOT EXISTS (SELECT FROM reservation r WHERE r.entry_id = e.entry_id)
         UNION ALL
         SELECT e.sku, 'entry ' || e.entry_id || ' has more in its offers than it was offered'
         FROM waitlist_entry e JOIN reservation r USING (entry_id) JOIN reservation_line l USING (reservation_id)
         GROUP BY e.sku, e.entry_id, e.offered HAVING sum(l.quantity) > e.offered
         ORDER BY 1, 2",
    )
    .fetch_all(connection)
    .await
}
