//! Reservations: units that a cart keeps for a time, and what orders claim of them.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Holds;

/// A cart's timed hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Its id, which an order names.
    pub reservation_id: Uuid,
    /// Whose cart it is.
    pub customer: String,
    /// What it keeps still: so many of each SKU, by SKU.
    pub lines: Vec<(String, i64)>,
    /// When it runs out.
    pub expire_time: DateTime<Utc>,
}

/// So many of a reservation that an order takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The reservation.
    pub reservation_id: Uuid,
    /// The article.
    pub sku: String,
    /// How many, at least 1.
    pub quantity: i64,
}

/// What claims come to, by SKU.
pub fn claimed(claims: &[Claim]) -> BTreeMap<&str, i64> {
    let mut sums = BTreeMap::new();
    for Claim { sku, quantity, .. } in claims {
        *sums.entry(sku.as_str()).or_default() += quantity;
    }
    sums
}

/// What reservations have left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserved(BTreeMap<Uuid, BTreeMap<String, i64>>);

impl Reserved {
    /// What reservations have: so many of a SKU each.
    pub fn new(lines: impl IntoIterator<Item = (Uuid, String, i64)>) -> Self {
        let mut reserved = Reserved::default();
        for (reservation_id, sku, quantity) in lines {
            reserved.0.entry(reservation_id).or_default().insert(sku, quantity);
        }
        reserved
    }

    /// What the reservations that a branch names have of what it wants, in the order in which it names them.
    pub fn offer(&self, holds: &Holds) -> Vec<Claim> {
        let mut claims = Vec::new();
        if holds.reservation_ids.is_empty() {
            return claims;
        }
        for (sku, requested) in holds.iter() {
            let mut wanted = requested;
            for reservation_id in &holds.reservation_ids {
                let left = self.0.get(reservation_id).and_then(|lines| lines.get(sku)).copied().unwrap_or_default();
                let quantity = wanted.min(left);
                if quantity > 0 {
                    claims.push(Claim { reservation_id: *reservation_id, sku: sku.to_owned(), quantity });
                    wanted -= quantity;
                }
            }
        }
        claims
    }

    /// Takes what was claimed.
    pub fn take(&mut self, claims: &[Claim]) {
        for Claim { reservation_id, sku, quantity } in claims {
            if let Some(left) = self.0.get_mut(reservation_id).and_then(|lines| lines.get_mut(sku)) {
                *left -= quantity;
            }
        }
    }
}
