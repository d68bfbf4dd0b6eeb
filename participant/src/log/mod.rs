//! The participant's log: what it has voted and what was decided, one row per transaction.
//!
//! What was prepared in one local transaction is a batch ([`batches`]): nearly always it is committed as one, and then only
//! the batch's row changes. Readers see each row as it stands all the same, by the views of the log.
//!
//! Rows are written by one writer only ([`work`]), by the rules of [`protocol::branch`] and [`protocol::step`] and in the
//! same local transaction as the business rows. Everything else reads ([`read`]) or deletes what may go ([`collect`],
//! [`partitions`]).
mod asked;
pub(crate) mod at_once;
pub(crate) mod batches;
mod collect;
mod entry;
mod partitions;
mod read;
mod step_rows;
#[cfg(test)]
mod step_tests;
mod steps;
#[cfg(test)]
mod tests;
pub(crate) mod waiting;
mod work;
mod write;

use chrono::{DateTime, Utc};
use protocol::branch::BranchState;
use uuid::Uuid;

use crate::{Pool, Refusal, TransactionRef};

pub use entry::{Entry, Origin, Reply};
pub use partitions::{Over, Spans};
pub use step_rows::Row as StepRow;
pub use steps::StepRef;
pub use work::LogWork;

/// A log row.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which transaction.
    pub transaction: TransactionRef,
    /// Where the branch stands.
    pub state: BranchState,
    /// Names of all participants; empty on a row that was never prepared.
    pub participants: Vec<String>,
    /// The coordinator incarnation that drove the attempt; empty likewise.
    pub owner_id: String,
    /// Why it was aborted.
    pub refusal: Option<Refusal>,
    /// When the row was written.
    pub create_time: DateTime<Utc>,
    /// When it became final.
    pub decide_time: Option<DateTime<Utc>>,
}

/// Reads of the log, and its collection.
#[derive(Clone)]
pub struct Log {
    pool: Pool,
}

impl Log {
    /// The log in a database.
    pub fn new(pool: Pool) -> Self {
        Log { pool }
    }

    /// Brings the log's schema up to date.
    pub async fn migrate(pool: &Pool) -> Result<(), sqlx::migrate::MigrateError> {
        crate::postgres::migrate(pool, sqlx::migrate!("./migrations"), "_log_migrations").await
    }
}

fn state_code(state: BranchState) -> i16 {
    match state {
        BranchState::Prepared => 1,
        BranchState::Committed => 2,
        BranchState::Aborted => 3,
    }
}

fn state_of(code: i16) -> Result<BranchState, sqlx::Error> {
    match code {
        1 => Ok(BranchState::Prepared),
        2 => Ok(BranchState::Committed),
        3 => Ok(BranchState::Aborted),
        other => Err(sqlx::Error::Decode(format!("{other} is no state of a branch").into())),
    }
}

fn ids(references: &[TransactionRef]) -> Vec<Uuid> {
    references.iter().map(|reference| reference.transaction_id).collect()
}
