//! decision-stability: a decision, once anyone could see it, never becomes the other one.
use crate::config::Config;
use crate::model::State;

pub(super) fn holds(_: &Config, state: &State) -> bool {
    state.attempts.iter().all(|attempt| !(attempt.seen.committed && attempt.seen.aborted))
}
