//! What every service shares.
//!
//! A participant implements [`Resource`] (prepare, commit and abort of a batch of branches within a given Postgres
//! transaction) and calls [`run`]; it gets the durable log, group commit, fencing, in-doubt recovery, garbage
//! collection and the gRPC face from here. The coordinator uses the parts below the log: [`group_commit`],
//! [`postgres`], [`server`], [`status`], [`telemetry`] and [`crash_point`].
//!
//! Nothing here knows a word of shopping.
pub mod audit;
pub mod caller;
pub mod clock;
mod collector;
pub mod columns;
pub mod config;
pub mod crash_point;
pub mod duplicates;
mod explained;
mod front;
pub mod group_commit;
mod grpc;
mod log;
pub mod metrics;
pub mod names;
pub mod own_request;
pub mod own_write;
pub mod paging;
mod pool;
pub mod postgres;
mod refusal;
pub mod resource;
mod run;
pub mod server;
pub mod status;
mod sweeper;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transaction;
mod writers;

pub use config::ParticipantArgs;
pub use pool::Pool;
pub use refusal::{DUPLICATE_REQUEST, Refusal};
pub use resource::{HoldAll, InvalidBranch, PreparedBranch, Resource, StepBranch, Writing};
pub use run::{Context, run};
pub use transaction::TransactionRef;
