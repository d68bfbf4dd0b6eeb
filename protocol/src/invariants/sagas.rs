//! What must hold of sagas.
use std::collections::BTreeMap;

use super::checks::{Known, Transactions};
use super::{Check, Clock, Invariant, SagaFact};
use crate::record::RecordState;
use crate::saga::SagaState;
use crate::step::StepRow;

/// A saga that has ended is wholly done or wholly compensated, and so says its record.
pub(super) fn wholeness(transactions: &Transactions, clock: &Clock) -> Check {
    let mut check = Check::new(Invariant::SagaWholeness);
    for (id, known) in transactions {
        let Some(saga) = known.saga else {
            for row in known.steps.iter().filter(|row| row.state == StepRow::Executed) {
                check.checked_count += 1;
                // A row whose END was lost may outlive its saga.
                if !clock.may_be_collected(row.deadline_unix_ms) {
                    check.violated(*id, format!("{} took effect at {}, but no saga stands", row.step, row.participant));
                }
            }
            continue;
        };
        check.checked_count += u64::from(saga.state.is_ended());
        for detail in of_record(saga, known).into_iter().chain(of_steps(saga, known, clock)) {
            check.violated(*id, detail);
        }
    }
    check
}

fn of_record(saga: &SagaFact, known: &Known) -> Option<String> {
    let record = known.record?.state;
    let agrees = match saga.state {
        SagaState::Forward => record != RecordState::Aborted,
        SagaState::Done => record == RecordState::Committed,
        SagaState::Backward | SagaState::Compensated => record == RecordState::Aborted,
    };
    (!agrees).then(|| format!("the saga is {:?}, but the record is {record:?}", saga.state))
}

fn of_steps(saga: &SagaFact, known: &Known, clock: &Clock) -> Vec<String> {
    let rows: BTreeMap<(&str, &str), StepRow> =
        known.steps.iter().map(|row| ((row.participant.as_str(), row.step.as_str()), row.state)).collect();
    let old = known.record.is_none_or(|record| clock.may_be_collected(record.deadline_unix_ms));
    let wrong = |step: &&(String, String)| {
        let (name, participant) = *step;
        match (saga.state, rows.get(&(participant.as_str(), name.as_str()))) {
            (SagaState::Done, Some(StepRow::Executed)) => None,
            (SagaState::Done, None) if old => None,
            (SagaState::Done, None) => Some(format!("the saga is done, but {participant} has no row of {name}")),
            (SagaState::Done, Some(state)) => {
                Some(format!("the saga is done, but {name} is {state:?} at {participant}"))
            }
            (SagaState::Compensated, Some(StepRow::Executed)) => {
                Some(format!("the saga is compensated, but {name} took effect at {participant}"))
            }
            _ => None,
        }
    };
    saga.steps.iter().filter_map(|step| wrong(&step)).collect()
}

/// Sagas that had to end by now; a paused one waits for its operator.
pub(super) fn waiting(known: &Known, clock: &Clock) -> Option<String> {
    let (saga, record) = (known.saga?, known.record?);
    let late = !saga.state.is_ended() && !saga.paused && clock.overdue(record.deadline_unix_ms);
    let late_ms = clock.now_unix_ms.saturating_sub(record.deadline_unix_ms);
    late.then(|| format!("the saga has not ended {late_ms} ms after the deadline"))
}
