//! atomicity: of one transaction's branches, no two ever have different ends.
use crate::config::Config;
use crate::model::State;

pub(super) fn holds(_: &Config, state: &State) -> bool {
    state.attempts.iter().all(|attempt| !(attempt.seen.branch_committed && attempt.seen.branch_aborted))
}
