//! The world around the machines: what can happen next in a state, and what it leads to.
//!
//! What keeps the states few without losing a behaviour:
//! - A message once sent may arrive at any time, any number of times, or never; so one bit says that it was sent.
//! - A vote arrives the moment it is given. A late arrival adds nothing: until then the machine could not act on it,
//!   and whoever else acts meanwhile may do so afterwards as well. That it is lost is a case of its own.
//! - A step that changes nothing is no step.
mod action;
mod horizon;
mod owner;
mod participant;
mod records;
mod recovery;
mod settle;
mod state;

pub use action::Action;
pub use settle::settle;
pub use state::{Answer, Attempt, Cell, OwnerSlot, Record, Run, RunOperation, Seen, State, Taken};

use crate::config::Config;
use crate::invariants;
use stateright::{Model, Property};

impl Model for Config {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        action::possible(self, state, actions);
    }

    fn next_state(&self, last_state: &State, action: Action) -> Option<State> {
        let mut state = last_state.clone();
        step(self, &mut state, action);
        state.runs.sort_by_key(|run| (run.attempt, run.operation));
        (state != *last_state).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        invariants::all()
    }
}

fn step(config: &Config, state: &mut State, action: Action) {
    match action {
        Action::Start(t) => owner::start(config, state, t),
        Action::CrashOwner(t) => owner::crash(state, t),
        Action::Deadline(t) => owner::deadline(config, state, t),
        Action::VoteDoubt(t, p) => owner::voted(config, state, t, p, protocol::Vote::Unknown),
        Action::StageLands { attempt, answered } => owner::stage_lands(config, state, attempt, answered),
        Action::StageUnknown(t) => owner::feed(config, state, t, protocol::owner::Event::StageUnknown),
        Action::AbortLands { attempt, answered } => owner::abort_lands(config, state, attempt, answered),
        Action::AbortUnknown(t) => owner::feed(config, state, t, protocol::owner::Event::AbortUnknown),
        Action::FinishLands(t) => owner::finish_lands(config, state, t),
        Action::ReadHolder { attempt, deadline_passed } => owner::read_holder(config, state, attempt, deadline_passed),
        Action::Prepare { attempt, participant, refuses, answered } => {
            let vote = participant::prepare(config, state, attempt, participant, refuses);
            if answered {
                owner::voted(config, state, attempt, participant, vote);
            }
        }
        Action::LateFence(t, p) => {
            participant::fence(config, state, t, p);
        }
        Action::Commit(t, p) => participant::commit(config, state, t, p),
        Action::Abort(t, p) => participant::abort(config, state, t, p),
        Action::Forgotten(t, p) => participant::forgotten(config, state, t, p),
        Action::End(t, p) => participant::end(config, state, t, p),
        Action::SendEnd(t) => state.attempts[t].end_sent = true,
        Action::ReadHorizon => horizon::read(config, state),
        Action::ConfirmHorizon(p) => horizon::confirm(config, state, p),
        Action::SendEndHorizon => horizon::send_end(config, state),
        Action::EndHorizon(t, p) => participant::collect(state, t, p),
        Action::Recover(t) => recovery::start(config, state, t),
        Action::Fence(run, p) => {
            let vote = participant::fence(config, state, state.runs[run].attempt, p);
            recovery::fenced(config, state, run, p, vote);
        }
        Action::FenceLost(run, p) => recovery::fenced(config, state, run, p, protocol::Vote::Unknown),
        Action::RunLands { run, answered } => recovery::lands(config, state, run, answered),
        Action::CrashRun(run) => {
            state.runs.remove(run);
        }
        Action::FlushRecords => records::flush(state),
        Action::CrashRecords => records::crash(state),
        Action::AdvanceRecords => state.record_watermark += 1,
        Action::CollectRecord(t) => records::collect(state, t),
        Action::FlushRows(p) => participant::flush(state, p),
        Action::CrashRows(p) => participant::crash(state, p),
        Action::AdvanceRows(p) => state.watermarks[p] += 1,
        Action::CollectRow(t, p) => participant::collect(state, t, p),
    }
}
