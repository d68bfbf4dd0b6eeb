//! What becomes of a state if, from now on, nothing fails: one Recover for each open transaction, and its messages.
use super::state::{RunOperation, State};
use super::{participant, recovery};
use crate::config::Config;
use protocol::branch::BranchState;
use protocol::record::RecordState;

/// The state after a recovery of each attempt that is open somewhere, with every message delivered.
///
/// Asked of every reachable state, it says that in no state something is stuck: from everywhere a resolution can be
/// reached, and by recovery alone, whatever became of the owner.
pub fn settle(config: &Config, state: &State) -> State {
    let mut state = state.clone();
    for t in 0..config.attempts() {
        if is_open(&state, t) {
            state.runs.clear();
            state.attempts[t].forgotten_sent = false;
            state.attempts[t].commit_sent = false;
            state.attempts[t].abort_sent = false;
            recovery::start(config, &mut state, t);
            run_to_end(config, &mut state);
            deliver(config, &mut state, t);
        }
    }
    state
}

fn is_open(state: &State, t: usize) -> bool {
    let attempt = &state.attempts[t];
    attempt.record.now.is_some_and(|record| record.state == RecordState::Staging)
        || attempt.rows.iter().any(|row| row.now == Some(BranchState::Prepared))
}

fn run_to_end(config: &Config, state: &mut State) {
    while let Some(run) = state.runs.first() {
        match run.operation {
            RunOperation::Fences(0) => return,
            RunOperation::Fences(waiting) => {
                let (t, p) = (run.attempt, waiting.trailing_zeros() as usize);
                let vote = participant::fence(config, state, t, p);
                recovery::fenced(config, state, 0, p, vote);
            }
            _ => recovery::lands(config, state, 0, true),
        }
    }
}

fn deliver(config: &Config, state: &mut State, t: usize) {
    for p in 0..config.participants {
        if state.attempts[t].commit_sent {
            participant::commit(config, state, t, p);
        }
        if state.attempts[t].abort_sent {
            participant::abort(config, state, t, p);
        }
        if state.attempts[t].forgotten_sent {
            participant::forgotten(config, state, t, p);
        }
    }
}
