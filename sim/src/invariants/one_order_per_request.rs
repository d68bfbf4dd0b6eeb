//! one-order-per-request: of all attempts at one request, at most one ever commits, as long as the request
//! is retained.
use crate::config::Config;
use crate::model::State;

pub(super) fn holds(config: &Config, state: &State) -> bool {
    let committed = state.attempts.iter().filter(|attempt| attempt.seen.committed || attempt.seen.branch_committed);
    config.past_retention || committed.count() <= 1
}
