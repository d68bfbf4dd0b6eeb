//! Steps of sagas on the wire.
use proto::assent::transaction::v1 as api;
use protocol::step::{StepResult, StepRow as State};
use tonic::Status;
use uuid::Uuid;

use super::service::page_size_of;
use super::wire;
use crate::log::{Entry, Log, Reply, StepRef, StepRow};
use crate::transaction::{TransactionRef, read_id};
use crate::{InvalidBranch, Refusal, Resource, names, paging, status};

/// Reads the steps of an EXECUTE.
pub fn executes<R: Resource>(resource: &R, steps: Vec<api::ExecuteStep>) -> Result<Vec<Entry<R::Branch>>, Status> {
    wire::check_count("steps", steps.len())?;
    let read = |(place, asked): (usize, api::ExecuteStep)| {
        let step = step_ref(&format!("steps[{place}].step"), asked.step)?;
        let branch = resource.decode_step(&step.step, &asked.branch).map(Into::into).map_err(unreadable);
        Ok(Entry::Execute { step, bytes: asked.branch, branch, must_succeed: asked.must_succeed })
    };
    steps.into_iter().enumerate().map(read).collect()
}

/// Asked again it would be read no better, and a saga can't turn on an error: this is a refusal, which is kept.
fn unreadable(invalid: InvalidBranch) -> Refusal {
    Refusal::new("INVALID_BRANCH", invalid.to_string()).with("field", invalid.field)
}

/// Reads the steps of a COMPENSATE.
pub fn compensates<B>(steps: Vec<api::CompensateStep>) -> Result<Vec<Entry<B>>, Status> {
    wire::check_count("steps", steps.len())?;
    let read = |(place, asked): (usize, api::CompensateStep)| {
        Ok(Entry::Compensate(step_ref(&format!("steps[{place}].step"), asked.step)?, wire::refusal(asked.refusal)))
    };
    steps.into_iter().enumerate().map(read).collect()
}

/// Reads the steps of an END.
pub fn ends<B>(steps: Vec<api::StepRef>) -> Result<Vec<Entry<B>>, Status> {
    wire::check_count("steps", steps.len())?;
    let read = |(place, step)| Ok(Entry::EndStep(step_ref(&format!("steps[{place}]"), Some(step))?));
    steps.into_iter().enumerate().map(read).collect()
}

fn step_ref(field: &str, step: Option<api::StepRef>) -> Result<StepRef, Status> {
    let step = step.ok_or_else(|| status::invalid(field, "is missing"))?;
    let transaction = TransactionRef::read(format_args!("{field}.transaction"), step.transaction)?;
    names::check_one(&step.step).map_err(|wrong| status::invalid(format!("{field}.step"), wrong))?;
    Ok(StepRef { transaction, step: step.step })
}

/// What became of a step. Whatever is no outcome is doubt.
pub fn result(reply: Reply) -> api::ExecuteResult {
    let (outcome, refusal) = match reply {
        Reply::Stepped(StepResult::Executed, _) => (api::StepOutcome::Executed, None),
        Reply::Stepped(StepResult::Refused, refusal) => (api::StepOutcome::Refused, refusal),
        Reply::Stepped(StepResult::Compensated, refusal) => (api::StepOutcome::Compensated, refusal),
        Reply::Stepped(StepResult::Forgotten, _) => (api::StepOutcome::Forgotten, None),
        Reply::Stepped(StepResult::Unknown, refusal) => (api::StepOutcome::Unknown, refusal),
        Reply::Unknown(cause) => (api::StepOutcome::Unknown, Some(Refusal::new("PARTICIPANT_UNAVAILABLE", cause))),
        Reply::Voted(..) | Reply::Settled(_) | Reply::Ended(_) | Reply::Compensated(_) => {
            (api::StepOutcome::Unknown, None)
        }
    };
    api::ExecuteResult { outcome: outcome.into(), refusal: refusal.map(wire::refusal_to_wire) }
}

/// Lists rows.
pub async fn list(log: &Log, request: api::ListStepsRequest) -> Result<api::ListStepsResponse, Status> {
    let api::ListStepsRequest { transaction_id, page_size, page_token } = request;
    let only = match transaction_id.as_str() {
        "" => None,
        text => Some(read_id("transaction_id", text)?),
    };
    let page_size = page_size_of(page_size)?;
    let list = ["steps", transaction_id.as_str()];
    let position = paging::position(&page_token, &list)?;
    let (after, name) = match position.as_deref().and_then(|position| position.split_once(',')) {
        None => (Uuid::nil(), ""),
        Some((id, name)) => (read_id("page_token", id)?, name),
    };
    let read = log.steps(only, (after, name), i64::from(page_size) + 1).await;
    let read = read.map_err(|error| status::database(&error))?;
    let position = |row: &StepRow| format!("{},{}", row.step.transaction.transaction_id, row.step.step);
    let (rows, next_page_token) = paging::cut(read, usize::try_from(page_size).unwrap_or_default(), &list, position);
    Ok(api::ListStepsResponse { steps: rows.into_iter().map(step).collect(), next_page_token })
}

fn step(row: StepRow) -> api::Step {
    let state = match row.state {
        State::Executed => api::StepState::Executed,
        State::Refused => api::StepState::Refused,
        State::Compensated => api::StepState::Compensated,
    };
    api::Step {
        step: Some(api::StepRef { transaction: Some(row.step.transaction.into()), step: row.step.step }),
        state: state.into(),
        refusal: row.refusal.map(wire::refusal_to_wire),
        create_time: Some(wire::timestamp(row.create_time)),
        update_time: Some(wire::timestamp(row.update_time)),
    }
}
