//! Load against a running system, and what one database alone makes of the same orders.
//!
//! It measures from outside: over gRPC as a shop would, the processes' CPU time as the kernel counts it, and what databases
//! write as Postgres counts it. Nothing in the services knows that it is measured.
//!
//! ```text
//! shop         what is bought by whom: the names of a run, and the draw of an order
//! baskets      the orders of a real shop
//! setup        opens the run's accounts, stocks its articles
//! orders       the way to the OrderService, at little cost
//! ask          what a client asks for: an order, a transaction
//! closed_loop  so many clients, each asking anew when it is answered
//! open_loop    so many orders a second, whether those before them are answered or not
//! seen         what was seen of the orders
//! outcome      what became of them, counted
//! latency      how long the answers took
//! cpu, memory  what the processes used meanwhile
//! report       all of it in figures
//! plot         figures as a picture
//! steadiness   how even a rate was
//! store        Postgres servers on this machine: all SQL, and what they write
//! baseline     the same orders in one database, by pgbench
//! ```
pub mod ask;
pub mod baseline;
pub mod baskets;
mod caller;
pub mod closed_loop;
pub mod cpu;
pub mod latency;
pub mod memory;
pub mod open_loop;
pub mod orders;
pub mod outcome;
pub mod plot;
pub mod report;
pub mod seen;
pub mod setup;
pub mod shop;
pub mod steadiness;
pub mod store;
#[cfg(test)]
mod testing;

pub use caller::Caller;
