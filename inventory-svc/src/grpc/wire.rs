//! Conversions between the wire's types and the inventory's.
use std::collections::BTreeMap;
use std::time::SystemTime;

use chrono::{DateTime, Datelike, Utc};
use participant::{Refusal, status};
use proto::assent::inventory::v1 as api;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::domain::{Balance, Denied, Difference, Kind, Movement, Stock};
use crate::store::sales::Sale;

/// Stock of one SKU.
pub fn item(stock: Stock) -> api::StockItem {
    let Balance { on_hand, held, reserved, buffer, damaged, quality_control } = stock.balance;
    api::StockItem {
        on_hand,
        held,
        available: stock.balance.available().max(0),
        reserved,
        buffer,
        damaged,
        quality_control,
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
        reserved: movement.after.reserved,
        buffer: movement.after.buffer,
        damaged: movement.after.damaged,
        quality_control: movement.after.quality_control,
        reservation_id: movement.reservation_id.map(|id| id.to_string()).unwrap_or_default(),
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
        Kind::Damaged => api::MovementKind::Damaged,
        Kind::Inspected => api::MovementKind::Inspected,
        Kind::Failed => api::MovementKind::Failed,
        Kind::WrittenOff => api::MovementKind::WrittenOff,
        Kind::Buffered => api::MovementKind::Buffered,
        Kind::Reserved => api::MovementKind::Reserved,
        Kind::Unreserved => api::MovementKind::Unreserved,
        Kind::Claimed => api::MovementKind::Claimed,
        Kind::Unclaimed => api::MovementKind::Unclaimed,
        Kind::Returned => api::MovementKind::Returned,
        Kind::TransferredOut => api::MovementKind::TransferredOut,
        Kind::TransferredIn => api::MovementKind::TransferredIn,
        Kind::Cancelled => api::MovementKind::Cancelled,
        Kind::ReturnedByCustomer => api::MovementKind::ReturnedByCustomer,
        Kind::ReturnedDamaged => api::MovementKind::ReturnedDamaged,
        Kind::Allotted => api::MovementKind::Allotted,
    }
}

fn reference(movement: &Movement) -> String {
    let id = movement.transaction_id.or(movement.reservation_id).map(|id| id.to_string());
    id.or_else(|| movement.request_id.clone()).unwrap_or_default()
}

/// What a move between two states is in the ledger, and whether it goes there or back.
pub fn way(from: api::StockState, to: api::StockState) -> Result<(Kind, i64), Status> {
    use api::StockState::{Damaged, OnHand, QualityControl, WrittenOff};
    Ok(match (from, to) {
        (OnHand, Damaged) => (Kind::Damaged, 1),
        (Damaged, OnHand) => (Kind::Damaged, -1),
        (OnHand, QualityControl) => (Kind::Inspected, 1),
        (QualityControl, OnHand) => (Kind::Inspected, -1),
        (QualityControl, Damaged) => (Kind::Failed, 1),
        (Damaged, QualityControl) => (Kind::Failed, -1),
        (Damaged, WrittenOff) => (Kind::WrittenOff, 1),
        _ => return Err(status::invalid("to", "is no state that units come to from there")),
    })
}

/// A state, as a person calls it.
pub fn state_name(state: api::StockState) -> &'static str {
    match state {
        api::StockState::Unspecified => "nowhere",
        api::StockState::OnHand => "on hand and free",
        api::StockState::Damaged => "damaged",
        api::StockState::QualityControl => "in quality control",
        api::StockState::WrittenOff => "written off",
    }
}

/// What a transaction has sold.
pub fn sale(sale: Sale) -> api::Sale {
    let Sale { sku, sequence, transaction_id, quantity } = sale;
    api::Sale { transaction_id: transaction_id.to_string(), sku, sequence, quantity }
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

/// The reason that a status gives.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
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
            Denied::TooFew { sku, there, .. } => {
                status::refused(&Refusal::new("TOO_FEW", message).with("sku", sku).with("there", there), &none)
            }
            Denied::TooFewThere { sku, location, free, .. } => {
                let refusal = Refusal::new("TOO_FEW", message).with("sku", sku).with("location", location);
                status::refused(&refusal.with("there", free), &none)
            }
            Denied::Refused(refusal) => status::refused(&refusal, &none),
            Denied::OverLimit { sku, reserved, limit, .. } => {
                let refusal = Refusal::new("RESERVATION_LIMIT", message).with("sku", sku);
                status::refused(&refusal.with("reserved", reserved).with("limit", limit), &none)
            }
            Denied::UnknownReservation { reservation_id } => {
                status::not_found("UNKNOWN_RESERVATION", "reservation", &reservation_id)
            }
            Denied::WaitsTooOften { customer, limit } => {
                let refusal = Refusal::new("WAITLIST_LIMIT", message).with("customer", customer);
                status::refused(&refusal.with("limit", limit), &none)
            }
            Denied::UnknownEntry { entry_id } => {
                status::not_found("UNKNOWN_WAITLIST_ENTRY", "waitlist entry", &entry_id)
            }
            Denied::OfferIsTimed { reservation_id } => {
                let refusal = Refusal::new("OFFER_IS_TIMED", message).with("reservation_id", reservation_id);
                status::refused(&refusal, &none)
            }
            Denied::RequestIdReused(reused) => reused.into(),
        }
    }
}
