//! A participant and its database. The rules are [`protocol::step`]'s.
use super::SagaConfig;
use super::mutant::SagaMutant;
use super::state::{Heard, Place, State};
use protocol::branch::End;
use protocol::saga::Kind;
use protocol::step::{self, Compensate, Execute, StepResult, StepRow};

/// Carries out an EXECUTE; returns the answer.
pub(super) fn execute(config: &SagaConfig, state: &mut State, s: usize, deadline: i64, refuses: bool) -> StepResult {
    let place = state.places[s].now;
    let below = deadline <= state.watermarks[s] && !config.makes(SagaMutant::NoWatermark);
    let row = place.row.map(|(row, _)| row).filter(|_| !config.makes(SagaMutant::NoKey));
    let must_succeed = config.definition.kind(s) == Some(Kind::Retriable);
    match step::execute(row, below) {
        Execute::Answer(result) => result,
        Execute::Try if refuses => {
            let keeps = step::keeps_refusal(must_succeed) || config.makes(SagaMutant::RetriableRefusalKept);
            if keeps && !config.makes(SagaMutant::RefusalNotWritten) {
                state.places[s].write(Place { row: Some((StepRow::Refused, deadline)), ..place }, true);
            }
            if keeps { StepResult::Refused } else { StepResult::Unknown }
        }
        Execute::Try => {
            state.seen.key_broken |= state.seen.executed[s] || state.seen.undone[s];
            state.seen.executed[s] = true;
            let after = Place { row: Some((StepRow::Executed, deadline)), effects: place.effects + 1 };
            state.places[s].write(after, !config.makes(SagaMutant::LazyExecution));
            StepResult::Executed
        }
    }
}

/// Carries out a COMPENSATE.
pub(super) fn compensate(config: &SagaConfig, state: &mut State, s: usize, deadline: i64) {
    let place = state.places[s].now;
    let row = place.row.map(|(row, _)| row);
    let latest = place.row.map_or(deadline, |(_, of_row)| of_row.max(deadline));
    let after = Place { row: Some((StepRow::Compensated, latest)), ..place };
    let forced = !config.makes(SagaMutant::LazyCompensation);
    match step::compensate(row, deadline <= state.watermarks[s]) {
        Compensate::Undo => state.places[s].write(Place { effects: place.effects - 1, ..after }, forced),
        Compensate::InsertTombstone if !config.makes(SagaMutant::NoTombstone) => state.places[s].write(after, forced),
        Compensate::InsertTombstone | Compensate::Already | Compensate::Ignore => (),
    }
    state.seen.undone[s] = true;
}

/// Carries out an END.
pub(super) fn end(config: &SagaConfig, state: &mut State, s: usize, deadline: i64) {
    let place = state.places[s].now;
    let of_row = place.row.map(|(_, of_row)| of_row);
    let by = match of_row {
        Some(of_row) if config.makes(SagaMutant::EndByOwnDeadline) => of_row,
        _ => of_row.map_or(deadline, |of_row| of_row.max(deadline)),
    };
    let below = by <= state.watermarks[s] || config.makes(SagaMutant::EndWithoutWatermark);
    match step::end(place.row.map(|(row, _)| row), below) {
        End::Delete => {
            state.places[s].write(Place { row: None, ..place }, true);
            state.ended[s] = true;
        }
        End::Already => state.ended[s] = true,
        End::Later | End::Alarm => (),
    }
}

/// The answer of an EXECUTE as it is under way.
pub(super) fn heard(result: StepResult, deadline: i64) -> Heard {
    Heard::Executed(result, deadline)
}
