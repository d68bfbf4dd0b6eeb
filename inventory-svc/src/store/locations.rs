//! Where the units of a SKU are. The row of its stock stays what decides whether there is enough; these rows say from where,
//! and are changed only while that row is locked. A SKU that is kept in one place has none of them.
mod audit;
mod divide;

use std::collections::BTreeMap;

use participant::own_request;
use sqlx::PgConnection;
use uuid::Uuid;

use super::ledger::{self, Asked};
use super::supply;
use crate::domain::{Denied, Kind, MAIN, Marks, Part, Shelf, Shelves, Stock};

pub use audit::differing;
pub use divide::{Written, divide};

/// The shelves of SKUs, each in the order in which orders are served.
async fn shelves(connection: &mut PgConnection, skus: &[&str]) -> Result<Shelves, sqlx::Error> {
    let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(
        "SELECT s.sku, s.location, s.on_hand, s.held FROM location_stock s LEFT JOIN location l USING (location)
         WHERE s.sku = ANY($1::text[]) ORDER BY s.sku, coalesce(l.priority, 100), s.location",
    )
    .bind(skus)
    .fetch_all(connection)
    .await?;
    let mut shelves = Shelves::new();
    for (sku, location, on_hand, held) in rows {
        shelves.entry(sku).or_default().push(Shelf { location, on_hand, held });
    }
    Ok(shelves)
}

/// Writes shelves.
async fn put(connection: &mut PgConnection, shelves: &[(&str, &Shelf)]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO location_stock (sku, location, on_hand, held)
         SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
         ON CONFLICT (sku, location) DO UPDATE SET on_hand = EXCLUDED.on_hand, held = EXCLUDED.held",
    )
    .bind(shelves.iter().map(|(sku, _)| *sku).collect::<Vec<_>>())
    .bind(shelves.iter().map(|(_, shelf)| shelf.location.as_str()).collect::<Vec<_>>())
    .bind(shelves.iter().map(|(_, shelf)| shelf.on_hand).collect::<Vec<_>>())
    .bind(shelves.iter().map(|(_, shelf)| shelf.held).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

/// Writes what movements have added at locations: SKU, location, place in the ledger, quantity, and what is there then.
async fn moved(connection: &mut PgConnection, rows: &[(&str, &str, i64, i64, i64)]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO location_movement (sku, location, sequence, quantity, on_hand)
         SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])",
    )
    .bind(rows.iter().map(|row| row.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.1).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.2).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.3).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.4).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

/// Has a SKU be kept in several locations from now on: all that it has is at the main one. Locks its row; answers what it is,
/// if it exists.
pub async fn begin(connection: &mut PgConnection, sku: &str) -> Result<Option<Stock>, sqlx::Error> {
    let lock = "SELECT sku FROM stock WHERE sku = $1 FOR NO KEY UPDATE";
    sqlx::query(lock).bind(sku).fetch_optional(&mut *connection).await?;
    let Some(mut stock) = super::stock::get(&mut *connection, sku).await? else { return Ok(None) };
    if !stock.marks.has(Marks::LOCATED) {
        let (on_hand, held) = (stock.balance.on_hand, stock.balance.held);
        put(connection, &[(sku, &Shelf { location: MAIN.to_owned(), on_hand, held })]).await?;
        moved(connection, &[(sku, MAIN, stock.version, on_hand, on_hand)]).await?;
        supply::mark(connection, sku, Marks::LOCATED).await?;
        stock.marks = stock.marks.with(Marks::LOCATED);
    }
    Ok(Some(stock))
}

/// What a SKU has at one location.
pub async fn shelf(connection: &mut PgConnection, sku: &str, location: &str) -> Result<Shelf, sqlx::Error> {
    let found = shelves(connection, &[sku]).await?.remove(sku).unwrap_or_default();
    let found = found.into_iter().find(|shelf| shelf.location == location);
    Ok(found.unwrap_or_else(|| Shelf { location: location.to_owned(), on_hand: 0, held: 0 }))
}

/// Has a change by so many be one at a location: the SKU is kept in several from now on. What is denied, if there is too little.
pub async fn before_change(
    connection: &mut PgConnection,
    sku: &str,
    at: Option<&str>,
    delta: i64,
) -> Result<Option<Denied>, sqlx::Error> {
    let Some(at) = at else { return Ok(None) };
    if begin(connection, sku).await?.is_none() {
        return Ok(None);
    }
    name(connection, at, None).await?;
    let shelf = shelf(connection, sku, at).await?;
    Ok((delta < 0 && shelf.free() < -delta).then(|| too_few(sku, &shelf, -delta)))
}

/// What a SKU has altogether if so many are counted at a location.
pub async fn before_count(
    connection: &mut PgConnection,
    sku: &str,
    at: &str,
    counted: i64,
) -> Result<Result<i64, Denied>, sqlx::Error> {
    let Some(stock) = begin(connection, sku).await? else { return Ok(Ok(counted)) };
    name(connection, at, None).await?;
    let Shelf { on_hand, held, .. } = shelf(connection, sku, at).await?;
    Ok(match counted < held {
        true => Err(Denied::BelowHeld { sku: sku.to_owned(), held, on_hand: counted }),
        false => Ok(stock.balance.on_hand - on_hand + counted),
    })
}

/// A SKU that a change at a location has begun is kept in several from its first unit on.
pub async fn after(connection: &mut PgConnection, mut stock: Stock, at: Option<&str>) -> Result<Stock, sqlx::Error> {
    if let Some(at) = at
        && !stock.marks.has(Marks::LOCATED)
    {
        name(connection, at, None).await?;
        supply::mark(connection, &stock.sku, Marks::LOCATED).await?;
        stock.marks = stock.marks.with(Marks::LOCATED);
    }
    Ok(stock)
}

/// What is denied where less is free at a location than is to be taken from it.
pub fn too_few(sku: &str, shelf: &Shelf, wanted: i64) -> Denied {
    let (sku, location, free) = (sku.to_owned(), shelf.location.clone(), shelf.free());
    Denied::TooFewThere { sku, location, free, wanted }
}

/// Units that go from one location to another.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// The article.
    pub sku: String,
    /// How many.
    pub quantity: i64,
    /// Where they are.
    pub from: String,
    /// Where they go.
    pub to: String,
    /// Who asks.
    pub client_id: String,
    /// The client's name for the request; empty if it has none.
    pub request_id: String,
}

/// Moves units from one location to another, once for each request: two movements, of which neither is without the other.
/// What orders in doubt will take stays. Answers what the SKU has everywhere.
pub async fn transfer(
    connection: &mut PgConnection,
    asked: &Transfer,
) -> Result<Result<Vec<Shelf>, Denied>, sqlx::Error> {
    let Transfer { sku, quantity, from, to, client_id, request_id } = asked;
    let parameters = format!("transfer {quantity} of {sku} from {from} to {to}");
    let unknown = || Denied::UnknownSku { sku: sku.clone() };
    match own_request::note(connection, client_id, request_id, &parameters).await? {
        Err(reused) => return Ok(Err(reused.into())),
        Ok(false) => return Ok(of_sku(connection, sku).await?.ok_or_else(unknown)),
        Ok(true) => (),
    }
    if begin(connection, sku).await?.is_none() {
        return Ok(Err(unknown()));
    }
    let (mut source, mut target) = (shelf(connection, sku, from).await?, shelf(connection, sku, to).await?);
    if source.free() < *quantity {
        return Ok(Err(too_few(sku, &source, *quantity)));
    }
    name(connection, to, None).await?;
    (source.on_hand, target.on_hand) = (source.on_hand - quantity, target.on_hand + quantity);
    put(connection, &[(sku, &source), (sku, &target)]).await?;
    for (kind, part, shelf) in [(Kind::TransferredOut, -quantity, &source), (Kind::TransferredIn, *quantity, &target)] {
        let after = super::stock::touch(connection, sku).await?;
        moved(connection, &[(sku, &shelf.location, after.version, part, shelf.on_hand)]).await?;
        ledger::write_one(connection, &Asked { kind, quantity: *quantity, request_id, client_id }, after).await?;
    }
    Ok(of_sku(connection, sku).await?.ok_or_else(unknown))
}

/// What a SKU has where; all at the main location if it is kept in one place.
pub async fn of_sku(connection: &mut PgConnection, sku: &str) -> Result<Option<Vec<Shelf>>, sqlx::Error> {
    let Some(stock) = super::stock::get(&mut *connection, sku).await? else { return Ok(None) };
    if stock.marks.has(Marks::LOCATED) {
        return Ok(Some(shelves(connection, &[sku]).await?.remove(sku).unwrap_or_default()));
    }
    Ok(Some(vec![Shelf { location: MAIN.to_owned(), on_hand: stock.balance.on_hand, held: stock.balance.held }]))
}

/// Notes a location, and its priority if one is given; answers that.
pub async fn name(connection: &mut PgConnection, location: &str, priority: Option<i32>) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar(
        "INSERT INTO location (location, priority) VALUES ($1, coalesce($2, 100))
         ON CONFLICT (location) DO UPDATE SET priority = coalesce($2, location.priority) RETURNING priority",
    )
    .bind(location)
    .bind(priority)
    .fetch_one(connection)
    .await
}

/// Lists the locations, those that orders are served from first first: name and priority.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<(String, i32)>, sqlx::Error> {
    sqlx::query_as("SELECT location, priority FROM location ORDER BY priority, location").fetch_all(connection).await
}

/// Which location ships what of an order, of SKUs that are kept in several: by SKU and location, and whether it has left.
pub async fn of_order(connection: &mut PgConnection, order_id: Uuid) -> Result<Vec<(Part, bool, i64)>, sqlx::Error> {
    let rows: Vec<(String, String, i64, bool, i64)> = sqlx::query_as(
        "SELECT sku, location, quantity, is_held, returned FROM allocation WHERE transaction_id = $1 ORDER BY sku, location",
    )
    .bind(order_id)
    .fetch_all(connection)
    .await?;
    let part = |(sku, location, quantity, is_held, returned): (_, _, _, bool, _)| {
        (Part { sku, location, quantity }, !is_held, returned)
    };
    Ok(rows.into_iter().map(part).collect())
}

/// What the SKUs of movements are, where they are marked as kept in several locations.
pub fn located<'a>(figures: impl Iterator<Item = &'a Stock>) -> Vec<&'a Stock> {
    let located: BTreeMap<&str, &Stock> =
        figures.filter(|stock| stock.marks.has(Marks::LOCATED)).map(|stock| (stock.sku.as_str(), stock)).collect();
    located.into_values().collect()
}
