//! Conversions between the wire's types and the inventory's.
use std::collections::BTreeMap;
use std::time::SystemTime;

use participant::{Refusal, status};
use proto::assent::inventory::v1 as api;
use tonic::{Code, Status};

use crate::domain::{Denied, Stock};

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
