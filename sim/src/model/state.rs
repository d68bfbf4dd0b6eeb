//! A state of the world: both kinds of database, what was sent, the machines at work, and what the clients were told.
use crate::config::Config;
use protocol::Decision;
use protocol::branch::BranchState;
use protocol::owner::{Outcome, Owner};
use protocol::record::RecordState;
use protocol::recovery::Recovery;

/// A row as it is read now, and as it will be after a crash of its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cell<T> {
    /// What is read.
    pub now: Option<T>,
    /// What is flushed.
    pub durable: Option<T>,
}

impl<T> Default for Cell<T> {
    fn default() -> Self {
        Cell { now: None, durable: None }
    }
}

/// A record of the coordinator's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its state.
    pub state: RecordState,
    /// Whether it holds the request.
    pub holds_request: bool,
}

/// The owner of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OwnerSlot {
    /// Not begun.
    Idle,
    /// At work.
    Running(Owner),
    /// Done or crashed.
    Gone,
}

/// What a client was told, and about which attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Answer {
    /// What it was told.
    pub outcome: Outcome,
    /// The attempt whose outcome this is.
    pub about: usize,
}

/// What ever was, kept because rows are changed, lost and collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Seen {
    /// The record was COMMITTED, or the client was told so.
    pub committed: bool,
    /// The record was ABORTED, or the client was told so.
    pub aborted: bool,
    /// A branch was COMMITTED.
    pub branch_committed: bool,
    /// A branch was ABORTED.
    pub branch_aborted: bool,
    /// The participants that were PREPARED, one bit each.
    pub prepared: u8,
}

/// One attempt: its owner, its record, its branches, and the messages sent for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Who drives it.
    pub owner: OwnerSlot,
    /// The owner's STAGING insert is on its way; it lands at most once.
    pub stage_pending: bool,
    /// The owner's forced abort of the record is on its way.
    pub abort_pending: bool,
    /// The owner's lazy write of its decision is on its way.
    pub finish_pending: Option<Decision>,
    /// The owner wants to look at the holder.
    pub follows: bool,
    /// PREPAREs were sent.
    pub prepare_sent: bool,
    /// FENCEs were sent.
    pub fence_sent: bool,
    /// COMMITs were sent.
    pub commit_sent: bool,
    /// ABORTs were sent.
    pub abort_sent: bool,
    /// A recovery answered FORGOTTEN.
    pub forgotten_sent: bool,
    /// ENDs were sent.
    pub end_sent: bool,
    /// The coordinator's record.
    pub record: Cell<Record>,
    /// The participants' rows.
    pub rows: Vec<Cell<BranchState>>,
    /// What the client was told.
    pub answer: Option<Answer>,
    /// There was stock when it began; only looked at by a mistake.
    pub saw_stock: bool,
    /// What ever was.
    pub seen: Seen,
}

/// Units of the SKU that are held or sold, at the first participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Taken {
    /// What is read.
    pub now: i8,
    /// What is flushed.
    pub durable: i8,
}

/// What a run of Recover waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunOperation {
    /// The insert of a tombstone.
    InsertAborted,
    /// The compare-and-set to ABORTED.
    AbortRecord,
    /// The compare-and-set to COMMITTED.
    CommitRecord,
    /// The answers to these FENCEs, one bit each.
    Fences(u8),
}

/// A run of Recover.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Run {
    /// The attempt it is about.
    pub attempt: usize,
    /// The machine.
    pub machine: Recovery,
    /// What it waits for.
    pub operation: RunOperation,
}

/// A state of the world.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// The attempts, in the order of their deadlines.
    pub attempts: Vec<Attempt>,
    /// The runs of Recover at work.
    pub runs: Vec<Run>,
    /// The coordinator's watermark: so many attempts have their deadlines at or below it.
    pub record_watermark: usize,
    /// The participants' watermarks, likewise.
    pub watermarks: Vec<usize>,
    /// Up to which horizon the coordinator has seen its records decided, likewise. What was seen once stays so.
    pub record_horizon: usize,
    /// Up to which horizons the participants have confirmed that they are decided, likewise.
    pub confirmed: Vec<usize>,
    /// Up to which horizon END was sent, likewise.
    pub end_horizon: usize,
    /// The first participant's stock, where it is counted.
    pub taken: Taken,
    /// A participant raised an alarm, or a machine did what it never may.
    pub alarm: bool,
}

impl State {
    /// Nothing has happened yet.
    pub fn new(config: &Config) -> Self {
        let attempt = Attempt {
            owner: OwnerSlot::Idle,
            stage_pending: false,
            abort_pending: false,
            finish_pending: None,
            follows: false,
            prepare_sent: false,
            fence_sent: false,
            commit_sent: false,
            abort_sent: false,
            forgotten_sent: false,
            end_sent: false,
            record: Cell::default(),
            rows: vec![Cell::default(); config.participants],
            answer: None,
            saw_stock: false,
            seen: Seen::default(),
        };
        State {
            attempts: vec![attempt; config.attempts()],
            runs: Vec::new(),
            record_watermark: 0,
            watermarks: vec![0; config.participants],
            record_horizon: 0,
            confirmed: vec![0; config.participants],
            end_horizon: 0,
            taken: Taken::default(),
            alarm: false,
        }
    }

    /// The attempt whose record holds the request of this one.
    pub fn holder(&self, config: &Config, t: usize) -> Option<usize> {
        let holds = |other: &usize| self.attempts[*other].record.now.is_some_and(|record| record.holds_request);
        (0..config.attempts()).filter(|other| config.requests[*other] == config.requests[t]).find(holds)
    }

    /// How many units of the SKU are held or sold, by the rows and by what ever was decided.
    pub fn units_out(&self) -> i8 {
        let is_out = |attempt: &&Attempt| {
            let held = matches!(attempt.rows[0].now, Some(BranchState::Prepared | BranchState::Committed));
            held || attempt.seen.committed
        };
        self.attempts.iter().filter(is_out).map(|_| 1).sum()
    }
}
