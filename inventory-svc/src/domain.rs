//! Stock, what can be held of it, and what may be asked for.
mod movement;
mod replay;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use participant::{Refusal, own_request};

pub use movement::{Balance, Kind, Movement};
pub use replay::{Difference, Differs, Replay};

/// On hand of one SKU, at most.
pub const MAX_ON_HAND: i64 = 1_000_000_000_000;

/// Stock of one SKU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stock {
    /// The article.
    pub sku: String,
    /// What is there, held or not.
    pub on_hand: i64,
    /// What orders in doubt hold.
    pub held: i64,
    /// Counts its movements.
    pub version: i64,
    /// When it changed last.
    pub update_time: DateTime<Utc>,
}

/// What a branch holds: so many of each SKU, in the order in which the SKUs were first named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holds(Vec<(String, i64)>);

impl Holds {
    /// Sums checked lines of one SKU.
    pub fn sum(lines: impl IntoIterator<Item = (String, i64)>) -> Self {
        let mut places = BTreeMap::new();
        let mut summed: Vec<(String, i64)> = Vec::new();
        for (sku, quantity) in lines {
            match places.get(&sku).and_then(|place: &usize| summed.get_mut(*place)) {
                // At most 2,000 lines of at most a billion each: far from overflowing.
                Some((_, sum)) => *sum = sum.saturating_add(quantity),
                None => {
                    places.insert(sku.clone(), summed.len());
                    summed.push((sku, quantity));
                }
            }
        }
        Holds(summed)
    }

    /// Each SKU once, with how many.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(sku, quantity)| (sku.as_str(), *quantity))
    }
}

/// What a batch holds altogether, by SKU; sorted, so that rows are always locked in one order.
pub fn sums<'a>(batch: impl IntoIterator<Item = &'a Holds>) -> BTreeMap<&'a str, i64> {
    let mut sums = BTreeMap::new();
    for (sku, quantity) in batch.into_iter().flat_map(Holds::iter) {
        let sum: &mut i64 = sums.entry(sku).or_default();
        *sum = sum.saturating_add(quantity);
    }
    sums
}

/// Decides a batch in its order, all or nothing for each: takes what it grants from `available`, which knows every SKU
/// that exists.
pub fn decide(batch: &[&Holds], mut available: BTreeMap<&str, i64>) -> Vec<Result<(), Refusal>> {
    batch
        .iter()
        .map(|holds| {
            for (sku, requested) in holds.iter() {
                match available.get(sku) {
                    None => return Err(unknown_sku(sku)),
                    Some(available) if *available < requested => return Err(out_of_stock(sku, requested, *available)),
                    Some(_) => (),
                }
            }
            for (sku, requested) in holds.iter() {
                if let Some(available) = available.get_mut(sku) {
                    *available -= requested;
                }
            }
            Ok(())
        })
        .collect()
}

fn out_of_stock(sku: &str, requested: i64, available: i64) -> Refusal {
    Refusal::new("OUT_OF_STOCK", format!("{requested} of {sku} were asked for, and {available} are available"))
        .with("sku", sku)
        .with("requested", requested)
        .with("available", available)
}

fn unknown_sku(sku: &str) -> Refusal {
    Refusal::new("UNKNOWN_SKU", format!("there is no SKU {sku:?}")).with("sku", sku)
}

/// Why a change of stock was denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Less would be on hand than is held.
    #[error("{held} of {sku} are held for orders, so {on_hand} on hand would be too few")]
    BelowHeld {
        /// The article.
        sku: String,
        /// What is held.
        held: i64,
        /// What would be on hand.
        on_hand: i64,
    },
    /// More would be on hand than can be.
    #[error("at most {MAX_ON_HAND} of a SKU can be on hand, and {sku} would have {on_hand}")]
    TooMany {
        /// The article.
        sku: String,
        /// What would be on hand.
        on_hand: i64,
    },
    /// There is no such SKU.
    #[error("there is no SKU {sku:?}")]
    UnknownSku {
        /// The article.
        sku: String,
    },
    /// The request id stands for another request.
    #[error(transparent)]
    RequestIdReused(#[from] own_request::Reused),
}

/// What is wrong with a number that must lie in a range, if anything.
pub fn check_range(value: i64, least: i64, most: i64) -> Result<(), String> {
    match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(format!("must be from {least} to {most}, not {value}")),
    }
}
