//! Transactions whose branches the coordinator does not understand.
use std::collections::HashMap;
use std::sync::Arc;

use participant::{caller, crash_point, status};
use proto::assent::transaction::v1 as api;
use proto::limits;
use protocol::saga::Kind;
use tonic::{Request, Status};
use uuid::Uuid;

use super::answers::{not_accepted, turned_away};
use super::order::{timeout, timestamp};
use crate::admission::Known;
use crate::content::{Content, DEFAULT_KIND};
use crate::coordinator::Coordinator;
use crate::domain::Invalid;
use crate::owner::{self, Answer};
use crate::saga;
use crate::store::NewStep;

/// Time from a saga's beginning until a step must be done, at most: a day.
const MAX_STEP_TIMEOUT_MS: i32 = 86_400_000;

/// Carries one out.
pub async fn execute(
    coordinator: &Arc<Coordinator>,
    request: Request<api::ExecuteTransactionRequest>,
) -> Result<api::ExecuteTransactionResponse, Status> {
    crash_point::pass("place.received");
    let client_id = caller::client_id(&request)?;
    let is_retry = request.metadata().contains_key("grpc-previous-rpc-attempts");
    let api::ExecuteTransactionRequest { request_id, mode, branches, timeout_ms } = request.into_inner();
    let known = Known { client_id: &client_id, request_id: &request_id, is_retry };
    let admitted = coordinator.admission.admit(known, &coordinator.active);
    let admitted = admitted.map_err(|overloaded| turned_away(&overloaded, &request_id))?;
    let is_saga = match api::TransactionMode::try_from(mode) {
        Ok(api::TransactionMode::Saga) => true,
        Ok(api::TransactionMode::Atomic | api::TransactionMode::Unspecified) => false,
        Err(_) => return Err(status::invalid("mode", format!("{mode} is no mode of a transaction"))),
    };
    let branches = read(coordinator, branches)?;
    let content = if is_saga { Content::of_steps(branches)? } else { Content::of_branches(branches)? };
    let timeout = timeout(timeout_ms, coordinator.args.transaction_timeout_ms)?;
    let request_id = if request_id.is_empty() { Uuid::now_v7().to_string() } else { request_id };
    limits::check_request_id(&request_id).map_err(|wrong| status::invalid("request_id", wrong))?;
    let request = owner::Request {
        client_id,
        request_id: request_id.clone(),
        content,
        timeout,
        deadline_unix_ms: None,
        is_retry,
        admitted,
    };
    let answer = match is_saga {
        true => saga::place(coordinator, request).await,
        false => owner::place(coordinator, request).await,
    };
    match answer {
        Answer::Accepted { order_id, create_time } => Ok(api::ExecuteTransactionResponse {
            transaction_id: order_id.to_string(),
            create_time: Some(timestamp(create_time)),
        }),
        answer => Err(not_accepted(answer, &request_id)),
    }
}

fn read(coordinator: &Coordinator, branches: Vec<api::TransactionBranch>) -> Result<Vec<NewStep>, Invalid> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut steps = Vec::with_capacity(branches.len());
    for (place, asked) in branches.into_iter().enumerate() {
        let at = |field: &str| format!("branches[{place}].{field}");
        if coordinator.participants.get(&asked.participant).is_none() {
            let wrong = format!("no participant is called {:?} here; see --participants", asked.participant);
            return Err(Invalid::new(at("participant"), wrong));
        }
        let kind = match api::StepKind::try_from(asked.kind) {
            Ok(api::StepKind::Unspecified) => DEFAULT_KIND,
            Ok(api::StepKind::Compensatable) => Kind::Compensatable,
            Ok(api::StepKind::Pivot) => Kind::Pivot,
            Ok(api::StepKind::Retriable) => Kind::Retriable,
            Err(_) => return Err(Invalid::new(at("kind"), format!("{} is no kind of a step", asked.kind))),
        };
        let mut after = Vec::with_capacity(asked.after.len());
        for name in asked.after {
            let before = places.get(&name).copied();
            after.push(
                before.ok_or_else(|| Invalid::new(at("after"), format!("no step before it is called {name:?}")))?,
            );
        }
        let name = if asked.step.is_empty() { asked.participant.clone() } else { asked.step };
        places.insert(name.clone(), place);
        let timeout_ms = match asked.timeout_ms {
            0 => None,
            _ if kind == Kind::Retriable => {
                return Err(Invalid::new(at("timeout_ms"), "is not for a step that is retried until it succeeds"));
            }
            timeout_ms @ 1..=MAX_STEP_TIMEOUT_MS => Some(timeout_ms),
            other => {
                let wrong = format!("must be from 0 to {MAX_STEP_TIMEOUT_MS}, not {other}");
                return Err(Invalid::new(at("timeout_ms"), wrong));
            }
        };
        steps.push(NewStep { name, participant: asked.participant, kind, after, branch: asked.branch, timeout_ms });
    }
    Ok(steps)
}
