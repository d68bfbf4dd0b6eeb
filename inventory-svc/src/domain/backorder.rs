//! Backorders and preorders: what an order is owed where there is too little, and what may be owed.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use participant::Refusal;
use uuid::Uuid;

use super::{Holds, out_of_stock, unknown_sku};

/// What an order allows where there is too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allowed {
    /// Nothing: it is refused.
    #[default]
    Nothing,
    /// What there is is taken, and the rest is owed; the SKU is given, and paid, as a whole.
    Whole,
    /// What there is is taken, and the rest is owed; what has come is given, and paid, at once.
    Partial,
}

/// Why a SKU may be owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupplyKind {
    /// It comes again.
    Backorder,
    /// It is not released yet.
    Preorder,
}

impl SupplyKind {
    /// How it is stored.
    pub fn code(self) -> i16 {
        match self {
            SupplyKind::Backorder => 1,
            SupplyKind::Preorder => 2,
        }
    }

    /// The one that is stored so.
    pub fn of_code(code: i16) -> Result<Self, sqlx::Error> {
        match code {
            1 => Ok(SupplyKind::Backorder),
            2 => Ok(SupplyKind::Preorder),
            _ => Err(sqlx::Error::Decode(format!("{code} is no kind of supply").into())),
        }
    }
}

/// What may be owed of a SKU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupplyPolicy {
    /// Why.
    pub kind: SupplyKind,
    /// How many units, at most.
    pub max_owed: i64,
    /// When it is expected, or released.
    pub available_time: Option<DateTime<Utc>>,
    /// How many are owed already.
    pub owed: i64,
}

/// What becomes of an order's lines: so many of each SKU are held besides what is claimed, and so many are owed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// Held.
    pub held: Vec<(String, i64)>,
    /// Owed, and why they may be.
    pub owed: Vec<(String, i64, SupplyKind)>,
}

/// Splits what an order wants into what there is and what it will be owed, if both it and the SKUs' policies allow it.
pub fn split(
    holds: &Holds,
    claimed: &BTreeMap<&str, i64>,
    available: &BTreeMap<String, i64>,
    policies: &BTreeMap<String, SupplyPolicy>,
) -> Result<Split, Refusal> {
    let mut split = Split::default();
    for (sku, requested) in holds.iter() {
        let there = available.get(sku).copied().ok_or_else(|| unknown_sku(sku))?.max(0);
        let claimed = claimed.get(sku).copied().unwrap_or_default();
        let needed = requested - claimed;
        let taken = needed.min(there);
        if taken > 0 {
            split.held.push((sku.to_owned(), taken));
        }
        if taken == needed {
            continue;
        }
        let policy = policies.get(sku).filter(|_| holds.allowed != Allowed::Nothing);
        let policy = policy.ok_or_else(|| out_of_stock(sku, requested, there + claimed))?;
        let (owed, left) = (needed - taken, (policy.max_owed - policy.owed).max(0));
        if owed > left {
            let message = format!("{owed} of {sku} would have to be ordered, and {left} more may be");
            return Err(Refusal::new("BACKORDER_LIMIT", message)
                .with("sku", sku)
                .with("requested", requested)
                .with("available", there + claimed)
                .with("left", left));
        }
        split.owed.push((sku.to_owned(), owed, policy.kind));
    }
    Ok(split)
}

/// Where an order stands with a SKU that it was owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwedState {
    /// The order is in doubt.
    InDoubt,
    /// It waits.
    Waiting,
    /// It has all.
    Given,
    /// It was cancelled.
    Cancelled,
}

/// What an order is or was owed of a SKU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// The order.
    pub order_id: Uuid,
    /// The article.
    pub sku: String,
    /// Its place in the order of placement.
    pub place: i64,
    /// Why it may be owed.
    pub kind: SupplyKind,
    /// How many the order is for.
    pub ordered: i64,
    /// How many it still waits for.
    pub owed: i64,
    /// Where it stands.
    pub state: OwedState,
    /// When the SKU is expected, or released.
    pub available_time: Option<DateTime<Utc>>,
}
