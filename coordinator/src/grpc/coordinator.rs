//! CoordinatorService: what operators ask, and participants in doubt.
use std::sync::Arc;

use participant::transaction::read_id;
use participant::{TransactionRef, names, status};
use proto::assent::transaction::v1 as api;
use proto::assent::transaction::v1::coordinator_service_server::CoordinatorService;
use protocol::Decision;
use protocol::record::RecordState;
use protocol::recovery::Outcome;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{execute, sagas, stuck, wire};
use crate::coordinator::Coordinator;
use crate::recover;
use crate::saga;

const DEFAULT_PAGE: i32 = 50;
const LARGEST_PAGE: i32 = 5_000;

/// What an operator wishes about a saga.
enum Steer {
    Pause,
    Resume,
    Cancel,
}

/// CoordinatorService.
pub struct Transactions {
    coordinator: Arc<Coordinator>,
}

impl Transactions {
    /// The service of this coordinator.
    pub fn new(coordinator: Arc<Coordinator>) -> Self {
        Transactions { coordinator }
    }

    /// Carries out an operator's wish about a saga; to its end, also if the operator goes away.
    async fn steer(&self, transaction_id: &str, steer: Steer) -> Result<api::Saga, Status> {
        let transaction_id = read_id("transaction_id", transaction_id)?;
        let coordinator = self.coordinator.clone();
        let steered = self.coordinator.tasks.spawn(async move {
            match steer {
                Steer::Pause => saga::pause(&coordinator, transaction_id).await,
                Steer::Resume => saga::resume(&coordinator, transaction_id).await,
                Steer::Cancel => saga::cancel(&coordinator, transaction_id).await,
            }
        });
        let steered = steered.await.map_err(|_| Status::internal("the coordinator's log says why"))?;
        steered.map(|row| sagas::saga(&row)).map_err(|denied| sagas::denied(&denied, transaction_id))
    }

    /// Completes what a caller knows of a transaction.
    async fn reference(
        &self,
        transaction: api::TransactionRef,
        participants: Vec<String>,
    ) -> Result<(TransactionRef, Vec<String>), Status> {
        if transaction.deadline_unix_ms != 0 {
            return Ok((TransactionRef::read("transaction", Some(transaction))?, participants));
        }
        let transaction_id = read_id("transaction.transaction_id", &transaction.transaction_id)?;
        let located = recover::locate(&self.coordinator, transaction_id).await;
        let located = located.map_err(|error| status::database(&error))?;
        match located.reference(transaction_id) {
            Some((reference, known)) => Ok((reference, if participants.is_empty() { known } else { participants })),
            None => match located.errors().next() {
                Some(error) => Err(wire::unreachable(format!("no record stands, and {error}"))),
                None => Err(not_found(transaction_id)),
            },
        }
    }
}

#[tonic::async_trait]
impl CoordinatorService for Transactions {
    async fn get_transaction(
        &self,
        request: Request<api::GetTransactionRequest>,
    ) -> Result<Response<api::GetTransactionResponse>, Status> {
        let transaction_id = read_id("transaction_id", &request.get_ref().transaction_id)?;
        let located = recover::locate(&self.coordinator, transaction_id).await;
        let located = located.map_err(|error| status::database(&error))?;
        let saga = match located.record.as_ref().filter(|record| record.is_saga) {
            Some(record) => self.coordinator.store.saga(record.transaction_id).await,
            None => Ok(None),
        };
        let saga = saga.map_err(|error| status::database(&error))?;
        let mut participants: Vec<api::ParticipantView> = Vec::with_capacity(located.rows.len());
        let transaction = located.record.as_ref().map(wire::transaction);
        for (participant, row) in located.rows {
            let (branch, mut error) = match row {
                Ok(row) => (row.map(|row| row.wire), String::new()),
                Err(error) => (None, error.message),
            };
            let mut steps = Vec::new();
            // Where no record stands, any of them may know a step of it.
            let takes_part = match (&saga, &transaction) {
                (Some(saga), _) => saga.steps.iter().any(|it| it.step.participant == participant),
                (None, Some(_)) => false,
                (None, None) => true,
            };
            if let (true, Some(known), true) =
                (takes_part, self.coordinator.participants.get(&participant), error.is_empty())
            {
                match known.steps_of(transaction_id).await {
                    Ok(rows) => steps = rows,
                    Err(unanswered) => error = unanswered.message,
                }
            }
            participants.push(api::ParticipantView { participant, branch, error, steps });
        }
        let is_known =
            |view: &api::ParticipantView| view.branch.is_some() || !view.steps.is_empty() || !view.error.is_empty();
        if transaction.is_none() && !participants.iter().any(is_known) {
            return Err(not_found(transaction_id));
        }
        participants.sort_by(|one, other| one.participant.cmp(&other.participant));
        Ok(Response::new(api::GetTransactionResponse {
            transaction,
            participants,
            saga: saga.as_ref().map(sagas::saga),
        }))
    }

    async fn list_transactions(
        &self,
        request: Request<api::ListTransactionsRequest>,
    ) -> Result<Response<api::ListTransactionsResponse>, Status> {
        let request = request.into_inner();
        let state = state(request.state)?;
        let page_size = match request.page_size {
            0 => DEFAULT_PAGE,
            size if size > 0 => size.min(LARGEST_PAGE),
            size => return Err(status::invalid("page_size", format!("must be zero or more, not {size}"))),
        };
        let before = match request.page_token.as_str() {
            "" => None,
            token => {
                Some(Uuid::try_parse(token).map_err(|_| status::invalid("page_token", "is not one of this list's"))?)
            }
        };
        let mut transactions = match request.stuck {
            true => stuck::list(&self.coordinator, state, before).await?,
            false => {
                let records = self.coordinator.store.list(state, before, i64::from(page_size) + 1).await;
                let records = records.map_err(|error| status::database(&error))?;
                let summary = |record| api::TransactionSummary {
                    transaction: Some(wire::transaction(record)),
                    stuck_reason: String::new(),
                    saga: None,
                };
                records.iter().map(summary).collect()
            }
        };
        let page_size = usize::try_from(page_size).unwrap_or_default();
        let mut next_page_token = String::new();
        if transactions.len() > page_size {
            transactions.truncate(page_size);
            let last = transactions.last().and_then(|summary| summary.transaction.as_ref());
            next_page_token = last.map(|transaction| transaction.transaction_id.clone()).unwrap_or_default();
        }
        sagas::add(&self.coordinator, &mut transactions).await?;
        Ok(Response::new(api::ListTransactionsResponse { transactions, next_page_token }))
    }

    async fn recover_transaction(
        &self,
        request: Request<api::RecoverTransactionRequest>,
    ) -> Result<Response<api::RecoverTransactionResponse>, Status> {
        let api::RecoverTransactionRequest { transaction, participants } = request.into_inner();
        let transaction = transaction.ok_or_else(|| status::invalid("transaction", "is missing"))?;
        names::check(&participants).map_err(|wrong| status::invalid("participants", wrong))?;
        let (transaction, participants) = self.reference(transaction, participants).await?;
        let recovered = recover::recover(&self.coordinator, transaction, participants).await;
        let outcome = match recovered.outcome {
            Outcome::Decided(Decision::Commit) => api::RecoveryOutcome::Committed,
            Outcome::Decided(Decision::Abort) => api::RecoveryOutcome::Aborted,
            Outcome::Forgotten => api::RecoveryOutcome::Forgotten,
            Outcome::InDoubt => api::RecoveryOutcome::InDoubt,
        };
        Ok(Response::new(api::RecoverTransactionResponse { outcome: outcome.into(), detail: recovered.detail }))
    }

    async fn execute_transaction(
        &self,
        request: Request<api::ExecuteTransactionRequest>,
    ) -> Result<Response<api::ExecuteTransactionResponse>, Status> {
        execute::execute(&self.coordinator, request).await.map(Response::new)
    }

    async fn pause_saga(
        &self,
        request: Request<api::PauseSagaRequest>,
    ) -> Result<Response<api::PauseSagaResponse>, Status> {
        let saga = self.steer(&request.get_ref().transaction_id, Steer::Pause).await?;
        Ok(Response::new(api::PauseSagaResponse { saga: Some(saga) }))
    }

    async fn resume_saga(
        &self,
        request: Request<api::ResumeSagaRequest>,
    ) -> Result<Response<api::ResumeSagaResponse>, Status> {
        let saga = self.steer(&request.get_ref().transaction_id, Steer::Resume).await?;
        Ok(Response::new(api::ResumeSagaResponse { saga: Some(saga) }))
    }

    async fn cancel_saga(
        &self,
        request: Request<api::CancelSagaRequest>,
    ) -> Result<Response<api::CancelSagaResponse>, Status> {
        let saga = self.steer(&request.get_ref().transaction_id, Steer::Cancel).await?;
        Ok(Response::new(api::CancelSagaResponse { saga: Some(saga) }))
    }

    async fn audit_records(
        &self,
        _: Request<api::AuditRecordsRequest>,
    ) -> Result<Response<api::AuditRecordsResponse>, Status> {
        let checks = self.coordinator.store.audit().await.map_err(|error| status::database(&error))?;
        Ok(Response::new(api::AuditRecordsResponse { checks: checks.into_iter().map(wire::check).collect() }))
    }
}

fn state(state: i32) -> Result<Option<RecordState>, Status> {
    match api::RecordState::try_from(state) {
        Ok(api::RecordState::Unspecified) => Ok(None),
        Ok(api::RecordState::Staging) => Ok(Some(RecordState::Staging)),
        Ok(api::RecordState::Committed) => Ok(Some(RecordState::Committed)),
        Ok(api::RecordState::Aborted) => Ok(Some(RecordState::Aborted)),
        Err(_) => Err(status::invalid("state", format!("{state} is no state of a record"))),
    }
}

fn not_found(transaction_id: Uuid) -> Status {
    status::not_found("TRANSACTION_NOT_FOUND", "transaction", &transaction_id.to_string())
}

#[cfg(test)]
mod tests {
    use participant::clock::now_unix_ms;

    use super::*;
    use crate::testing::World;

    #[tokio::test]
    async fn names_that_no_record_can_keep_are_refused() {
        let world = World::start().await;
        let transactions = Transactions::new(world.coordinator("one").await);
        let transaction_id = Uuid::now_v7().to_string();
        let recover = async |participants: &[&str]| {
            let transaction =
                api::TransactionRef { transaction_id: transaction_id.clone(), deadline_unix_ms: now_unix_ms() + 1_000 };
            let participants = participants.iter().map(|name| (*name).to_owned()).collect();
            let request = api::RecoverTransactionRequest { transaction: Some(transaction), participants };
            transactions.recover_transaction(Request::new(request)).await.map(|answer| answer.into_inner().outcome())
        };
        for bad in [["inventory", "a\0b"], ["inventory,order", "payment"], ["inventory", ""]] {
            assert_eq!(recover(&bad).await.unwrap_err().code(), tonic::Code::InvalidArgument, "{bad:?}");
        }
        assert_eq!(recover(&["inventory", "elsewhere"]).await.unwrap(), api::RecoveryOutcome::Aborted);
    }
}
