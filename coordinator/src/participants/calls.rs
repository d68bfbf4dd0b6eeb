//! The rarer calls: END in all its forms, a durable COMMIT, and reads of log rows.
use std::time::Duration;

use participant::{TransactionRef, crash_point};
use proto::assent::transaction::v1 as wire;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use super::Participant;

/// How long an answer is waited for: longer than a participant takes to say that it is in doubt itself.
const TIMEOUT: Duration = Duration::from_millis(2000);

/// A participant could not be asked, or answered something that can't be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{participant}: {message}")]
pub struct CallError {
    /// Which.
    pub participant: String,
    /// What happened.
    pub message: String,
}

/// A participant's log row.
#[derive(Debug, Clone)]
pub struct BranchRow {
    /// Which transaction.
    pub transaction: TransactionRef,
    /// Its state; none where no row stands or the state is not known here.
    pub state: Option<protocol::branch::BranchState>,
    /// All participants; empty on a row that a fence or an abort wrote.
    pub participants: Vec<String>,
    /// The incarnation that drove the attempt; empty likewise.
    pub owner_id: String,
    /// The row as it was sent, to be passed on.
    pub wire: wire::Branch,
}

impl Participant {
    /// One log row.
    pub async fn branch(&self, transaction_id: Uuid) -> Result<Option<BranchRow>, CallError> {
        let request = wire::GetBranchRequest { transaction_id: transaction_id.to_string() };
        let mut client = self.client.clone();
        match self.call(client.get_branch(timed(request))).await?.branch {
            Some(branch) => Ok(Some(self.row(branch)?)),
            None => Ok(None),
        }
    }

    /// Log rows that are in doubt, the oldest first; at most so many.
    pub async fn prepared(&self, limit: i32) -> Result<Vec<BranchRow>, CallError> {
        let request = wire::ListBranchesRequest {
            state: wire::BranchState::Prepared.into(),
            page_size: limit,
            page_token: String::new(),
        };
        let mut client = self.client.clone();
        let response = self.call(client.list_branches(timed(request))).await?;
        response.branches.into_iter().map(|branch| self.row(branch)).collect()
    }

    /// The rows of a saga's steps.
    pub async fn steps_of(&self, transaction_id: Uuid) -> Result<Vec<wire::Step>, CallError> {
        let request = wire::ListStepsRequest {
            transaction_id: transaction_id.to_string(),
            page_size: 0,
            page_token: String::new(),
        };
        let mut client = self.client.clone();
        let listed = async {
            match client.list_steps(timed(request)).await {
                // One that takes no part in sagas has none.
                Err(status) if status.code() == Code::Unimplemented => Ok(tonic::Response::new(Default::default())),
                answer => answer,
            }
        };
        Ok(self.call(listed).await?.steps)
    }

    /// END of steps, each with the latest deadline of its saga: for each, whether it was acknowledged.
    pub async fn end_steps(&self, steps: &[(TransactionRef, String)]) -> Result<Vec<bool>, CallError> {
        let step = |(transaction, step): &(TransactionRef, String)| wire::StepRef {
            transaction: Some((*transaction).into()),
            step: step.clone(),
        };
        let steps = steps.iter().map(step).collect();
        let mut client = self.client.clone();
        crash_point::pass("end_steps.before_send");
        let answer = self.call(client.end_steps(timed(wire::EndStepsRequest { steps }))).await;
        crash_point::pass("end_steps.after_send");
        Ok(acknowledged(&answer?.acknowledgements))
    }

    /// COMMIT, answered only when durable: for each, whether it was acknowledged.
    pub async fn commit_durably(&self, transactions: &[TransactionRef]) -> Result<Vec<bool>, CallError> {
        let transactions: Vec<wire::TransactionRef> = transactions.iter().map(|&each| each.into()).collect();
        let mut client = self.client.clone();
        crash_point::pass("durable.before_send");
        let answer = self.call(client.commit(timed(wire::CommitRequest { transactions, durable: true }))).await;
        crash_point::pass("durable.after_send");
        Ok(acknowledged(&answer?.acknowledgements))
    }

    /// END: for each, whether it was acknowledged.
    pub async fn end(&self, transactions: &[TransactionRef]) -> Result<Vec<bool>, CallError> {
        let transactions: Vec<wire::TransactionRef> = transactions.iter().map(|&each| each.into()).collect();
        let mut client = self.client.clone();
        crash_point::pass("end.before_send");
        let answer = self.call(client.end(timed(wire::EndRequest { transactions }))).await;
        crash_point::pass("end.after_send");
        Ok(acknowledged(&answer?.acknowledgements))
    }

    /// The highest horizon, no higher than this one, at or below which nothing is PREPARED there, durably.
    pub async fn confirm_horizon(&self, horizon_unix_ms: i64) -> Result<i64, CallError> {
        let mut client = self.client.clone();
        crash_point::pass("confirm_horizon.before_send");
        let answer = self.call(client.confirm_horizon(timed(wire::ConfirmHorizonRequest { horizon_unix_ms }))).await;
        crash_point::pass("confirm_horizon.after_send");
        Ok(answer?.horizon_unix_ms)
    }

    /// END of all transactions up to a horizon: up to which one it is noted there.
    pub async fn end_horizon(&self, horizon_unix_ms: i64) -> Result<i64, CallError> {
        let mut client = self.client.clone();
        crash_point::pass("end_horizon.before_send");
        let answer = self.call(client.end_horizon(timed(wire::EndHorizonRequest { horizon_unix_ms }))).await;
        crash_point::pass("end_horizon.after_send");
        Ok(answer?.horizon_unix_ms)
    }

    async fn call<T>(&self, call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, CallError> {
        let described = |status| CallError { participant: self.name.clone(), message: describe(&status) };
        in_time(call).await.map(tonic::Response::into_inner).map_err(described)
    }

    fn row(&self, branch: wire::Branch) -> Result<BranchRow, CallError> {
        let bad =
            |what: &str| CallError { participant: self.name.clone(), message: format!("answered a row that {what}") };
        let reference = branch.transaction.as_ref().ok_or_else(|| bad("names no transaction"))?;
        let transaction_id = reference.transaction_id.parse().map_err(|_| bad("has no UUID"))?;
        let state = match branch.state() {
            wire::BranchState::Prepared => Some(protocol::branch::BranchState::Prepared),
            wire::BranchState::Committed => Some(protocol::branch::BranchState::Committed),
            wire::BranchState::Aborted => Some(protocol::branch::BranchState::Aborted),
            wire::BranchState::Unspecified => None,
        };
        Ok(BranchRow {
            transaction: TransactionRef { transaction_id, deadline_unix_ms: reference.deadline_unix_ms },
            state,
            participants: branch.participants.clone(),
            owner_id: branch.owner_id.clone(),
            wire: branch,
        })
    }
}

/// A request that says for how long it is waited for.
pub fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    request
}

/// Waits for an answer, no longer than that. A peer that has stopped reading never sees the deadline in the header, so it is kept
/// here as well.
pub async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = || Status::deadline_exceeded(format!("no answer within {} ms", TIMEOUT.as_millis()));
    tokio::time::timeout(TIMEOUT, call).await.unwrap_or_else(|_| Err(late()))
}

fn acknowledged(acknowledgements: &[i32]) -> Vec<bool> {
    acknowledgements
        .iter()
        .map(|&acknowledgement| {
            matches!(
                wire::Acknowledgement::try_from(acknowledgement),
                Ok(wire::Acknowledgement::Done | wire::Acknowledgement::Ignored)
            )
        })
        .collect()
}

/// A status in a few words, with what lies behind a failed connection.
pub fn describe(status: &Status) -> String {
    let mut text = match status.code() {
        Code::Unavailable => "can't be reached".to_owned(),
        code => format!("{code:?}"),
    };
    if !status.message().is_empty() {
        text = format!("{text} ({})", status.message());
    }
    let mut cause = std::error::Error::source(status);
    let mut last = String::new();
    while let Some(error) = cause {
        last = error.to_string();
        cause = error.source();
    }
    if !last.is_empty() && !text.contains(&last) {
        text = format!("{text}: {last}");
    }
    text
}
