//! A state of the world: the saga's row, the participants' rows with their effects, what was sent, and who is at work.
use super::SagaConfig;
use protocol::saga::owner::Owner;
use protocol::saga::{Saga, Write};
use protocol::step::{StepResult, StepRow};
use std::collections::BTreeSet;

/// What is read, and what a crash leaves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lossy<T> {
    /// What is read.
    pub now: T,
    /// What is flushed.
    pub durable: T,
}

impl<T: Clone + PartialEq> Lossy<T> {
    fn new(value: T) -> Self {
        Lossy { now: value.clone(), durable: value }
    }

    pub(super) fn write(&mut self, value: T, forced: bool) {
        self.now = value;
        if forced {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        self.durable = self.now.clone();
    }

    pub(super) fn crash(&mut self) {
        self.now = self.durable.clone();
    }

    pub(super) fn may_lose(&self) -> bool {
        self.now != self.durable
    }
}

/// The saga's row with its epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Row {
    /// The saga.
    pub saga: Saga,
    /// Who may write.
    pub epoch: u64,
}

/// What one participant keeps of a step: the row and the effect, in one local transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Place {
    /// The row with its deadline.
    pub row: Option<(StepRow, i64)>,
    /// How often the step has taken effect, less how often it was undone.
    pub effects: i8,
}

/// A coordinator at work on the saga.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Driver {
    /// The machine.
    pub owner: Owner,
    /// Under which epoch it writes.
    pub epoch: u64,
    /// The write that it waits for.
    pub writing: Option<Write>,
}

/// An answer to a message about a step, under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Heard {
    /// To an EXECUTE, with the deadline that it named.
    Executed(StepResult, i64),
    /// To a COMPENSATE.
    Compensated,
}

/// What ever was.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Seen {
    /// A client, or a reader of the row, was told that it takes effect.
    pub accepted: bool,
    /// A client, or a reader of the row, was told that nothing of it stays.
    pub refused: bool,
    /// The saga ended as done.
    pub done: bool,
    /// The saga ended as compensated.
    pub compensated: bool,
    /// Which steps have taken effect.
    pub executed: Vec<bool>,
    /// For which steps a COMPENSATE was acknowledged.
    pub undone: Vec<bool>,
    /// A step took effect twice, or after its compensation.
    pub key_broken: bool,
}

/// A state of the world.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// The coordinator's database; no row once it is collected.
    pub row: Lossy<Option<Row>>,
    /// The participants' databases, one for each step.
    pub places: Vec<Lossy<Place>>,
    /// The participants' watermarks.
    pub watermarks: Vec<i64>,
    /// Coordinators at work: the first began the saga, and may be a zombie.
    pub drivers: [Option<Driver>; 2],
    /// EXECUTEs that were sent, by step and deadline. What was sent may arrive at any time, any number of times, or never.
    pub executes: BTreeSet<(usize, i64)>,
    /// COMPENSATEs that were sent, likewise.
    pub compensates: BTreeSet<(usize, i64)>,
    /// Answers that were sent, likewise.
    pub answers: BTreeSet<(usize, Heard)>,
    /// Writes that were sent to the coordinator's database, likewise, by epoch.
    pub writes: BTreeSet<(u64, Write)>,
    /// END was sent, with this deadline.
    pub end: Option<i64>,
    /// Which participants have acknowledged it.
    pub ended: Vec<bool>,
    /// What ever was.
    pub seen: Seen,
}

impl State {
    /// The saga's row is durable, and its owner begins.
    pub(super) fn new(config: &SagaConfig) -> Self {
        let steps = config.definition.steps().len();
        let saga = config.definition.begin(1);
        let driver = Driver { owner: Owner::new(saga.clone()), epoch: 1, writing: None };
        let mut state = State {
            row: Lossy::new(Some(Row { saga, epoch: 1 })),
            places: vec![Lossy::new(Place::default()); steps],
            watermarks: vec![0; steps],
            drivers: [Some(driver), None],
            executes: BTreeSet::new(),
            compensates: BTreeSet::new(),
            answers: BTreeSet::new(),
            writes: BTreeSet::new(),
            end: None,
            ended: vec![false; steps],
            seen: Seen { executed: vec![false; steps], undone: vec![false; steps], ..Seen::default() },
        };
        super::driver::feed(config, &mut state, 0, protocol::saga::owner::Event::Start);
        state
    }
}
