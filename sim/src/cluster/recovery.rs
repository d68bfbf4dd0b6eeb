//! Drives [`protocol::recovery::Recovery`] as `coordinator/src/recover/run.rs` does: one run per transaction at a time.
use super::coordinator::Ask;
use super::message::{Entry, Message, Node, Query, Tx};
use super::plan::PARTICIPANTS;
use super::{Counted, World, note};
use crate::mutant::Mutant;
use protocol::Decision;
use protocol::record::Abort;
use protocol::recovery::{Command, Event, Outcome, Recovery};

/// How often a run begins again when a record appears under its hands.
const TRIES: u32 = 3;

/// Who waits for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Nobody: the takeover, an operator.
    Nobody,
    /// The attempt that follows this one.
    Follower(Tx),
    /// A participant's sweeper.
    Participant(u64),
}

/// A run of Recover.
#[derive(Debug)]
pub struct Run {
    machine: Recovery,
    tries: u32,
    askers: Vec<Asker>,
}

impl World {
    pub(super) fn asked_to_recover(&mut self, c: usize, tx: Tx, ask: Option<u64>) {
        if self.coordinators[c].serving {
            self.start_run(c, tx, ask.map_or(Asker::Nobody, Asker::Participant));
        } else if let Some(ask) = ask {
            let answer = Message::Recovered { ask, outcome: None };
            self.send(Node::Coordinator(c), super::network::asker(ask), answer);
        }
    }

    /// Recovers a transaction; joins a run that is under way.
    pub(super) fn start_run(&mut self, c: usize, tx: Tx, asker: Asker) {
        if let Some(run) = self.coordinators[c].runs.get_mut(&tx) {
            return run.askers.push(asker);
        }
        if self.witness.attempts[tx].owner.coordinator != c {
            self.count(Counted::TakenOver);
        }
        let run = Run { machine: Recovery::new(PARTICIPANTS), tries: 1, askers: vec![asker] };
        self.coordinators[c].runs.insert(tx, run);
        self.feed_run(c, tx, Event::Start);
    }

    pub(super) fn feed_run(&mut self, c: usize, tx: Tx, event: Event) {
        let Some(run) = self.coordinators[c].runs.get_mut(&tx) else { return };
        if event == Event::RecordAborted(Abort::Staging) {
            self.coverage.add(Counted::RecoveryAgain, 1);
            run.tries += 1;
            if run.tries > TRIES {
                return self.run_ends(c, tx, Outcome::InDoubt);
            }
            run.machine = Recovery::new(PARTICIPANTS);
            return self.feed_run(c, tx, Event::Start);
        }
        let commands = run.machine.on(event);
        note!(self, "coordinator-{}: recovery of T{tx} {event:?} => {commands:?}", c + 1);
        for command in commands {
            self.carry_out_run(c, tx, command);
        }
    }

    fn carry_out_run(&mut self, c: usize, tx: Tx, command: Command) {
        match command {
            Command::ReadRecord => self.query(c, Ask::Recovery(tx), Query::Record(tx)),
            Command::InsertAborted if self.makes(Mutant::PresumedAbortWithoutTombstone) => {
                self.feed_run(c, tx, Event::RecordAborted(Abort::Aborted { holds_request: false }));
            }
            Command::InsertAborted => self.write(c, Ask::Recovery(tx), Entry::InsertAborted(tx)),
            Command::AbortRecord => self.write(c, Ask::Recovery(tx), Entry::AbortRecord { tx, by_owner: false }),
            Command::CommitRecord => {
                if self.makes(Mutant::RecoverCommitsBeforeCas) {
                    self.run_sends(c, tx, Decision::Commit);
                }
                self.write(c, Ask::Recovery(tx), Entry::CommitRecord(tx));
            }
            Command::Fence(participant) => {
                self.call(c, participant, Ask::Fence { tx, participant }, vec![Entry::Fence(tx)]);
            }
            Command::SendCommit => self.run_sends(c, tx, Decision::Commit),
            Command::SendAbort => self.run_sends(c, tx, Decision::Abort),
            Command::Answer(outcome) => self.run_ends(c, tx, outcome),
        }
    }

    fn run_sends(&mut self, c: usize, tx: Tx, decision: Decision) {
        for participant in 0..PARTICIPANTS {
            self.lane_takes(c, participant, tx, decision, false, false);
        }
    }

    fn run_ends(&mut self, c: usize, tx: Tx, outcome: Outcome) {
        self.count(match outcome {
            Outcome::Decided(Decision::Commit) => Counted::RecoveredCommit,
            Outcome::Decided(Decision::Abort) => Counted::RecoveredAbort,
            Outcome::Forgotten => Counted::RecoveredForgotten,
            Outcome::InDoubt => Counted::RecoveredInDoubt,
        });
        let Some(run) = self.coordinators[c].runs.remove(&tx) else { return };
        for asker in run.askers {
            match asker {
                Asker::Nobody => {}
                Asker::Follower(follower) => self.look_later(c, follower, true),
                Asker::Participant(ask) => {
                    let answer = Message::Recovered { ask, outcome: Some(outcome) };
                    self.send(Node::Coordinator(c), super::network::asker(ask), answer);
                }
            }
        }
    }
}
