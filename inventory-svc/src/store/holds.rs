//! Holds of a batch of branches: taken, sold, given back, each with one update of the sums per SKU and one insert of the
//! movements that they are the sums of.
use std::collections::BTreeMap;

use participant::{HoldAll, PreparedBranch, Refusal};
use sqlx::PgConnection;

use super::claims;
use super::ledger::{self, Batch, Line};
use super::plain;
use crate::domain::{Claim, Holds, Kind, Stock, claimed, decide};

macro_rules! see {
    ($rest:literal) => {
        concat!(
            "SELECT sku, on_hand - held - coalesce(reserved, 0) - coalesce(buffer, 0), version, coalesce(fence, 0) FROM stock ",
            "WHERE sku = ANY($1::text[])",
            $rest
        )
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
    let reserved = claims::lock(connection, branches).await?;
    let mut left = reserved.clone();
    let offer = |branch: &PreparedBranch<Holds>| {
        let claims = left.offer(&branch.branch);
        left.take(&claims);
        claims
    };
    let offered: Vec<Vec<Claim>> = branches.iter().map(offer).collect();
    let wanted = Batch::of_holds(branches.iter().zip(offered.iter().map(Vec::as_slice)));
    let (mut figures, is_written) = carry_out(connection, &wanted).await?;
    if figures.len() == wanted.changes.len() {
        if !is_written {
            ledger::write(connection, &wanted, &figures).await?;
        }
        claims::write(connection, branches.iter().zip(offered.iter().map(Vec::as_slice))).await?;
        return Ok(branches.iter().map(|_| Ok(())).collect());
    }
    let short: Vec<&str> = wanted.changes.keys().copied().filter(|sku| !figures.contains_key(*sku)).collect();
    let locked = see(connection, see!(" ORDER BY sku FOR UPDATE"), short).await?;
    let covered = wanted.changes.iter().filter(|(sku, _)| figures.contains_key(**sku));
    let mut available: BTreeMap<&str, i64> =
        covered.map(|(sku, change)| (*sku, change.held + change.reserved)).collect();
    available.extend(locked.iter().map(|(sku, seen)| (sku.as_str(), seen.available)));

    let decided = decide(&branches.iter().map(|branch| &*branch.branch).collect::<Vec<_>>(), available, reserved);
    let granted = || branches.iter().zip(&decided).filter_map(|(branch, vote)| Some((branch, vote.as_deref().ok()?)));
    let batch = Batch::of_holds(granted());
    let mut corrections = batch.changes.clone();
    for (sku, taken) in wanted.changes.iter().filter(|(sku, _)| figures.contains_key(**sku)) {
        corrections.entry(sku).or_default().take_back(taken);
    }
    corrections.retain(|_, change| *change != Change::default());
    // Whether there is enough is decided; what was taken back of one branch may be what another one claims.
    let corrected = change(connection, &corrections, Guard::Locked).await?;
    all_there(corrected.len(), corrections.len())?;
    figures.extend(corrected);
    ledger::write(connection, &batch, &figures).await?;
    claims::write(connection, granted()).await?;
    Ok(decided.into_iter().map(|vote| vote.map(drop)).collect())
}

/// How the holds of a batch are taken if there is enough of everything, and others become sales; none if it is not plain.
pub fn take_all(
    branches: &[PreparedBranch<Holds>],
    sold: &[PreparedBranch<Holds>],
) -> Result<Option<HoldAll>, sqlx::Error> {
    if branches.iter().chain(sold).any(|branch| !branch.branch.reservation_ids.is_empty()) {
        return Ok(None);
    }
    let mut batch = Batch::new(Kind::Sold, sold.iter().map(|branch| (branch, None)));
    batch.extend(Kind::Held, branches.iter().map(|branch| (branch, None)));
    plain::hold_all(&batch)
}

/// Holds become sales: they leave what is on hand.
pub async fn sell(connection: &mut PgConnection, branches: &[PreparedBranch<Holds>]) -> Result<(), sqlx::Error> {
    claims::forget(connection, branches).await?;
    settle(connection, &Batch::new(Kind::Sold, branches.iter().map(|branch| (branch, None)))).await
}

/// Holds go back to what is available, or to the reservations that they were claimed of, as far as these are still there.
pub async fn give_back(
    connection: &mut PgConnection,
    branches: &[(PreparedBranch<Holds>, Refusal)],
) -> Result<(), sqlx::Error> {
    let returned = claims::give_back(connection, branches.iter().map(|(branch, _)| branch)).await?;
    let mut batch = Batch::default();
    for (PreparedBranch { transaction_id, branch }, refusal) in branches {
        let claims = returned.get(transaction_id).map(Vec::as_slice).unwrap_or_default();
        let of_reservations = claimed(claims);
        let line = |kind, sku, quantity, reservation_id| Line {
            kind,
            sku,
            quantity,
            transaction_id: Some(*transaction_id),
            reservation_id,
            reason: Some(refusal.reason.as_str()),
        };
        for Claim { reservation_id, sku, quantity } in claims {
            batch.add(line(Kind::Unclaimed, sku, *quantity, Some(*reservation_id)));
        }
        for (sku, quantity) in branch.iter() {
            let quantity = quantity - of_reservations.get(sku).copied().unwrap_or_default();
            if quantity > 0 {
                batch.add(line(Kind::Released, sku, quantity, None));
            }
        }
    }
    settle(connection, &batch).await
}

/// Ends holds, or puts back what was sold. The SKUs exist; otherwise someone has tampered with the table, and nothing may
/// be acknowledged.
pub async fn settle(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    let (figures, is_written) = carry_out(connection, batch).await?;
    all_there(figures.len(), batch.changes.len())?;
    match is_written {
        true => Ok(()),
        false => ledger::write(connection, batch, &figures).await,
    }
}

/// Changes the SKUs of a batch where as much is available; answers what these are then, and whether the movements are written
/// already.
async fn carry_out(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
) -> Result<(BTreeMap<String, Stock>, bool), sqlx::Error> {
    match plain::carry_out(connection, batch).await? {
        Some(carried_out) => Ok(carried_out),
        None => Ok((change(connection, &batch.changes, Guard::Available).await?, false)),
    }
}

/// What a batch comes to for one SKU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// What is added to what is on hand.
    pub on_hand: i64,
    /// What is added to what is held.
    pub held: i64,
    /// What is added to what is reserved.
    pub reserved: i64,
    /// What is added to what is damaged; by [`super::put_back`] only.
    pub damaged: i64,
    /// In how many movements.
    pub movements: i64,
}

impl Change {
    fn take_back(&mut self, other: &Change) {
        self.on_hand -= other.on_hand;
        self.held -= other.held;
        self.reserved -= other.reserved;
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
    ($($set:literal)*, $($more:literal)*, $($columns:literal)*, $guard:literal) => {
        concat!(
            "UPDATE stock SET on_hand = stock.on_hand + c.on_hand, held = stock.held + c.held,
                    version = stock.version + c.movements, update_time = greatest(now(), stock.update_time)",
            $($set,)*
            " FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]",
            $($more,)*
            ") AS c (sku, on_hand, held, movements",
            $($columns,)*
            ") WHERE stock.sku = c.sku",
            $guard,
            " RETURNING stock.sku, stock.on_hand, stock.held, stock.version, stock.update_time, coalesce(stock.reserved, 0),
                        coalesce(stock.buffer, 0), coalesce(stock.damaged, 0), coalesce(stock.quality_control, 0),
                        coalesce(stock.marks, 0)"
        )
    };
}

macro_rules! change_reserved {
    ($set:literal, $more:literal, $columns:literal, $guard:literal) => {
        change!(
            ", reserved = nullif(coalesce(stock.reserved, 0) + c.reserved, 0)" $set,
            ", $5::bigint[]" $more,
            ", reserved" $columns,
            $guard
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
    // Orders that come with no reservation need not look at them.
    let is_plain = changes.values().all(|change| change.reserved == 0) && matches!(guard, Guard::Available);
    let query = sqlx::query_as(match guard {
        Guard::Available if is_plain => change!(
            "",
            "",
            "",
            " AND (c.held <= c.on_hand OR stock.on_hand - stock.held - coalesce(stock.reserved, 0) - coalesce(stock.buffer, 0)
                   >= c.held - c.on_hand)"
        ),
        Guard::Available => change_reserved!(
            "",
            "",
            "",
            " AND (c.held + c.reserved <= c.on_hand
                   OR stock.on_hand - stock.held - coalesce(stock.reserved, 0) - coalesce(stock.buffer, 0)
                      >= c.held + c.reserved - c.on_hand)"
        ),
        Guard::Locked => change_reserved!("", "", "", ""),
        Guard::Version(_) => change_reserved!("", ", $6::bigint[]", ", read", " AND stock.version = c.read"),
        Guard::Fence { .. } => change_reserved!(
            ", fence = c.token",
            ", $6::bigint[], $7::bigint[]",
            ", read, token",
            " AND coalesce(stock.fence, 0) = c.read"
        ),
    });
    let query = query
        .bind(changes.keys().copied().collect::<Vec<_>>())
        .bind(changes.values().map(|change| change.on_hand).collect::<Vec<_>>())
        .bind(changes.values().map(|change| change.held).collect::<Vec<_>>())
        .bind(changes.values().map(|change| change.movements).collect::<Vec<_>>());
    let query = match is_plain {
        true => query,
        false => query.bind(changes.values().map(|change| change.reserved).collect::<Vec<_>>()),
    };
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
