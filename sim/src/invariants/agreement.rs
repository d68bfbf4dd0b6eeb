//! agreement: record and logs tell the same end, and nothing contradicts what stands (no alarm).
use crate::config::Config;
use crate::model::State;

pub(super) fn holds(_: &Config, state: &State) -> bool {
    !state.alarm
        && state.attempts.iter().all(|attempt| {
            let seen = attempt.seen;
            let contradicted = (seen.committed && seen.branch_aborted) || (seen.aborted && seen.branch_committed);
            !contradicted
        })
}
