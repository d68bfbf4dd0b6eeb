//! Drives [`protocol::recovery::Recovery`] as a coordinator's process does.
use super::records;
use super::state::{Run, RunOperation, State};
use crate::config::Config;
use crate::mutant::Mutant;
use protocol::record::Abort;
use protocol::recovery::{Command, Event, Outcome, Recovery};
use protocol::{Decision, Vote};

/// A run begins and reads the record: one step, for before it has read it knows nothing.
pub(super) fn start(config: &Config, state: &mut State, t: usize) {
    let mut machine = Recovery::new(config.participants);
    machine.on(Event::Start);
    let read = state.attempts[t].record.now.map(|record| record.state);
    let commands = machine.on(Event::Read(read));
    state.runs.push(Run { attempt: t, machine, operation: RunOperation::InsertAborted });
    let place = state.runs.len() - 1;
    carry_out(config, state, place, commands);
}

pub(super) fn fenced(config: &Config, state: &mut State, place: usize, participant: usize, vote: Vote) {
    let run = &mut state.runs[place];
    if let RunOperation::Fences(waiting) = run.operation {
        run.operation = RunOperation::Fences(waiting & !(1 << participant));
    }
    let vote =
        if vote == Vote::Forgotten && config.makes(Mutant::RecoverIgnoresForgotten) { Vote::Unknown } else { vote };
    feed(config, state, place, Event::Fenced { participant, vote });
}

/// The run's operation on the record is carried out.
pub(super) fn lands(config: &Config, state: &mut State, place: usize, answered: bool) {
    let t = state.runs[place].attempt;
    let forced = !config.makes(Mutant::LazyRecoverCas);
    let event = match state.runs[place].operation {
        RunOperation::InsertAborted if config.makes(Mutant::PresumedAbortWithoutTombstone) => {
            Event::RecordAborted(Abort::Aborted { holds_request: false })
        }
        RunOperation::InsertAborted => {
            Event::RecordAborted(records::insert_aborted(config, state, t, config.recoveries_know_request))
        }
        RunOperation::AbortRecord => Event::RecordAborted(records::abort(config, state, t, forced)),
        RunOperation::CommitRecord => Event::RecordCommitted(records::commit(config, state, t, forced)),
        RunOperation::Fences(_) => return,
    };
    feed(config, state, place, if answered { event } else { Event::RecordUnknown });
}

fn feed(config: &Config, state: &mut State, place: usize, event: Event) {
    let commands = state.runs[place].machine.on(event);
    carry_out(config, state, place, commands);
}

fn carry_out(config: &Config, state: &mut State, place: usize, commands: Vec<Command>) {
    let t = state.runs[place].attempt;
    let mut fences = 0;
    for command in commands {
        match command {
            Command::ReadRecord => {}
            Command::InsertAborted => state.runs[place].operation = RunOperation::InsertAborted,
            Command::AbortRecord => state.runs[place].operation = RunOperation::AbortRecord,
            Command::CommitRecord => {
                state.runs[place].operation = RunOperation::CommitRecord;
                if config.makes(Mutant::RecoverCommitsBeforeCas) {
                    state.attempts[t].commit_sent = true;
                }
            }
            Command::Fence(p) => {
                fences |= 1 << p;
                state.attempts[t].fence_sent = true;
                state.runs[place].operation = RunOperation::Fences(fences);
            }
            Command::SendCommit => state.attempts[t].commit_sent = true,
            Command::SendAbort => state.attempts[t].abort_sent = true,
            Command::Answer(Outcome::Forgotten) => state.attempts[t].forgotten_sent = true,
            Command::Answer(Outcome::Decided(Decision::Commit | Decision::Abort) | Outcome::InDoubt) => {}
        }
    }
    if state.runs[place].machine.is_done() {
        state.runs.remove(place);
    }
}
