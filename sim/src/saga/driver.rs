//! A coordinator that drives the saga, and its database. The machine is [`protocol::saga::owner`]'s, the rules of the row
//! are [`protocol::saga`]'s.
use super::SagaConfig;
use super::mutant::SagaMutant;
use super::state::{Driver, Heard, Row, State};
use protocol::saga::owner::{Answer, Command, Event, Owner};
use protocol::saga::{Definition, Denied, Saga, SagaState, StepState, Write};

/// Feeds a driver, and carries out what it commands.
pub(super) fn feed(config: &SagaConfig, state: &mut State, d: usize, event: Event) {
    let Some(driver) = state.drivers[d].as_mut() else { return };
    let commands = driver.owner.on(&config.definition, event);
    for command in commands {
        carry_out(config, state, d, command);
    }
}

fn carry_out(config: &SagaConfig, state: &mut State, d: usize, command: Command) {
    let Some(driver) = state.drivers[d].as_mut() else { return };
    let (deadline, epoch) = (driver.owner.saga().deadline, driver.epoch);
    match command {
        Command::Execute(s) | Command::ExecuteAgain(s) => {
            state.executes.insert((s, deadline));
        }
        Command::Compensate(s) | Command::CompensateAgain(s) => {
            if config.makes(SagaMutant::CompensatesInAnyOrder) {
                let steps = driver.owner.saga().steps.iter().enumerate();
                let all = steps.filter(|(_, it)| **it == StepState::ToCompensate).map(|(s, _)| (s, deadline));
                state.compensates.extend(all);
            }
            state.compensates.insert((s, deadline));
        }
        Command::Write(write) => submit(config, state, d, epoch, write),
        Command::Answer(Answer::Accepted) => state.seen.accepted = true,
        Command::Answer(Answer::Refused(_)) => state.seen.refused = true,
        Command::Answer(Answer::Unknown) => (),
    }
}

fn submit(config: &SagaConfig, state: &mut State, d: usize, epoch: u64, write: Write) {
    let Some(driver) = state.drivers[d].as_mut() else { return };
    driver.writing = Some(write.clone());
    state.writes.insert((epoch, write.clone()));
    let saga = driver.owner.saga().clone();
    match &write {
        Write::Turn { refused } => {
            if config.makes(SagaMutant::CompensatesBeforeTurn) {
                let steps = 0..saga.steps.len();
                let started = steps.filter(|s| config.definition.may_have_started(&saga, *s) && *refused != Some(*s));
                state.compensates.extend(started.map(|s| (s, saga.deadline)));
            }
            state.seen.refused |= config.makes(SagaMutant::RefusedBeforeTurn);
        }
        Write::Executed(steps) => {
            let all = saga.steps.iter().enumerate().all(|(s, it)| *it == StepState::Executed || steps.contains(&s));
            state.seen.accepted |= config.makes(SagaMutant::AcceptedBeforeDurable) && all;
        }
        Write::Compensated | Write::Renew(_) => (),
    }
    let early = match write {
        Write::Executed(_) => config.makes(SagaMutant::ResultNotDurable),
        Write::Renew(_) => config.makes(SagaMutant::RenewNotDurable),
        _ => false,
    };
    if let (true, Ok(after)) = (early, config.definition.apply(&saga, epoch, epoch, &write)) {
        feed(config, state, d, Event::Written(after));
    }
}

/// A write is carried out; whoever waits for it may learn what became of it.
pub(super) fn write_lands(config: &SagaConfig, state: &mut State, epoch: u64, wanted: &Write, answered: Option<usize>) {
    let result = write(config, state, epoch, wanted);
    if let Some(d) = answered {
        if let Some(driver) = state.drivers[d].as_mut() {
            driver.writing = None;
        }
        let event = match result {
            Ok(saga) => Event::Written(saga),
            Err(denied) => Event::Denied(denied),
        };
        feed(config, state, d, event);
    }
}

/// Changes the row by the rule.
pub(super) fn write(config: &SagaConfig, state: &mut State, epoch: u64, write: &Write) -> Result<Saga, Denied> {
    let Some(row) = state.row.now.clone() else { return Err(Denied::Superseded) };
    let unchecked = config.makes(SagaMutant::TurnPastThePivot) && *write == Write::Turn { refused: None };
    let believed = state.drivers.iter().flatten().find(|driver| driver.epoch == epoch).map(|it| it.owner.saga());
    let mut after = match believed.filter(|_| config.makes(SagaMutant::BlindWrite)) {
        Some(believed) => config.definition.apply(believed, epoch, epoch, write)?,
        None => match config.definition.apply(&row.saga, row.epoch, epoch, write) {
            Err(Denied::PastThePivot) if unchecked && epoch == row.epoch => {
                turned_anyway(&config.definition, &row.saga)
            }
            applied => applied?,
        },
    };
    if config.makes(SagaMutant::UnknownNotCompensated) && matches!(write, Write::Turn { .. }) {
        for (before, state) in row.saga.steps.iter().zip(&mut after.steps) {
            if *before == StepState::Pending && *state == StepState::ToCompensate {
                *state = StepState::Skipped;
            }
        }
    }
    let lazy = match write {
        Write::Turn { .. } => config.makes(SagaMutant::LazyTurn),
        Write::Executed(_) => config.makes(SagaMutant::LazyResult),
        Write::Compensated | Write::Renew(_) => false,
    };
    let seen = &mut state.seen;
    seen.accepted |= config.definition.is_accepted(&after) && after.state != SagaState::Backward;
    seen.refused |= matches!(after.state, SagaState::Backward | SagaState::Compensated);
    seen.done |= after.state == SagaState::Done;
    seen.compensated |= after.state == SagaState::Compensated;
    state.row.write(Some(Row { saga: after.clone(), epoch: row.epoch }), !lazy);
    Ok(after)
}

/// The mistake of a turn that does not ask where the pivot stands.
fn turned_anyway(definition: &Definition, saga: &Saga) -> Saga {
    let steps = (0..saga.steps.len()).map(|s| match definition.may_have_started(saga, s) {
        true => StepState::ToCompensate,
        false => StepState::Skipped,
    });
    Saga { state: SagaState::Backward, steps: steps.collect(), deadline: saga.deadline }
}

/// The deadline passes, or somebody cancels.
pub(super) fn give_up(config: &SagaConfig, state: &mut State, d: usize) {
    feed(config, state, d, Event::GiveUp);
    let Some(driver) = state.drivers[d].as_ref() else { return };
    let saga = driver.owner.saga();
    if config.makes(SagaMutant::TurnPastThePivot) && driver.writing.is_none() && saga.state == SagaState::Forward {
        let epoch = driver.epoch;
        submit(config, state, d, epoch, Write::Turn { refused: None });
    }
}

/// A driver hears an answer.
pub(super) fn hears(config: &SagaConfig, state: &mut State, d: usize, s: usize, heard: Heard) {
    let event = match heard {
        Heard::Compensated => Event::Compensated { step: s, acknowledged: true },
        Heard::Executed(result, deadline) => Event::Executed { step: s, result, deadline, renew_to: deadline + 1 },
    };
    feed(config, state, d, event);
    if config.makes(SagaMutant::EndsBeforeCompensated)
        && let Some(driver) = state.drivers[d].as_ref()
        && driver.owner.saga().state == SagaState::Backward
        && driver.writing.is_none()
    {
        let epoch = driver.epoch;
        submit(config, state, d, epoch, Write::Compensated);
    }
}

/// Another coordinator takes the saga over.
pub(super) fn take_over(config: &SagaConfig, state: &mut State, d: usize) {
    let Some(row) = state.row.now.clone() else { return };
    let epoch = row.epoch + 1;
    state.row.write(Some(Row { epoch, ..row.clone() }), true);
    state.drivers[d] = Some(Driver { owner: Owner::new(row.saga), epoch, writing: None });
    feed(config, state, d, Event::Start);
}
