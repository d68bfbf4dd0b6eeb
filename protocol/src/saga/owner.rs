//! The machine that drives a saga, from whatever its row says.
//!
//! ```text
//! Forward --(every step executed)--------------------------------> Done
//!    \--(a refusal, or given up before the pivot)--> Backward --(all undone)--> Compensated
//! ```
//!
//! One write is out at a time. A result is written before anything that depends on it: the next step, the answer. The
//! turn is written before the first COMPENSATE. What is not known is asked again under the same key until it is known.
use super::{Definition, Denied, Kind, Saga, SagaState, StepState, Write};
use crate::step::StepResult;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// The row is durable, and this process owns it.
    Start,
    /// An EXECUTE was answered, or the RPC failed (`Unknown`).
    Executed {
        /// Which step, by its place.
        step: usize,
        /// The answer.
        result: StepResult,
        /// The deadline that the EXECUTE named.
        deadline: i64,
        /// What to renew the deadline to, should that be needed.
        renew_to: i64,
    },
    /// A COMPENSATE was acknowledged, or not (`false`).
    Compensated {
        /// Which step, by its place.
        step: usize,
        /// Whether it was.
        acknowledged: bool,
    },
    /// The write is durable, and this is the row since then.
    Written(Saga),
    /// The write was denied.
    Denied(Denied),
    /// It is not known whether the write was carried out.
    WriteUnknown,
    /// The deadline has passed, or somebody cancels it.
    GiveUp,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Command {
    /// Send this step's EXECUTE, naming the row's deadline; answer with [`Event::Executed`].
    Execute(usize),
    /// The same again, after a pause, if this process still owns the saga.
    ExecuteAgain(usize),
    /// Send this step's COMPENSATE, naming the row's deadline; answer with [`Event::Compensated`].
    Compensate(usize),
    /// The same again, after a pause, if this process still owns the saga.
    CompensateAgain(usize),
    /// Change the row, forced, under the owner's epoch; answer with [`Event::Written`], [`Event::Denied`] or
    /// [`Event::WriteUnknown`]. Asked again after each of the latter: the driver waits a while between the tries.
    Write(Write),
    /// Answer the client.
    Answer(Answer),
}

/// What the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It takes effect, all of it.
    Accepted,
    /// Nothing of it stays: refused by this step, or given up.
    Refused(Option<usize>),
    /// It was given up too late: whether the pivot took effect is being found out.
    Unknown,
}

/// What is known of a step beyond the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Learned {
    Nothing,
    /// Its EXECUTE, or its COMPENSATE, is out.
    Asked,
    Executed,
    Refused,
    Undone,
}

/// The owner of a saga.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    saga: Saga,
    learned: Vec<Learned>,
    gives_up: bool,
    renew_to: Option<i64>,
    writing: Option<Write>,
    answered: bool,
    superseded: bool,
}

impl Owner {
    /// The owner of a saga whose row this is.
    pub fn new(saga: Saga) -> Self {
        let learned = vec![Learned::Nothing; saga.steps.len()];
        Owner { saga, learned, gives_up: false, renew_to: None, writing: None, answered: false, superseded: false }
    }

    /// The row, as far as it is known here.
    pub fn saga(&self) -> &Saga {
        &self.saga
    }

    /// Whether there is nothing more to do here: the saga has ended, or somebody else drives it.
    pub fn is_done(&self) -> bool {
        self.superseded || self.saga.state.is_ended()
    }

    /// Whether somebody else drives it.
    pub fn is_superseded(&self) -> bool {
        self.superseded
    }

    /// Takes what happened; returns what to do, in order.
    pub fn on(&mut self, definition: &Definition, event: Event) -> Vec<Command> {
        if self.superseded {
            return Vec::new();
        }
        let mut commands = Vec::new();
        match event {
            Event::Start => (),
            Event::Executed { step, result, deadline, renew_to } => {
                commands.extend(self.executed(definition, step, result, deadline, renew_to));
            }
            Event::Compensated { step, acknowledged } => {
                if self.saga.state == SagaState::Backward && self.learned.get(step) == Some(&Learned::Asked) {
                    if acknowledged {
                        self.learn(step, Learned::Undone);
                    } else {
                        commands.push(Command::CompensateAgain(step));
                    }
                }
            }
            Event::Written(saga) => {
                if saga.state != self.saga.state {
                    // What was known of executions no longer matters; compensations begin from nothing.
                    self.learned.fill(Learned::Nothing);
                }
                self.saga = saga;
                self.writing = None;
            }
            Event::Denied(_) => {
                // Under its own epoch an owner asks for nothing that is denied; so the epoch is another one's.
                self.superseded = true;
                return commands;
            }
            Event::WriteUnknown => commands.extend(self.writing.clone().map(Command::Write)),
            Event::GiveUp => {
                self.gives_up = true;
                if self.saga.state == SagaState::Forward && definition.pivot_may_have_executed(&self.saga) {
                    commands.extend(self.answer(definition, true));
                }
            }
        }
        commands.extend(self.answer(definition, false));
        commands.extend(self.proceed(definition));
        commands
    }

    fn learn(&mut self, step: usize, learned: Learned) {
        if let Some(slot) = self.learned.get_mut(step) {
            *slot = learned;
        }
    }

    fn executed(
        &mut self,
        definition: &Definition,
        step: usize,
        result: StepResult,
        deadline: i64,
        renew_to: i64,
    ) -> Option<Command> {
        let waits = self.saga.state == SagaState::Forward
            && self.saga.steps.get(step) == Some(&StepState::Pending)
            && self.learned.get(step) == Some(&Learned::Asked);
        if !waits {
            return None;
        }
        match result {
            StepResult::Executed => self.learn(step, Learned::Executed),
            StepResult::Refused if definition.kind(step) != Some(Kind::Retriable) => {
                self.learn(step, Learned::Refused);
            }
            // Asked under an older deadline than the row's: the answer says nothing of what was asked since.
            StepResult::Forgotten if deadline < self.saga.deadline => return Some(Command::ExecuteAgain(step)),
            // Not carried out, and under no deadline that was ever named it will be.
            StepResult::Forgotten if definition.kind(step) != Some(Kind::Retriable) => {
                self.learn(step, Learned::Refused)
            }
            StepResult::Forgotten => {
                self.renew_to = Some(renew_to);
                self.learn(step, Learned::Nothing);
            }
            // A refusal that is not kept, doubt, or a compensation by somebody who has taken over.
            StepResult::Refused | StepResult::Compensated | StepResult::Unknown => {
                return Some(Command::ExecuteAgain(step));
            }
        }
        None
    }

    fn answer(&mut self, definition: &Definition, gives_up: bool) -> Option<Command> {
        if self.answered {
            return None;
        }
        let answer = match self.saga.state {
            SagaState::Forward | SagaState::Done if definition.is_accepted(&self.saga) => Answer::Accepted,
            SagaState::Backward | SagaState::Compensated => {
                Answer::Refused(self.saga.steps.iter().position(|state| *state == StepState::Refused))
            }
            SagaState::Forward | SagaState::Done if gives_up => Answer::Unknown,
            SagaState::Forward | SagaState::Done => return None,
        };
        self.answered = true;
        Some(Command::Answer(answer))
    }

    fn proceed(&mut self, definition: &Definition) -> Vec<Command> {
        if self.writing.is_some() {
            return Vec::new();
        }
        match self.saga.state {
            SagaState::Forward => self.forward(definition),
            SagaState::Backward => self.backward(definition),
            SagaState::Done | SagaState::Compensated => Vec::new(),
        }
    }

    fn forward(&mut self, definition: &Definition) -> Vec<Command> {
        if let Some(refused) = self.learned.iter().position(|learned| *learned == Learned::Refused) {
            return self.write(Write::Turn { refused: Some(refused) });
        }
        if self.gives_up && !definition.pivot_may_have_executed(&self.saga) {
            return self.write(Write::Turn { refused: None });
        }
        let executed: Vec<usize> = (0..self.learned.len())
            .filter(|step| self.learned.get(*step) == Some(&Learned::Executed))
            .filter(|step| self.saga.steps.get(*step) == Some(&StepState::Pending))
            .collect();
        let mut known = self.saga.clone();
        for step in &executed {
            if let Some(state) = known.steps.get_mut(*step) {
                *state = StepState::Executed;
            }
        }
        let opens = definition.executable(&known).any(|step| !definition.may_have_started(&self.saga, step));
        let ends = known.steps.iter().all(|state| *state == StepState::Executed);
        if !executed.is_empty() && (opens || ends || definition.is_accepted(&known)) {
            return self.write(Write::Executed(executed));
        }
        if let Some(deadline) = self.renew_to.take() {
            return self.write(Write::Renew(deadline));
        }
        let steps: Vec<usize> = definition.executable(&self.saga).collect();
        self.ask(steps, Command::Execute)
    }

    fn backward(&mut self, definition: &Definition) -> Vec<Command> {
        let undone: Vec<bool> = self.learned.iter().map(|learned| *learned == Learned::Undone).collect();
        let waits =
            |(step, state): (usize, &StepState)| *state == StepState::ToCompensate && undone.get(step) != Some(&true);
        if !self.saga.steps.iter().enumerate().any(waits) {
            return self.write(Write::Compensated);
        }
        let steps = definition.compensatable(&self.saga, &undone);
        self.ask(steps, Command::Compensate)
    }

    fn ask(&mut self, steps: Vec<usize>, command: fn(usize) -> Command) -> Vec<Command> {
        let new = |step: &usize| self.learned.get(*step) == Some(&Learned::Nothing);
        let steps: Vec<usize> = steps.into_iter().filter(new).collect();
        for step in &steps {
            self.learn(*step, Learned::Asked);
        }
        steps.into_iter().map(command).collect()
    }

    fn write(&mut self, write: Write) -> Vec<Command> {
        self.writing = Some(write.clone());
        vec![Command::Write(write)]
    }
}
