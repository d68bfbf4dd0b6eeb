//! One saga under every fault we know of: messages and answers lost, repeated and late, coordinators that die or are
//! taken for dead and go on, writes that land late, watermarks that pass it, collection.
//!
//! The machine and the rules are those of `protocol`. What keeps the states few: what was once sent may arrive at any
//! time, any number of times, or never, so it is kept in a set; and a step that changes nothing is no step.
mod driver;
mod invariants;
pub mod mutant;
mod participant;
mod state;

pub use mutant::SagaMutant;
pub use state::{Driver, Heard, Lossy, Place, Row, Seen, State};

use protocol::saga::owner::{Command, Event, Owner};
use protocol::saga::{Definition, Kind, Step, Write};
use protocol::step::StepResult;
use stateright::{Model, Property};

/// What one exploration covers.
#[derive(Debug, Clone)]
pub struct SagaConfig {
    /// The steps.
    pub definition: Definition,
    /// Which steps may refuse.
    pub may_refuse: Vec<bool>,
    /// How often the saga may be taken over.
    pub takeovers: u64,
    /// It may be given up: its deadline passes, or somebody cancels it.
    pub given_up: bool,
    /// Deadlines up to this one; watermarks stay below it as long as the saga has not ended. With 0 they don't move.
    pub latest_deadline: i64,
    /// A deliberate mistake.
    pub mutant: Option<SagaMutant>,
}

impl SagaConfig {
    /// Steps by their kinds and by what they wait for; all may refuse, and everything may happen.
    pub fn new(steps: &[(Kind, &[usize])]) -> Self {
        let step = |(kind, after): &(Kind, &[usize])| Step { kind: *kind, after: after.to_vec() };
        let definition = Definition::new(steps.iter().map(step).collect()).expect("the steps of a test are a saga");
        SagaConfig {
            definition,
            may_refuse: vec![true; steps.len()],
            takeovers: 1,
            given_up: true,
            latest_deadline: 2,
            mutant: None,
        }
    }

    /// The same without watermarks and collection.
    pub fn without_collection(self) -> Self {
        SagaConfig { latest_deadline: 0, ..self }
    }

    /// The same with this mistake made.
    pub fn with(self, mutant: SagaMutant) -> Self {
        SagaConfig { mutant: Some(mutant), ..self }
    }

    fn makes(&self, mutant: SagaMutant) -> bool {
        self.mutant == Some(mutant)
    }
}

/// One step of the world. Steps and drivers go by their places.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// A coordinator dies.
    Crash(usize),
    /// A coordinator takes the saga over; the other one may live on.
    TakeOver(usize),
    /// The deadline has passed by a driver's clock, or somebody has cancelled.
    GiveUp(usize),
    /// An EXECUTE with this deadline arrives.
    Execute {
        /// The step.
        step: usize,
        /// The deadline.
        deadline: i64,
        /// What the participant says if it is free to choose.
        refuses: bool,
    },
    /// A COMPENSATE with this deadline arrives.
    Compensate(usize, i64),
    /// A driver hears an answer.
    Hears(usize, usize, Heard),
    /// A driver gives up waiting for the answer to its EXECUTE, and sends it again.
    Doubt(usize, usize),
    /// A write is carried out, and the driver learns it or not.
    WriteLands(u64, Write, Option<usize>),
    /// A participant's watermark passes one more deadline.
    Advance(usize),
    /// A coordinator sends END for a saga that has ended.
    SendEnd,
    /// END arrives.
    End(usize),
    /// The row is collected.
    Collect,
    /// The coordinator's database crashes and loses what was not flushed.
    LoseRow,
    /// A participant's database crashes, likewise.
    LosePlace(usize),
}

impl Model for SagaConfig {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        of_drivers(self, state, actions);
        for (epoch, write) in &state.writes {
            actions.push(Action::WriteLands(*epoch, write.clone(), None));
            for (d, driver) in state.drivers.iter().enumerate() {
                if driver.as_ref().is_some_and(|it| it.epoch == *epoch && it.writing.as_ref() == Some(write)) {
                    actions.push(Action::WriteLands(*epoch, write.clone(), Some(d)));
                }
            }
        }
        for (step, deadline) in state.executes.iter().copied() {
            actions.push(Action::Execute { step, deadline, refuses: false });
            if self.may_refuse[step] {
                actions.push(Action::Execute { step, deadline, refuses: true });
            }
        }
        actions.extend(state.compensates.iter().map(|(step, deadline)| Action::Compensate(*step, *deadline)));
        of_collection(self, state, actions);
        if state.row.may_lose() {
            actions.push(Action::LoseRow);
        }
        let losing = state.places.iter().enumerate().filter(|(_, place)| place.may_lose());
        actions.extend(losing.map(|(s, _)| Action::LosePlace(s)));
    }

    fn next_state(&self, last_state: &State, action: Action) -> Option<State> {
        let mut state = last_state.clone();
        step(self, &mut state, action);
        (state != *last_state).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        invariants::all()
    }
}

fn of_drivers(config: &SagaConfig, state: &State, actions: &mut Vec<Action>) {
    let row = state.row.now.as_ref().filter(|row| !row.saga.state.is_ended());
    for (d, driver) in state.drivers.iter().enumerate() {
        if driver.is_none() {
            let tried = state.drivers.iter().flatten().map(|it| it.epoch).max().unwrap_or_default();
            if row.is_some_and(|row| row.epoch.max(tried) <= config.takeovers) {
                actions.push(Action::TakeOver(d));
            }
            continue;
        }
        actions.push(Action::Crash(d));
        if config.given_up {
            actions.push(Action::GiveUp(d));
        }
        actions.extend(state.answers.iter().map(|(s, heard)| Action::Hears(d, *s, *heard)));
        actions.extend((0..state.places.len()).map(|s| Action::Doubt(d, s)));
    }
}

fn of_collection(config: &SagaConfig, state: &State, actions: &mut Vec<Action>) {
    if config.latest_deadline == 0 {
        return;
    }
    let row = state.row.now.as_ref();
    let has_ended = row.is_none_or(|row| row.saga.state.is_ended());
    let highest = if has_ended { config.latest_deadline } else { config.latest_deadline - 1 };
    actions.extend((0..state.places.len()).filter(|s| state.watermarks[*s] < highest).map(Action::Advance));
    if has_ended && row.is_some() {
        actions.push(Action::SendEnd);
    }
    if state.end.is_some() {
        actions.extend((0..state.places.len()).map(Action::End));
    }
    if row.is_some() && state.ended.iter().all(|ended| *ended) {
        actions.push(Action::Collect);
    }
}

fn step(config: &SagaConfig, state: &mut State, action: Action) {
    match action {
        Action::Crash(d) => state.drivers[d] = None,
        Action::TakeOver(d) => driver::take_over(config, state, d),
        Action::GiveUp(d) => driver::give_up(config, state, d),
        Action::Execute { step, deadline, refuses } => {
            let result = participant::execute(config, state, step, deadline, refuses);
            if result != StepResult::Unknown {
                state.answers.insert((step, participant::heard(result, deadline)));
            }
        }
        Action::Compensate(s, deadline) => {
            participant::compensate(config, state, s, deadline);
            state.answers.insert((s, Heard::Compensated));
        }
        Action::Hears(d, s, heard) => driver::hears(config, state, d, s, heard),
        Action::Doubt(d, s) => {
            let doubt = Event::Executed { step: s, result: StepResult::Unknown, deadline: 0, renew_to: 0 };
            driver::feed(config, state, d, doubt);
        }
        Action::WriteLands(epoch, write, answered) => driver::write_lands(config, state, epoch, &write, answered),
        Action::Advance(s) => state.watermarks[s] += 1,
        Action::SendEnd => state.end = state.row.now.as_ref().map(|row| row.saga.deadline),
        Action::End(s) => participant::end(config, state, s, state.end.unwrap_or_default()),
        Action::Collect => state.row.write(None, true),
        Action::LoseRow => state.row.crash(),
        Action::LosePlace(s) => state.places[s].crash(),
    }
}

/// The state after a coordinator has taken the saga over and brought it to its end, with nothing failing. Asked of every
/// reachable state, it says that in none of them it is stuck, whatever became of its owners.
pub fn settle(config: &SagaConfig, state: &State) -> State {
    let mut state = state.clone();
    let Some(row) = state.row.now.clone().filter(|row| !row.saga.state.is_ended()) else { return state };
    state.drivers = [None, None];
    state.writes.clear();
    let epoch = row.epoch + 1;
    state.row.write(Some(Row { epoch, ..row.clone() }), true);
    let mut owner = Owner::new(row.saga);
    let mut commands = owner.on(&config.definition, Event::Start);
    // Far more than any saga of a few steps takes.
    for _ in 0..200 {
        let Some(command) = commands.pop() else { break };
        let deadline = owner.saga().deadline;
        let event = match command {
            Command::Execute(step) | Command::ExecuteAgain(step) => {
                let result = participant::execute(config, &mut state, step, deadline, false);
                Event::Executed { step, result, deadline, renew_to: deadline + 1 }
            }
            Command::Compensate(step) | Command::CompensateAgain(step) => {
                participant::compensate(config, &mut state, step, deadline);
                Event::Compensated { step, acknowledged: true }
            }
            Command::Write(write) => match driver::write(config, &mut state, epoch, &write) {
                Ok(saga) => Event::Written(saga),
                Err(denied) => Event::Denied(denied),
            },
            Command::Answer(_) => continue,
        };
        commands.extend(owner.on(&config.definition, event));
    }
    state
}
