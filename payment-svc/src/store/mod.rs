//! The payment service's database: all its SQL.
//!
//! Batches lock payments, in the order of their ids, change accounts of customers, in the order of their names, and then
//! the revenue's. An RPC changes one account of a customer, and then the external one, which no batch touches. So nobody
//! waits in a circle.
pub mod account;
pub mod audit;
pub mod book;
pub mod calls;
pub mod entries;
pub mod expiry;
pub mod holds;
pub mod operations;
pub mod payments;

use sqlx::migrate::Migrator;

/// The schema's steps.
pub fn migrator() -> Migrator {
    sqlx::migrate!("./migrations")
}
