//! The inventory's database: all its SQL.
//!
//! Batches change `held` (and at commit `on_hand`) of many SKUs at a time, in the order of the SKUs; an RPC changes one.
//! So nobody waits in a circle. Either writes its movements into the ledger while it has locked what they are about, so
//! that their order is that of the changes.
pub mod audit;
pub mod backorders;
pub mod claims;
pub mod durable;
pub mod feed;
pub mod holds;
pub mod ledger;
pub mod locations;
mod plain;
pub mod put_back;
mod queue;
pub mod reads;
pub mod replay;
pub mod reservations;
pub mod returns;
pub mod sales;
pub mod states;
pub mod stock;
pub mod strategy;
mod supply;
pub mod waitlist;

use sqlx::migrate::Migrator;

use crate::domain::MAX_ON_HAND;

/// The schema's steps.
pub fn migrator() -> Migrator {
    sqlx::migrate!("./migrations")
}
