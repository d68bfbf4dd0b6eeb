//! no-orphan-holds: once recovery has run, no branch keeps anything aside for a transaction that has ended, and where
//! stock is counted, what is taken is what was sold.
use crate::config::Config;
use crate::model::{Attempt, State, settle};
use protocol::branch::BranchState;

pub(super) fn holds(config: &Config, state: &State) -> bool {
    let settled = settle(config, state);
    let is_sold = |attempt: &&Attempt| attempt.seen.committed || attempt.seen.branch_committed;
    let sold: i8 = settled.attempts.iter().filter(is_sold).map(|_| 1).sum();
    settled.attempts.iter().all(|attempt| attempt.rows.iter().all(|row| row.now != Some(BranchState::Prepared)))
        && (config.units.is_none() || settled.taken.now == sold)
}
