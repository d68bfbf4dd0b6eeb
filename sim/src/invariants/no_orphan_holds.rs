//! no-orphan-holds: once recovery has run, no branch keeps anything aside for a transaction that has ended.
use crate::config::Config;
use crate::model::{State, settle};
use protocol::branch::BranchState;

pub(super) fn holds(config: &Config, state: &State) -> bool {
    let settled = settle(config, state);
    settled.attempts.iter().all(|attempt| attempt.rows.iter().all(|row| row.now != Some(BranchState::Prepared)))
}
