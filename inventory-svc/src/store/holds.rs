//! Holds of a batch of branches: taken, sold, given back, each with one update of the sums per SKU and one insert of the
//! movements that they are the sums of.
use std::collections::BTreeMap;

use participant::{PreparedBranch, Refusal};
use sqlx::PgConnection;

use super::ledger::{self, Batch};
use crate::domain::{Holds, Kind, Stock, decide};

macro_rules! see {
    ($rest:literal) => {
        concat!("SELECT sku, on_hand - held, version, coalesce(fence, 0) FROM stock WHERE sku = ANY($1::text[])", $rest)
    };
}

/// Takes the holds of a batch, deciding in its order.
///
/// Most batches find enough of everything: one guarded update of the sums tells so. Where a SKU is short of the batch's
/// sum, the branches are decided one by one on the locked rows, and what the update took too much of is put right.
pub async fn take(
    connection: &mut PgConnection,
    branches: &[PreparedBranch<Holds>],
) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
    let wanted = Batch::new(Kind::Held, branches.iter().map(|branch| (branch, None)));
    let mut figures = change(connection, &wanted.changes, Guard::Available).await?;
    if figures.len() == wanted.changes.len() {
        ledger::write(connection, &wanted, &figures).await?;
        return Ok(branches.iter().map(|_| Ok(())).collect());
    }
    let short: Vec<&str> = wanted.changes.keys().copied().filter(|sku| !figures.contains_key(*sku)).collect();
    let locked = see(connection, see!(" ORDER BY sku FOR UPDATE"), short).await?;
    let covered = wanted.changes.iter().filter(|(sku, _)| figures.contains_key(**sku));
    let mut available: BTreeMap<&str, i64> = covered.map(|(sku, change)| (*sku, change.held)).collect();
    available.extend(locked.iter().map(|(sku, seen)| (sku.as_str(), seen.available)));

    let votes = decide(&branches.iter().map(|branch| &*branch.branch).collect::<Vec<_>>(), available);
    let granted = branches.iter().zip(&votes).filter(|(_, vote)| vote.is_ok()).map(|(branch, _)| (branch, None));
    let granted = Batch::new(Kind::Held, granted);
    let mut corrections = granted.changes.clone();
    for (sku, taken) in wanted.changes.iter().filter(|(sku, _)| figures.contains_key(**sku)) {
        corrections.entry(sku).or_default().take_back(taken);
    }
    corrections.retain(|_, change| change.movements != 0);
    let corrected = change(connection, &corrections, Guard::Available).await?;
    all_there(corrected.len(), corrections.len())?;
    figures.extend(corrected);
    ledger::write(connection, &granted, &figures).await?;
    Ok(votes)
}

/// Holds become sales: they leave what is on hand.
pub async fn sell(connection: &mut PgConnection, branches: &[PreparedBranch<Holds>]) -> Result<(), sqlx::Error> {
    settle(connection, &Batch::new(Kind::Sold, branches.iter().map(|branch| (branch, None)))).await
}

/// Holds go back to what is available.
pub async fn give_back(
    connection: &mut PgConnection,
    branches: &[(PreparedBranch<Holds>, Refusal)],
) -> Result<(), sqlx::Error> {
    let released = branches.iter().map(|(branch, refusal)| (branch, Some(refusal.reason.as_str())));
    settle(connection, &Batch::new(Kind::Released, released)).await
}

/// Ends holds. What is held exists; otherwise someone has tampered with the table, and nothing may be acknowledged.
async fn settle(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    let figures = change(connection, &batch.changes, Guard::Available).await?;
    all_there(figures.len(), batch.changes.len())?;
    ledger::write(connection, batch, &figures).await
}

/// What a batch comes to for one SKU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// What is added to what is on hand.
    pub on_hand: i64,
    /// What is added to what is held.
    pub held: i64,
    /// In how many movements.
    pub movements: i64,
}

impl Change {
    fn take_back(&mut self, other: &Change) {
        self.on_hand -= other.on_hand;
        self.held -= other.held;
        self.movements -= other.movements;
    }
}

/// Which rows are changed.
#[derive(Debug, Clone, Copy)]
pub enum Guard<'a> {
    /// Where as much is available. A change that leaves what is available, or adds to it, is always carried out.
    Available,
    /// All: they are locked, and as much was available.
    Locked,
    /// Those that are still at these versions, in the order of the SKUs.
    Version(&'a [i64]),
    /// Those that nobody has held under another fencing token since these were read; they get new ones.
    Fence {
        /// The tokens that were read, in the order of the SKUs; 0 for none.
        read: &'a [i64],
        /// The new ones.
        tokens: &'a [i64],
    },
}

macro_rules! change {
    ($set:literal, $more:literal, $columns:literal, $guard:literal) => {
        concat!(
            "UPDATE stock SET on_hand = stock.on_hand + c.on_hand, held = stock.held + c.held,
                    version = stock.version + c.movements, update_time = greatest(now(), stock.update_time)",
            $set,
            " FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]",
            $more,
            ") AS c (sku, on_hand, held, movements",
            $columns,
            ") WHERE stock.sku = c.sku",
            $guard,
            " RETURNING stock.sku, stock.on_hand, stock.held, stock.version, stock.update_time"
        )
    };
}

/// Changes SKUs; answers what these are then.
pub async fn change(
    connection: &mut PgConnection,
    changes: &BTreeMap<&str, Change>,
    guard: Guard<'_>,
) -> Result<BTreeMap<String, Stock>, sqlx::Error> {
    if changes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let query = match guard {
        Guard::Available => {
            sqlx::query_as(change!("", "", "", " AND stock.on_hand + c.on_hand >= stock.held + c.held"))
        }
        Guard::Locked => sqlx::query_as(change!("", "", "", "")),
        Guard::Version(_) => sqlx::query_as(change!("", ", $5::bigint[]", ", read", " AND stock.version = c.read")),
        Guard::Fence { .. } => sqlx::query_as(change!(
            ", fence = c.token",
            ", $5::bigint[], $6::bigint[]",
            ", read, token",
            " AND coalesce(stock.fence, 0) = c.read"
        )),
    };
    let query = query
        .bind(changes.keys().copied().collect::<Vec<_>>())
        .bind(changes.values().map(|change| change.on_hand).collect::<Vec<_>>())
        .bind(changes.values().map(|change| change.held).collect::<Vec<_>>())
        .bind(changes.values().map(|change| change.movements).collect::<Vec<_>>());
    let query = match guard {
        Guard::Available | Guard::Locked => query,
        Guard::Version(read) => query.bind(read),
        Guard::Fence { read, tokens } => query.bind(read).bind(tokens),
    };
    let rows = query.fetch_all(connection).await?;
    Ok(rows.into_iter().map(super::stock::stock).map(|stock| (stock.sku.clone(), stock)).collect())
}

/// What is to be known of a SKU before it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What can be held.
    pub available: i64,
    /// Its version.
    pub version: i64,
    /// The fencing token of its last holder; 0 for none.
    pub fence: i64,
}

async fn see(
    connection: &mut PgConnection,
    query: &'static str,
    skus: Vec<&str>,
) -> Result<BTreeMap<String, Seen>, sqlx::Error> {
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(query).bind(skus).fetch_all(connection).await?;
    let seen = |(sku, available, version, fence)| (sku, Seen { available, version, fence });
    Ok(rows.into_iter().map(seen).collect())
}

/// Looks at what a branch wants.
pub async fn read(connection: &mut PgConnection, holds: &Holds) -> Result<BTreeMap<String, Seen>, sqlx::Error> {
    see(connection, see!(""), holds.iter().map(|(sku, _)| sku).collect()).await
}

/// Locks what a branch wants, in the order of the SKUs, and looks at it.
pub async fn lock(connection: &mut PgConnection, holds: &Holds) -> Result<BTreeMap<String, Seen>, sqlx::Error> {
    see(connection, see!(" ORDER BY sku FOR UPDATE"), holds.iter().map(|(sku, _)| sku).collect()).await
}

/// Whether so many rows were found as must be there.
pub fn all_there(found: usize, expected: usize) -> Result<(), sqlx::Error> {
    if found == expected {
        return Ok(());
    }
    tracing::error!(found, expected, "stock that is held is missing");
    Err(sqlx::Error::RowNotFound)
}
