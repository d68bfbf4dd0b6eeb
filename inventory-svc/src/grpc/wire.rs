//! Conversions between the wire's types and the inventory's.
use std::collections::BTreeMap;
use std::time::SystemTime;

use chrono::{DateTime, Datelike, Utc};
use participant::{Refusal, status};
use proto::assent::inventory::v1 as api;
use tonic::{Code, Status};

use crate::domain::{Denied, Difference, Kind, Movement, Stock};

/// Stock of one SKU.
pub fn item(stock: Stock) -> api::StockItem {
    api::StockItem {
        on_hand: stock.on_hand,
        held: stock.held,
        available: stock.on_hand - stock.held,
        version: stock.version,
        update_time: Some(SystemTime::from(stock.update_time).into()),
        sku: stock.sku,
    }
}

/// A movement.
pub fn movement(movement: Movement) -> api::Movement {
    let reference = reference(&movement);
    api::Movement {
        kind: kind(movement.kind).into(),
        sku: movement.sku,
        sequence: movement.sequence,
        quantity: movement.quantity,
        on_hand: movement.after.on_hand,
        held: movement.after.held,
        reason: movement.reason.unwrap_or_default(),
        reference,
        actor: movement.actor.unwrap_or_default(),
        create_time: Some(SystemTime::from(movement.create_time).into()),
    }
}

fn kind(kind: Kind) -> api::MovementKind {
    match kind {
        Kind::Received => api::MovementKind::Received,
        Kind::Held => api::MovementKind::Held,
        Kind::Sold => api::MovementKind::Sold,
        Kind::Released => api::MovementKind::Released,
        Kind::Adjusted => api::MovementKind::Adjusted,
        Kind::Counted => api::MovementKind::Counted,
        Kind::Opened => api::MovementKind::Opened,
        Kind::Returned => api::MovementKind::Returned,
    }
}

fn reference(movement: &Movement) -> String {
    let transaction_id = movement.transaction_id.map(|id| id.to_string());
    transaction_id.or_else(|| movement.request_id.clone()).unwrap_or_default()
}

/// What differs.
pub fn difference(difference: Difference) -> api::StockDifference {
    api::StockDifference {
        reference: difference.movement.as_ref().map(reference).unwrap_or_default(),
        sku: difference.sku,
        differs: difference.differs.name().to_owned(),
        sequence: difference.sequence.unwrap_or_default(),
        detail: difference.detail,
    }
}

/// A time to read at.
pub fn time(field: &str, timestamp: prost_types::Timestamp) -> Result<DateTime<Utc>, Status> {
    let time = u32::try_from(timestamp.nanos).ok().and_then(|nanos| DateTime::from_timestamp(timestamp.seconds, nanos));
    // As far as Timestamp itself goes; Postgres goes further.
    time.filter(|time| (1..=9_999).contains(&time.year()))
        .ok_or_else(|| status::invalid(field, "must be a time from the year 1 to 9999"))
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Status {
        let message = denied.to_string();
        let none = BTreeMap::new();
        match denied {
            Denied::BelowHeld { sku, held, on_hand } => {
                let refusal = Refusal::new("BELOW_HELD", message).with("sku", sku);
                status::refused(&refusal.with("held", held).with("on_hand", on_hand), &none)
            }
            Denied::TooMany { sku, .. } => {
                let metadata = BTreeMap::from([("sku".to_owned(), sku)]);
                status::error(Code::OutOfRange, "STOCK_OUT_OF_RANGE", message, &metadata)
            }
            Denied::UnknownSku { sku } => status::not_found("UNKNOWN_SKU", "sku", &sku),
            Denied::RequestIdReused(reused) => reused.into(),
        }
    }
}
