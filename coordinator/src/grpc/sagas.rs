//! Sagas on the wire.
use std::collections::BTreeMap;

use participant::status;
use proto::assent::transaction::v1 as api;
use protocol::saga::{Kind, SagaState, StepState};
use tonic::{Code, Status};
use uuid::Uuid;

use super::order::timestamp;
use super::wire;
use crate::coordinator::Coordinator;
use crate::saga::Steering;
use crate::store::{SagaRow, SagaStep};

/// A saga.
pub fn saga(row: &SagaRow) -> api::Saga {
    let name = |place: &usize| row.steps.get(*place).map(|it| it.step.name.clone()).unwrap_or_default();
    let step = |(it, state): (&SagaStep, &StepState)| api::SagaStep {
        name: it.step.name.clone(),
        participant: it.step.participant.clone(),
        kind: kind(it.step.kind).into(),
        after: it.step.after.iter().map(name).collect(),
        state: step_state(*state).into(),
        attempt_count: it.attempt_count,
        next_attempt_time: it.next_attempt_time.map(timestamp),
        last_error: it.last_error.clone(),
        timeout_ms: it.step.timeout_ms.unwrap_or_default(),
    };
    api::Saga {
        state: state(row.saga.state).into(),
        paused: row.paused,
        epoch: i64::try_from(row.epoch).unwrap_or(i64::MAX),
        steps: row.steps.iter().zip(&row.saga.steps).map(step).collect(),
        end_time: row.end_time.map(timestamp),
    }
}

fn state(state: SagaState) -> api::SagaState {
    match state {
        SagaState::Forward => api::SagaState::Forward,
        SagaState::Backward => api::SagaState::Backward,
        SagaState::Done => api::SagaState::Done,
        SagaState::Compensated => api::SagaState::Compensated,
    }
}

fn kind(kind: Kind) -> api::StepKind {
    match kind {
        Kind::Compensatable => api::StepKind::Compensatable,
        Kind::Pivot => api::StepKind::Pivot,
        Kind::Retriable => api::StepKind::Retriable,
    }
}

fn step_state(state: StepState) -> api::SagaStepState {
    match state {
        StepState::Pending => api::SagaStepState::Pending,
        StepState::Executed => api::SagaStepState::Executed,
        StepState::Refused => api::SagaStepState::Refused,
        StepState::Skipped => api::SagaStepState::Skipped,
        StepState::ToCompensate => api::SagaStepState::ToCompensate,
        StepState::Compensated => api::SagaStepState::Compensated,
    }
}

/// Adds their sagas to transactions that are ones.
pub async fn add(coordinator: &Coordinator, summaries: &mut [api::TransactionSummary]) -> Result<(), Status> {
    let id = |summary: &api::TransactionSummary| -> Option<Uuid> {
        let transaction = summary.transaction.as_ref()?;
        let is_saga = transaction.mode() == api::TransactionMode::Saga;
        if is_saga { transaction.transaction_id.parse().ok() } else { None }
    };
    let ids: Vec<Uuid> = summaries.iter().filter_map(id).collect();
    let sagas = coordinator.store.sagas(&ids).await.map_err(|error| status::database(&error))?;
    for summary in summaries {
        summary.saga = id(summary).and_then(|id| sagas.get(&id)).map(saga);
    }
    Ok(())
}

/// Sagas that are paused, or have not ended though their deadline has passed, and what each waits for.
pub async fn stuck(coordinator: &Coordinator, now: i64, limit: i64) -> Result<Vec<api::TransactionSummary>, Status> {
    let store = &coordinator.store;
    let ids = store.late_sagas(now, limit).await.map_err(|error| status::database(&error))?;
    let (records, sagas) = tokio::join!(store.records(&ids), store.sagas(&ids));
    let (records, sagas) =
        (records.map_err(|error| status::database(&error))?, sagas.map_err(|error| status::database(&error))?);
    let summary = |record: crate::store::Record| {
        let row = sagas.get(&record.transaction_id)?;
        if row.saga.state.is_ended() {
            return None;
        }
        Some(api::TransactionSummary {
            transaction: Some(wire::transaction(&record)),
            stuck_reason: why_stuck(row, now - record.deadline_unix_ms),
            saga: Some(saga(row)),
        })
    };
    Ok(records.into_iter().filter_map(summary).collect())
}

fn why_stuck(row: &SagaRow, late_ms: i64) -> String {
    if row.paused {
        return "paused by an operator".to_owned();
    }
    let open = row.steps.iter().filter(|it| it.next_attempt_time.is_some()).map(|it| {
        format!("{} at {} ({} tries: {})", it.step.name, it.step.participant, it.attempt_count, it.last_error)
    });
    let open: Vec<String> = open.collect();
    match open.is_empty() {
        true => format!("not ended {late_ms} ms after its deadline"),
        false => format!("not ended {late_ms} ms after its deadline: waits for {}", open.join(" and ")),
    }
}

/// Why an operator's wish can't be met, as a status.
pub fn denied(denied: &Steering, transaction_id: Uuid) -> Status {
    let failed = |reason| {
        let metadata = BTreeMap::from([("transaction_id".to_owned(), transaction_id.to_string())]);
        status::error(Code::FailedPrecondition, reason, denied.to_string(), &metadata)
    };
    match denied {
        Steering::NotFound => status::not_found("SAGA_NOT_FOUND", "saga", &transaction_id.to_string()),
        Steering::Ended => failed("SAGA_ENDED"),
        Steering::PastThePivot => failed("PAST_THE_PIVOT"),
        Steering::Doubt(_) => wire::unreachable(denied.to_string()),
    }
}
