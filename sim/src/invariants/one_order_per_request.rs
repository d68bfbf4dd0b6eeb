//! one-order-per-request: of all attempts at one request, at most one ever commits, as long as the request
//! is retained.
use crate::config::Config;
use crate::model::State;

pub(super) fn holds(config: &Config, state: &State) -> bool {
    let committed = |request: u8| {
        let attempts = state.attempts.iter().zip(&config.requests).filter(move |(_, of)| **of == request);
        attempts.filter(|(attempt, _)| attempt.seen.committed || attempt.seen.branch_committed).count()
    };
    config.past_retention || config.requests.iter().all(|request| committed(*request) <= 1)
}
