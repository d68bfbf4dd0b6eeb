//! Stock, what can be held of it, and what may be asked for.
mod backorder;
mod location;
mod marks;
mod movement;
mod replay;
mod reservation;
mod shown;
#[cfg(test)]
mod tests;
mod waitlist;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use participant::{Refusal, own_request};
use uuid::Uuid;

pub use backorder::{Allowed, Owed, OwedState, Split, SupplyKind, SupplyPolicy, split};
pub use location::{MAIN, Part, Shelf, Shelves, allocate, settle};
pub use marks::Marks;
pub use movement::{Balance, Kind, Movement};
#[cfg(test)]
pub use replay::Differs;
pub use replay::{Difference, Replay};
pub use reservation::{Claim, Reservation, Reserved, claimed};
pub use shown::{Reading, Status, WhenOut};
pub use waitlist::{Entry, EntryState, Offer, Waiting, offer};

/// On hand of one SKU, at most.
pub const MAX_ON_HAND: i64 = 1_000_000_000_000;

/// Stock of one SKU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stock {
    /// The article.
    pub sku: String,
    /// What is there of it.
    pub balance: Balance,
    /// Counts its movements.
    pub version: i64,
    /// When it changed last.
    pub update_time: DateTime<Utc>,
    /// What a change of it has to mind besides; nothing where it is read as it was.
    pub marks: Marks,
}

/// What a branch holds: so many of each SKU, in the order in which the SKUs were first named; from these reservations, as
/// far as they have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holds {
    lines: Vec<(String, i64)>,
    /// The reservations, each once.
    pub reservation_ids: Vec<Uuid>,
    /// What comes back instead; then nothing is held.
    pub put_back: Option<PutBack>,
    /// What may be owed where there is too little.
    pub allowed: Allowed,
}

/// Units of an order that come back when the transaction commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutBack {
    /// The order that they were sold to.
    pub order_id: Uuid,
    /// What is on hand again: so many of each SKU, each once.
    pub sellable: Vec<(String, i64)>,
    /// What is damaged, likewise.
    pub damaged: Vec<(String, i64)>,
    /// The order was cancelled; else the customer returns them.
    pub cancelled: bool,
}

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
        Holds { lines: summed, reservation_ids: Vec::new(), put_back: None, allowed: Allowed::Nothing }
    }

    /// The same, from reservations.
    pub fn of_reservations(self, reservation_ids: Vec<Uuid>) -> Self {
        Holds { reservation_ids, ..self }
    }

    /// Holds nothing, and puts this back.
    pub fn of_put_back(put_back: PutBack) -> Self {
        Holds { lines: Vec::new(), reservation_ids: Vec::new(), put_back: Some(put_back), allowed: Allowed::Nothing }
    }

    /// The same, where this may be owed.
    pub fn allowing(self, allowed: Allowed) -> Self {
        Holds { allowed, ..self }
    }

    /// The same, less so many of each SKU.
    pub fn less(&self, less: impl Fn(&str) -> i64) -> Self {
        let lines = self.lines.iter().map(|(sku, quantity)| (sku.clone(), quantity - less(sku)));
        let lines = lines.filter(|(_, quantity)| *quantity > 0).collect();
        Holds {
            lines,
            reservation_ids: self.reservation_ids.clone(),
            put_back: self.put_back.clone(),
            allowed: self.allowed,
        }
    }

    /// Each SKU once, with how many.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.lines.iter().map(|(sku, quantity)| (sku.as_str(), *quantity))
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
/// that exists, and first from what is reserved for it. What is granted is answered with what it claims of reservations.
pub fn decide(
    batch: &[&Holds],
    mut available: BTreeMap<&str, i64>,
    mut reserved: Reserved,
) -> Vec<Result<Vec<Claim>, Refusal>> {
    let decide_one = |holds: &&Holds| {
        let claims = reserved.offer(holds);
        let of_reservations = claimed(&claims);
        let wanted = || {
            holds.iter().map(|(sku, requested)| {
                let claimed = of_reservations.get(sku).copied().unwrap_or_default();
                (sku, requested, claimed)
            })
        };
        for (sku, requested, claimed) in wanted() {
            match available.get(sku) {
                None => return Err(unknown_sku(sku)),
                // A reservation may have been made of what is now the buffer: it is good all the same.
                Some(available) if requested > claimed && *available < requested - claimed => {
                    return Err(out_of_stock(sku, requested, (*available).max(0) + claimed));
                }
                Some(_) => (),
            }
        }
        for (sku, requested, claimed) in wanted() {
            if let Some(available) = available.get_mut(sku) {
                *available -= requested - claimed;
            }
        }
        reserved.take(&claims);
        Ok(claims)
    };
    batch.iter().map(decide_one).collect()
}

/// There is not enough.
pub fn out_of_stock(sku: &str, requested: i64, available: i64) -> Refusal {
    Refusal::new("OUT_OF_STOCK", format!("{requested} of {sku} were asked for, and {available} are available"))
        .with("sku", sku)
        .with("requested", requested)
        .with("available", available)
}

/// There is no such SKU.
pub fn unknown_sku(sku: &str) -> Refusal {
    Refusal::new("UNKNOWN_SKU", format!("there is no SKU {sku:?}")).with("sku", sku)
}

/// Why a change of stock was denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Less would be on hand than is held.
    #[error("{held} of {sku} are held for orders and reservations, so {on_hand} on hand would be too few")]
    BelowHeld {
        /// The article.
        sku: String,
        /// What is held or reserved.
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
    /// Less is in that state than was to be moved out of it.
    #[error("{there} of {sku} are {state}, so {quantity} can't be moved")]
    TooFew {
        /// The article.
        sku: String,
        /// The state.
        state: &'static str,
        /// What is in it.
        there: i64,
        /// What was to be moved.
        quantity: i64,
    },
    /// Less is free at a location than was to be taken from it.
    #[error("{free} of {sku} are free at {location}, so {wanted} can't be taken from there")]
    TooFewThere {
        /// The article.
        sku: String,
        /// The location.
        location: String,
        /// What is free there.
        free: i64,
        /// What was to be taken.
        wanted: i64,
    },
    /// What was to be reserved is not to be had.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The customer would have more reserved than one may.
    #[error("{customer} has {reserved} of {sku} reserved already, and may have {limit}")]
    OverLimit {
        /// The article.
        sku: String,
        /// Whose reservations.
        customer: String,
        /// How many they have.
        reserved: i64,
        /// How many they may have.
        limit: i64,
    },
    /// There is no such reservation: it was released, has run out, or never was.
    #[error("there is no reservation {reservation_id:?}: it has run out, was released, or was never made")]
    UnknownReservation {
        /// The reservation.
        reservation_id: String,
    },
    /// The customer waits in too many places already.
    #[error("{customer} waits {limit} times already; leave a waitlist first")]
    WaitsTooOften {
        /// Who.
        customer: String,
        /// How often one may.
        limit: i64,
    },
    /// There is no such entry of a waitlist.
    #[error("there is no entry {entry_id:?} of a waitlist: it ended long ago, or was never made")]
    UnknownEntry {
        /// The entry.
        entry_id: String,
    },
    /// An offer stands as long as it does: others wait.
    #[error("{reservation_id} is an offer of a waitlist, which can't be extended: others wait for it")]
    OfferIsTimed {
        /// The offer.
        reservation_id: String,
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
