//! A saga: steps that each take effect by themselves, forward to the end or, before the pivot, backward by compensation.
//!
//! - [`Definition`]: which steps there are, what each waits for, and which of them can be undone.
//! - [`Saga`]: what stands in the coordinator's row. [`Definition::apply`] is the only way in which it changes: a forced
//!   compare-and-set under the owner's epoch, which whoever takes over increments.
//! - [`owner`]: the machine that drives a saga from its row, at the start and after any takeover.
//!
//! That a step may have been started is not written down. It follows from the row: a step is started only after the
//! results of all steps that it waits for stand there.
mod definition;
pub mod owner;

pub use definition::{Definition, Kind, Malformed, Step};

/// Where a saga stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SagaState {
    /// Its steps are being executed.
    Forward,
    /// It has turned: what may have taken effect is being compensated.
    Backward,
    /// Ended: every step took effect.
    Done,
    /// Ended: no step has an effect.
    Compensated,
}

impl SagaState {
    /// Whether the state never changes again.
    pub fn is_ended(self) -> bool {
        matches!(self, SagaState::Done | SagaState::Compensated)
    }
}

/// Where a step stands, by the coordinator's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StepState {
    /// No result is known; it may have been started ([`Definition::may_have_started`]).
    Pending,
    /// It took effect.
    Executed,
    /// It was refused; the saga has turned for it.
    Refused,
    /// The saga has turned, and nobody had started it.
    Skipped,
    /// The saga has turned, and it may have taken effect.
    ToCompensate,
    /// It has no effect any more, or never had, and never will.
    Compensated,
}

/// What stands in the coordinator's row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Saga {
    /// Where it stands.
    pub state: SagaState,
    /// Where its steps stand.
    pub steps: Vec<StepState>,
    /// The latest deadline that any message about it names: no EXECUTE is carried out once the participant's watermark
    /// has passed it.
    pub deadline: i64,
}

/// A change of the row. Each is forced before anything is done that depends on it, and may be repeated.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Write {
    /// These steps took effect. The last one ends the saga.
    Executed(Vec<usize>),
    /// The saga turns.
    Turn {
        /// The step whose refusal is the reason; none if it was given up.
        refused: Option<usize>,
    },
    /// Everything that had to be is compensated, which ends the saga.
    Compensated,
    /// From now on EXECUTEs name this deadline.
    Renew(i64),
}

/// Why a change was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Denied {
    /// Another owner has taken the saga over: whoever asked has nothing more to do with it.
    Superseded,
    /// The pivot may have taken effect: there is no way back any more.
    PastThePivot,
    /// It contradicts what stands.
    Contradiction,
}

impl Definition {
    /// The row at the start.
    pub fn begin(&self, deadline: i64) -> Saga {
        Saga { state: SagaState::Forward, steps: vec![StepState::Pending; self.steps().len()], deadline }
    }

    /// Whether anyone may have sent this step's EXECUTE.
    pub fn may_have_started(&self, saga: &Saga, step: usize) -> bool {
        self.after(step).all(|before| saga.steps.get(before) == Some(&StepState::Executed))
    }

    /// Whether the pivot may have taken effect, by the row alone.
    pub fn pivot_may_have_executed(&self, saga: &Saga) -> bool {
        self.pivot().is_some_and(|pivot| self.may_have_started(saga, pivot))
    }

    /// Whether there is no way back any more, so that it may be called accepted: the pivot took effect, or, where there
    /// is none, everything did.
    pub fn is_accepted(&self, saga: &Saga) -> bool {
        match self.pivot() {
            Some(pivot) => saga.steps.get(pivot) == Some(&StepState::Executed),
            None => saga.state == SagaState::Done,
        }
    }

    /// Changes a row under an epoch: the row afterwards, or why it stays as it is.
    pub fn apply(&self, saga: &Saga, stands_epoch: u64, epoch: u64, write: &Write) -> Result<Saga, Denied> {
        if epoch != stands_epoch {
            return Err(Denied::Superseded);
        }
        let mut after = saga.clone();
        match write {
            Write::Executed(steps) => self.executed(&mut after, steps)?,
            Write::Turn { refused } => self.turn(&mut after, *refused)?,
            Write::Compensated => compensated(&mut after)?,
            Write::Renew(deadline) if saga.state == SagaState::Forward => after.deadline = saga.deadline.max(*deadline),
            Write::Renew(_) => return Err(Denied::Contradiction),
        }
        Ok(after)
    }

    fn executed(&self, saga: &mut Saga, steps: &[usize]) -> Result<(), Denied> {
        for step in steps {
            match saga.steps.get_mut(*step) {
                Some(StepState::Executed) => (),
                Some(state @ StepState::Pending) if saga.state == SagaState::Forward => *state = StepState::Executed,
                _ => return Err(Denied::Contradiction),
            }
        }
        if saga.steps.iter().all(|state| *state == StepState::Executed) {
            saga.state = SagaState::Done;
        }
        Ok(())
    }

    fn turn(&self, saga: &mut Saga, refused: Option<usize>) -> Result<(), Denied> {
        match saga.state {
            SagaState::Backward | SagaState::Compensated => return Ok(()),
            SagaState::Done => return Err(Denied::PastThePivot),
            SagaState::Forward => (),
        }
        if self.pivot_may_have_executed(saga) && refused != self.pivot() {
            return Err(Denied::PastThePivot);
        }
        let turned = saga.steps.iter().enumerate().map(|(step, state)| match state {
            StepState::Pending if refused == Some(step) => StepState::Refused,
            StepState::Pending if self.may_have_started(saga, step) => StepState::ToCompensate,
            StepState::Executed => StepState::ToCompensate,
            _ => StepState::Skipped,
        });
        saga.steps = turned.collect();
        saga.state = SagaState::Backward;
        Ok(())
    }

    /// Steps whose EXECUTE may be sent: all that they wait for took effect, by the row.
    pub fn executable(&self, saga: &Saga) -> impl Iterator<Item = usize> {
        let may = |step: &usize| {
            saga.state == SagaState::Forward
                && saga.steps.get(*step) == Some(&StepState::Pending)
                && self.may_have_started(saga, *step)
        };
        (0..saga.steps.len()).filter(may)
    }

    /// Steps whose COMPENSATE may be sent: nothing that waited for them has an effect any more. `undone` are those whose
    /// compensation is known but not yet written down.
    pub fn compensatable(&self, saga: &Saga, undone: &[bool]) -> Vec<usize> {
        if saga.state != SagaState::Backward {
            return Vec::new();
        }
        let to_compensate = saga.steps.iter().enumerate().filter(|(_, state)| **state == StepState::ToCompensate);
        let waiting: Vec<usize> =
            to_compensate.map(|(step, _)| step).filter(|step| undone.get(*step) != Some(&true)).collect();
        let is_free = |step: usize| !waiting.iter().any(|later| self.after(*later).any(|before| before == step));
        waiting.iter().copied().filter(|step| is_free(*step)).collect()
    }
}

fn compensated(saga: &mut Saga) -> Result<(), Denied> {
    match saga.state {
        SagaState::Compensated => Ok(()),
        SagaState::Backward => {
            for state in saga.steps.iter_mut().filter(|state| **state == StepState::ToCompensate) {
                *state = StepState::Compensated;
            }
            saga.state = SagaState::Compensated;
            Ok(())
        }
        SagaState::Forward | SagaState::Done => Err(Denied::Contradiction),
    }
}
