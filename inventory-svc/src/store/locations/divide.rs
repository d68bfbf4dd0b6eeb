//! How what happens to a SKU that is kept in several locations divides among these: in the local transaction in which it
//! happens, after the SKU's own row has decided. The rows of the SKUs are locked.
use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Kind, MAIN, Part, Shelf, Shelves, Stock, allocate, settle};
use crate::store::ledger::Line;
use crate::store::put_back::ORDER;

/// A movement with its place in the ledger of its SKU.
pub type Written<'a> = (Line<'a>, i64);

/// Divides movements of marked SKUs; `stocks` are what these are after them. What comes or goes by itself does so at the
/// location that is named, else at the main one.
pub async fn divide(
    connection: &mut PgConnection,
    stocks: &[&Stock],
    written: &[Written<'_>],
    at: Option<&str>,
) -> Result<(), sqlx::Error> {
    let skus: Vec<&str> = stocks.iter().map(|stock| stock.sku.as_str()).collect();
    let shelves = super::shelves(connection, &skus).await?;
    let here: Vec<&Written<'_>> = written.iter().filter(|(line, _)| skus.contains(&line.sku)).collect();
    let ended = here.iter().filter(|(line, _)| !matches!(line.kind, Kind::Held | Kind::Claimed));
    let ended: BTreeSet<Uuid> = ended.filter_map(|(line, _)| sold_to(line)).collect();
    let allocated = match ended.is_empty() {
        true => Vec::new(),
        false => read(connection, &ended, &skus).await?,
    };
    let mut divided = Divided { before: shelves.clone(), shelves, allocated, moved: BTreeMap::new() };
    divided.take_all(&here);
    for stock in stocks {
        divided.settle(stock, at);
    }
    divided.write(connection).await
}

/// The order that a movement is about: where units come back, the one that they were sold to, which the reason names.
fn sold_to(line: &Line<'_>) -> Option<Uuid> {
    match line.kind {
        Kind::Cancelled | Kind::ReturnedByCustomer => {
            line.reason?.strip_prefix(ORDER).and_then(|order_id| Uuid::parse_str(order_id).ok())
        }
        _ => line.transaction_id,
    }
}

/// What a location ships of a SKU for a transaction.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Allocated {
    transaction_id: Uuid,
    sku: String,
    location: String,
    quantity: i64,
    is_held: bool,
    returned: i64,
    /// Whether it is to be written.
    #[sqlx(default)]
    is_changed: bool,
}

async fn read(
    connection: &mut PgConnection,
    transactions: &BTreeSet<Uuid>,
    skus: &[&str],
) -> Result<Vec<Allocated>, sqlx::Error> {
    sqlx::query_as(
        "SELECT transaction_id, sku, location, quantity, is_held, returned FROM allocation
         WHERE transaction_id = ANY($1::uuid[]) AND sku = ANY($2::text[]) ORDER BY transaction_id, sku, location",
    )
    .bind(transactions.iter().copied().collect::<Vec<_>>())
    .bind(skus)
    .fetch_all(connection)
    .await
}

struct Divided {
    before: Shelves,
    shelves: Shelves,
    allocated: Vec<Allocated>,
    /// What movements have added at locations: by SKU, location and place in the ledger.
    moved: BTreeMap<(String, String, i64), i64>,
}

impl Divided {
    /// Takes movements of transactions in their order; the holds of one transaction are chosen together.
    fn take_all(&mut self, written: &[&Written<'_>]) {
        let mut chosen = BTreeSet::new();
        for (line, sequence) in written {
            let Some(transaction_id) = sold_to(line) else { continue };
            match line.kind {
                Kind::Held | Kind::Claimed if chosen.insert(transaction_id) => self.hold(transaction_id, written),
                Kind::Allotted => self.ship(transaction_id, line.sku, line.quantity, *sequence),
                Kind::Released | Kind::Unclaimed => self.release(transaction_id, line.sku, line.quantity),
                Kind::Sold => self.sell(transaction_id, line.sku, line.quantity, *sequence),
                Kind::Returned | Kind::Cancelled | Kind::ReturnedByCustomer => {
                    self.put_back(transaction_id, line.sku, line.quantity, *sequence);
                }
                _ => (),
            }
        }
    }

    fn hold(&mut self, transaction_id: Uuid, written: &[&Written<'_>]) {
        let mut lines: Vec<(&str, i64)> = Vec::new();
        for (line, _) in written.iter().filter(|(line, _)| line.transaction_id == Some(transaction_id)) {
            if matches!(line.kind, Kind::Held | Kind::Claimed) {
                match lines.iter_mut().find(|(sku, _)| *sku == line.sku) {
                    Some((_, quantity)) => *quantity += line.quantity,
                    None => lines.push((line.sku, line.quantity)),
                }
            }
        }
        for Part { sku, location, quantity } in allocate(&lines, &mut self.shelves) {
            let of_it = |one: &&mut Allocated| {
                one.transaction_id == transaction_id && one.sku == sku && one.location == location
            };
            match self.allocated.iter_mut().find(of_it) {
                Some(one) => (one.quantity, one.is_changed) = (one.quantity + quantity, true),
                None => self.allocated.push(Allocated {
                    transaction_id,
                    sku,
                    location,
                    quantity,
                    is_held: true,
                    returned: 0,
                    is_changed: true,
                }),
            }
        }
    }

    /// Takes so many of what a transaction has been allotted; what it has held since before there were locations is at the
    /// main one. Answers what comes from where.
    fn of(&mut self, transaction_id: Uuid, sku: &str, quantity: i64, room: fn(&Allocated) -> i64) -> Vec<(usize, i64)> {
        let mut left = quantity;
        let mut parts = Vec::new();
        for (place, one) in self.allocated.iter().enumerate() {
            let part = left.min(room(one));
            if one.transaction_id == transaction_id && one.sku == sku && part > 0 {
                left -= part;
                parts.push((place, part));
            }
        }
        parts
    }

    fn release(&mut self, transaction_id: Uuid, sku: &str, quantity: i64) {
        let mut left = quantity;
        for (place, part) in self.of(transaction_id, sku, quantity, |one| if one.is_held { one.quantity } else { 0 }) {
            let one = &mut self.allocated[place];
            (one.quantity, one.is_changed) = (one.quantity - part, true);
            let location = one.location.clone();
            self.shelf(sku, &location).held -= part;
            left -= part;
        }
        if left > 0 {
            self.shelf(sku, MAIN).held -= left;
        }
    }

    fn sell(&mut self, transaction_id: Uuid, sku: &str, quantity: i64, sequence: i64) {
        let mut left = quantity;
        for (place, part) in self.of(transaction_id, sku, quantity, |one| if one.is_held { one.quantity } else { 0 }) {
            let one = &mut self.allocated[place];
            (one.is_held, one.is_changed) = (false, true);
            let location = one.location.clone();
            self.shelf(sku, &location).held -= part;
            self.add(sku, &location, -part, sequence);
            left -= part;
        }
        if left > 0 {
            self.shelf(sku, MAIN).held -= left;
            self.add(sku, MAIN, -left, sequence);
            let (sku, location) = (sku.to_owned(), MAIN.to_owned());
            let (quantity, is_held, returned, is_changed) = (left, false, 0, true);
            self.allocated.push(Allocated { transaction_id, sku, location, quantity, is_held, returned, is_changed });
        }
    }

    /// An order that has waited is served from the locations as they are now.
    fn ship(&mut self, transaction_id: Uuid, sku: &str, quantity: i64, sequence: i64) {
        for Part { sku, location, quantity } in allocate(&[(sku, quantity)], &mut self.shelves) {
            self.shelf(&sku, &location).held -= quantity;
            self.add(&sku, &location, -quantity, sequence);
            let of_it = |one: &&mut Allocated| {
                one.transaction_id == transaction_id && one.sku == sku && one.location == location && !one.is_held
            };
            match self.allocated.iter_mut().find(of_it) {
                Some(one) => (one.quantity, one.is_changed) = (one.quantity + quantity, true),
                None => self.allocated.push(Allocated {
                    transaction_id,
                    sku,
                    location,
                    quantity,
                    is_held: false,
                    returned: 0,
                    is_changed: true,
                }),
            }
        }
    }

    /// What has left comes back to where it came from, as far as that is known.
    fn put_back(&mut self, transaction_id: Uuid, sku: &str, quantity: i64, sequence: i64) {
        let room = |one: &Allocated| if one.is_held { 0 } else { one.quantity - one.returned };
        for (place, part) in self.of(transaction_id, sku, quantity, room) {
            let one = &mut self.allocated[place];
            (one.returned, one.is_changed) = (one.returned + part, true);
            let location = one.location.clone();
            self.add(sku, &location, part, sequence);
        }
    }

    /// What else has come or gone.
    fn settle(&mut self, stock: &Stock, at: Option<&str>) {
        let shelves = self.shelves.entry(stock.sku.clone()).or_default();
        let delta = stock.balance.on_hand - shelves.iter().map(|shelf| shelf.on_hand).sum::<i64>();
        for (location, part) in settle(shelves, delta, at) {
            *self.moved.entry((stock.sku.clone(), location, stock.version)).or_default() += part;
        }
    }

    fn add(&mut self, sku: &str, location: &str, part: i64, sequence: i64) {
        self.shelf(sku, location).on_hand += part;
        *self.moved.entry((sku.to_owned(), location.to_owned(), sequence)).or_default() += part;
    }

    fn shelf(&mut self, sku: &str, location: &str) -> &mut Shelf {
        let shelves = self.shelves.entry(sku.to_owned()).or_default();
        let place = shelves.iter().position(|shelf| shelf.location == location).unwrap_or_else(|| {
            shelves.push(Shelf { location: location.to_owned(), on_hand: 0, held: 0 });
            shelves.len() - 1
        });
        &mut shelves[place]
    }

    async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut changed: Vec<(&str, &Shelf)> = Vec::new();
        for (sku, shelves) in &self.shelves {
            let before = self.before.get(sku).map(Vec::as_slice).unwrap_or_default();
            changed.extend(shelves.iter().filter(|shelf| !before.contains(shelf)).map(|shelf| (sku.as_str(), shelf)));
        }
        if !changed.is_empty() {
            super::put(connection, &changed).await?;
        }
        let on_hand = |sku: &str, location: &str| {
            let shelf = self.shelves.get(sku).and_then(|all| all.iter().find(|shelf| shelf.location == location));
            shelf.map(|shelf| shelf.on_hand).unwrap_or_default()
        };
        // From the last back: what is there now, less what came after.
        let mut rows = Vec::new();
        let mut after: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for ((sku, location, sequence), quantity) in self.moved.iter().rev() {
            let left = after.entry((sku, location)).or_insert_with(|| on_hand(sku, location));
            rows.push((sku.as_str(), location.as_str(), *sequence, *quantity, *left));
            *left -= quantity;
        }
        super::moved(connection, &rows).await?;
        let changed: Vec<&Allocated> = self.allocated.iter().filter(|one| one.is_changed).collect();
        if changed.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "WITH a AS (
                SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::boolean[], $6::bigint[])
                    AS a (transaction_id, sku, location, quantity, is_held, returned)
             ), gone AS (
                DELETE FROM allocation USING a WHERE a.quantity = 0 AND allocation.transaction_id = a.transaction_id
                    AND allocation.sku = a.sku AND allocation.location = a.location
             )
             INSERT INTO allocation (transaction_id, sku, location, quantity, is_held, returned)
             SELECT * FROM a WHERE quantity > 0 ON CONFLICT (transaction_id, sku, location) DO UPDATE
                SET quantity = EXCLUDED.quantity, is_held = EXCLUDED.is_held, returned = EXCLUDED.returned",
        )
        .bind(changed.iter().map(|one| one.transaction_id).collect::<Vec<_>>())
        .bind(changed.iter().map(|one| one.sku.as_str()).collect::<Vec<_>>())
        .bind(changed.iter().map(|one| one.location.as_str()).collect::<Vec<_>>())
        .bind(changed.iter().map(|one| one.quantity).collect::<Vec<_>>())
        .bind(changed.iter().map(|one| one.is_held).collect::<Vec<_>>())
        .bind(changed.iter().map(|one| one.returned).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map(drop)
    }
}
