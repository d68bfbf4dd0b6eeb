//! One run of Recover(transaction, deadline): by any coordinator, at any time, safe even while the owner lives.
//!
//! It makes sure that a decision stands in the record before anything is sent: where no record stands, a tombstone keeps
//! a late STAGING out; where it is STAGING, every participant is fenced, and what they answer is the decision.
use crate::record::{Abort, Commit, RecordState};
use crate::{Decision, Vote};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The run begins.
    Start,
    /// The record was read; `None` where none stands.
    Read(Option<RecordState>),
    /// [`Command::InsertAborted`] or [`Command::AbortRecord`] returned.
    RecordAborted(Abort),
    /// [`Command::CommitRecord`] returned.
    RecordCommitted(Commit),
    /// The coordinator's database can't be reached, or the outcome of an operation on it is not known.
    RecordUnknown,
    /// A participant answered FENCE, or the RPC failed (`Unknown`).
    Fenced {
        /// Which participant, by its place in the transaction's list.
        participant: usize,
        /// What stands there.
        vote: Vote,
    },
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Read the record.
    ReadRecord,
    /// [`crate::record::insert_aborted`], forced.
    InsertAborted,
    /// [`crate::record::abort`], forced.
    AbortRecord,
    /// [`crate::record::commit`], forced.
    CommitRecord,
    /// Send FENCE to this participant.
    Fence(usize),
    /// Send COMMIT to every participant.
    SendCommit,
    /// Send ABORT to every participant.
    SendAbort,
    /// The run has ended.
    Answer(Outcome),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// This decision stands.
    Decided(Decision),
    /// No record, and the deadline is at or below the watermark: a prepared branch aborts, all else is settled.
    Forgotten,
    /// Not decidable now; the record stays STAGING (or absent) and visible. Run again later.
    InDoubt,
}

/// Where the run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    New,
    Reading,
    Inserting,
    Fencing,
    Aborting,
    Committing,
    Done,
}

/// One run of Recover.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recovery {
    fenced: Vec<Option<Vote>>,
    phase: Phase,
}

impl Recovery {
    /// A run over `participants` participants.
    pub fn new(participants: usize) -> Self {
        Recovery { fenced: vec![None; participants], phase: Phase::New }
    }

    /// Whether the run has ended.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Takes what happened; returns what to do, in order.
    pub fn on(&mut self, event: Event) -> Vec<Command> {
        match (self.phase, event) {
            (Phase::New, Event::Start) => {
                self.phase = Phase::Reading;
                vec![Command::ReadRecord]
            }
            (Phase::Reading, Event::Read(None)) => {
                self.phase = Phase::Inserting;
                vec![Command::InsertAborted]
            }
            (Phase::Reading, Event::Read(Some(state))) => self.stands(state),
            (Phase::Inserting, Event::RecordAborted(Abort::Staging)) => self.stands(RecordState::Staging),
            (Phase::Inserting | Phase::Aborting, Event::RecordAborted(abort)) => self.aborted(abort),
            (Phase::Committing, Event::RecordCommitted(commit)) => match commit {
                Commit::Committed => self.decided(Decision::Commit),
                Commit::Aborted => self.decided(Decision::Abort),
                Commit::Collected => self.done(Outcome::Forgotten),
            },
            (Phase::Fencing, Event::Fenced { participant, vote }) => self.fenced(participant, vote),
            (Phase::New | Phase::Done, _) => Vec::new(),
            (_, Event::RecordUnknown) => self.done(Outcome::InDoubt),
            _ => Vec::new(),
        }
    }

    fn stands(&mut self, state: RecordState) -> Vec<Command> {
        match state {
            RecordState::Committed => self.decided(Decision::Commit),
            RecordState::Aborted => self.decided(Decision::Abort),
            RecordState::Staging => {
                self.phase = Phase::Fencing;
                (0..self.fenced.len()).map(Command::Fence).collect()
            }
        }
    }

    fn fenced(&mut self, participant: usize, vote: Vote) -> Vec<Command> {
        match self.fenced.get_mut(participant) {
            Some(slot @ None) => *slot = Some(vote),
            _ => return Vec::new(),
        }
        // FORGOTTEN means that no yes can ever come from there: the same as a no to a recovery, though not to an owner.
        if matches!(vote, Vote::No | Vote::Forgotten) {
            self.phase = Phase::Aborting;
            return vec![Command::AbortRecord];
        }
        if self.fenced.iter().any(Option::is_none) {
            return Vec::new();
        }
        if self.fenced.iter().all(|vote| *vote == Some(Vote::Yes)) {
            self.phase = Phase::Committing;
            return vec![Command::CommitRecord];
        }
        self.done(Outcome::InDoubt)
    }

    fn aborted(&mut self, abort: Abort) -> Vec<Command> {
        match abort {
            Abort::Aborted { .. } => self.decided(Decision::Abort),
            Abort::Committed => self.decided(Decision::Commit),
            Abort::BelowWatermark => self.done(Outcome::Forgotten),
            Abort::Staging => self.done(Outcome::InDoubt),
        }
    }

    fn decided(&mut self, decision: Decision) -> Vec<Command> {
        self.phase = Phase::Done;
        let send = match decision {
            Decision::Commit => Command::SendCommit,
            Decision::Abort => Command::SendAbort,
        };
        vec![send, Command::Answer(Outcome::Decided(decision))]
    }

    fn done(&mut self, outcome: Outcome) -> Vec<Command> {
        self.phase = Phase::Done;
        vec![Command::Answer(outcome)]
    }
}
