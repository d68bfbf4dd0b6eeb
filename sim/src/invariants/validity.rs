//! validity: a transaction commits only if every participant prepared.
use crate::config::Config;
use crate::model::State;

pub(super) fn holds(config: &Config, state: &State) -> bool {
    let all = (1u8 << config.participants) - 1;
    state.attempts.iter().all(|attempt| {
        let committed = attempt.seen.committed || attempt.seen.branch_committed;
        !committed || attempt.seen.prepared == all
    })
}
