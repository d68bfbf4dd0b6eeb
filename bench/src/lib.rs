//! Load against a running system, and what one database alone makes of the same orders.
//!
//! It measures from outside: over gRPC as a shop would, and the processes' CPU time as the kernel counts it. Nothing in
//! the services knows that it is measured.
//!
//! ```text
//! shop         what is bought by whom: the names of a run, and the draw of an order
//! setup        opens the run's accounts, stocks its articles
//! closed_loop  so many clients, each placing its next order when the last is answered
//! outcome      what became of the orders, counted
//! latency      how long the answers took
//! cpu          what the processes used meanwhile
//! report       all of it in figures
//! baseline     the same orders in one database, by pgbench
//! ```
pub mod baseline;
mod caller;
pub mod closed_loop;
pub mod cpu;
pub mod latency;
pub mod outcome;
pub mod report;
pub mod setup;
pub mod shop;

pub use caller::Caller;
