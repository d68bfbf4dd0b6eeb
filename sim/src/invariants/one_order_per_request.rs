//! one-order-per-request: of all attempts at one request, at most one ever commits.
use crate::config::Config;
use crate::model::State;

pub(super) fn holds(_: &Config, state: &State) -> bool {
    let committed = state.attempts.iter().filter(|attempt| attempt.seen.committed || attempt.seen.branch_committed);
    committed.count() <= 1
}
