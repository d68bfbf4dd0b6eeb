//! The RPCs of ParticipantService.
use std::sync::Arc;

use proto::assent::transaction::v1 as api;
use proto::assent::transaction::v1::participant_service_server::ParticipantService;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{steps, wire};
use crate::log::{Entry, Log, Origin, Reply};
use crate::transaction::{TransactionRef, read_id};
use crate::writers::Writers;
use crate::{Resource, crash_point, names, paging, status};

const DEFAULT_PAGE: i32 = 100;
const LARGEST_PAGE: i32 = 5_000;

/// ParticipantService of a service.
pub struct Participant<R: Resource> {
    resource: Arc<R>,
    name: String,
    writers: Writers<R>,
    log: Log,
}

impl<R: Resource> Participant<R> {
    /// The service on its log; coordinators know it by this name.
    pub fn new(resource: Arc<R>, name: String, writers: Writers<R>, log: Log) -> Self {
        Participant { resource, name, writers, log }
    }

    async fn write(&self, entries: Vec<Entry<R::Branch>>) -> Result<Vec<Reply>, Status> {
        self.writers.submit_all(entries).await.map_err(wire::stopped)
    }

    /// Reads the branches of a PREPARE. Neighbours mostly come from one coordinator and have the same participants.
    fn prepare_entries(&self, branches: Vec<api::PrepareBranch>) -> Result<Vec<Entry<R::Branch>>, Status> {
        let mut entries = Vec::with_capacity(branches.len());
        let mut last: Option<(Vec<String>, Arc<Origin>)> = None;
        for (place, asked) in branches.into_iter().enumerate() {
            let field = format_args!("branches[{place}]");
            let api::PrepareBranch { transaction, participants, owner_id, branch: bytes } = asked;
            let transaction = TransactionRef::read(format_args!("{field}.transaction"), transaction)?;
            let origin = match &last {
                Some((names, origin)) if *names == participants && origin.owner_id == owner_id => origin.clone(),
                _ => {
                    wire::check_names(field, &self.name, &participants, &owner_id)?;
                    let origin = Arc::new(Origin { participants: names::join(&participants), owner_id });
                    last = Some((participants, origin.clone()));
                    origin
                }
            };
            let branch = self.resource.decode(&bytes).map_err(|invalid| {
                status::invalid(format!("branches[{place}].{}", invalid.field), invalid.description)
            })?;
            entries.push(Entry::Prepare { transaction, origin, bytes, branch: Arc::new(branch) });
        }
        Ok(entries)
    }
}

/// The size of a page of rows.
pub(super) fn page_size_of(page_size: i32) -> Result<i32, Status> {
    match page_size {
        0 => Ok(DEFAULT_PAGE),
        size if size > 0 => Ok(size.min(LARGEST_PAGE)),
        size => Err(status::invalid("page_size", format!("must be zero or more, not {size}"))),
    }
}

fn acknowledgements(replies: Vec<Reply>) -> Vec<i32> {
    replies.into_iter().map(|reply| wire::acknowledgement(reply).into()).collect()
}

#[tonic::async_trait]
impl<R: Resource> ParticipantService for Participant<R> {
    async fn prepare(&self, request: Request<api::PrepareRequest>) -> Result<Response<api::PrepareResponse>, Status> {
        crash_point::pass("prepare.received");
        let branches = request.into_inner().branches;
        wire::check_count("branches", branches.len())?;
        let replies = self.write(self.prepare_entries(branches)?).await?;
        let result = |reply| {
            let (vote, refusal) = wire::vote(reply);
            api::PrepareResult { vote: vote.into(), refusal }
        };
        let results = replies.into_iter().map(result).collect();
        crash_point::pass("prepare.before_reply");
        Ok(Response::new(api::PrepareResponse { results }))
    }

    async fn commit(&self, request: Request<api::CommitRequest>) -> Result<Response<api::CommitResponse>, Status> {
        crash_point::pass("commit.received");
        let api::CommitRequest { transactions, durable } = request.into_inner();
        let references = wire::references(transactions)?.into_iter();
        let entries = references.map(|transaction| Entry::Commit { transaction, durable }).collect();
        let acknowledgements = acknowledgements(self.write(entries).await?);
        crash_point::pass("commit.before_reply");
        Ok(Response::new(api::CommitResponse { acknowledgements }))
    }

    async fn abort(&self, request: Request<api::AbortRequest>) -> Result<Response<api::AbortResponse>, Status> {
        crash_point::pass("abort.received");
        let branches = request.into_inner().branches;
        wire::check_count("branches", branches.len())?;
        let read = |(place, asked): (usize, api::AbortBranch)| {
            let reference = TransactionRef::read(format_args!("branches[{place}].transaction"), asked.transaction)?;
            Ok(Entry::Abort(reference, wire::refusal(asked.refusal)))
        };
        let entries = branches.into_iter().enumerate().map(read).collect::<Result<Vec<_>, Status>>()?;
        let acknowledgements = acknowledgements(self.write(entries).await?);
        crash_point::pass("abort.before_reply");
        Ok(Response::new(api::AbortResponse { acknowledgements }))
    }

    async fn fence(&self, request: Request<api::FenceRequest>) -> Result<Response<api::FenceResponse>, Status> {
        let references = wire::references(request.into_inner().transactions)?;
        // Once for each: after a crash many are fenced in one call.
        references.iter().for_each(|_| crash_point::pass("fence.received"));
        let replies = self.write(references.into_iter().map(Entry::Fence).collect()).await?;
        let result = |reply| {
            let (vote, refusal) = wire::vote(reply);
            api::FenceResult { vote: vote.into(), refusal }
        };
        let results: Vec<api::FenceResult> = replies.into_iter().map(result).collect();
        results.iter().for_each(|_| crash_point::pass("fence.before_reply"));
        Ok(Response::new(api::FenceResponse { results }))
    }

    async fn end(&self, request: Request<api::EndRequest>) -> Result<Response<api::EndResponse>, Status> {
        crash_point::pass("end.received");
        let references = wire::references(request.into_inner().transactions)?;
        let acknowledgements = acknowledgements(self.write(references.into_iter().map(Entry::End).collect()).await?);
        crash_point::pass("end.before_reply");
        Ok(Response::new(api::EndResponse { acknowledgements }))
    }

    async fn confirm_horizon(
        &self,
        request: Request<api::ConfirmHorizonRequest>,
    ) -> Result<Response<api::ConfirmHorizonResponse>, Status> {
        crash_point::pass("confirm_horizon.received");
        let confirmed = self.log.confirm_horizon(request.into_inner().horizon_unix_ms).await;
        let horizon_unix_ms = confirmed.map_err(|error| status::database(&error))?;
        crash_point::pass("confirm_horizon.before_reply");
        Ok(Response::new(api::ConfirmHorizonResponse { horizon_unix_ms }))
    }

    async fn end_horizon(
        &self,
        request: Request<api::EndHorizonRequest>,
    ) -> Result<Response<api::EndHorizonResponse>, Status> {
        crash_point::pass("end_horizon.received");
        let ended = self.log.end_horizon(request.into_inner().horizon_unix_ms).await;
        let horizon_unix_ms = ended.map_err(|error| status::database(&error))?;
        crash_point::pass("end_horizon.before_reply");
        Ok(Response::new(api::EndHorizonResponse { horizon_unix_ms }))
    }

    async fn execute(&self, request: Request<api::ExecuteRequest>) -> Result<Response<api::ExecuteResponse>, Status> {
        crash_point::pass("execute.received");
        let entries = steps::executes(&*self.resource, request.into_inner().steps)?;
        let results = self.write(entries).await?.into_iter().map(steps::result).collect();
        crash_point::pass("execute.before_reply");
        Ok(Response::new(api::ExecuteResponse { results }))
    }

    async fn compensate(
        &self,
        request: Request<api::CompensateRequest>,
    ) -> Result<Response<api::CompensateResponse>, Status> {
        crash_point::pass("compensate.received");
        let entries = steps::compensates(request.into_inner().steps)?;
        let acknowledgements = acknowledgements(self.write(entries).await?);
        crash_point::pass("compensate.before_reply");
        Ok(Response::new(api::CompensateResponse { acknowledgements }))
    }

    async fn end_steps(
        &self,
        request: Request<api::EndStepsRequest>,
    ) -> Result<Response<api::EndStepsResponse>, Status> {
        let entries = steps::ends(request.into_inner().steps)?;
        Ok(Response::new(api::EndStepsResponse { acknowledgements: acknowledgements(self.write(entries).await?) }))
    }

    async fn list_steps(
        &self,
        request: Request<api::ListStepsRequest>,
    ) -> Result<Response<api::ListStepsResponse>, Status> {
        steps::list(&self.log, request.into_inner()).await.map(Response::new)
    }

    async fn get_branch(
        &self,
        request: Request<api::GetBranchRequest>,
    ) -> Result<Response<api::GetBranchResponse>, Status> {
        let transaction_id = read_id("transaction_id", &request.get_ref().transaction_id)?;
        let row = self.log.get(transaction_id).await.map_err(|error| status::database(&error))?;
        Ok(Response::new(api::GetBranchResponse { branch: row.map(wire::branch) }))
    }

    async fn list_branches(
        &self,
        request: Request<api::ListBranchesRequest>,
    ) -> Result<Response<api::ListBranchesResponse>, Status> {
        let api::ListBranchesRequest { state, page_size, page_token } = request.into_inner();
        let filter = wire::state_filter(state)?;
        let page_size = page_size_of(page_size)?;
        let of_state = state.to_string();
        let list = ["branches", of_state.as_str()];
        let after = match paging::position(&page_token, &list)? {
            None => Uuid::nil(),
            Some(position) => read_id("page_token", &position)?,
        };
        let read = self.log.list(filter, after, i64::from(page_size) + 1).await;
        let read = read.map_err(|error| status::database(&error))?;
        let page_size = usize::try_from(page_size).unwrap_or_default();
        let position = |row: &crate::log::Row| row.transaction.transaction_id.to_string();
        let (rows, next_page_token) = paging::cut(read, page_size, &list, position);
        Ok(Response::new(api::ListBranchesResponse {
            branches: rows.into_iter().map(wire::branch).collect(),
            next_page_token,
        }))
    }

    async fn audit(&self, _: Request<api::AuditRequest>) -> Result<Response<api::AuditResponse>, Status> {
        let (log, resource) = (self.log.clone(), self.resource.clone());
        // In a task of its own, because a client that goes away must not cut it off while it begins its snapshot.
        let audited = tokio::spawn(async move { log.audit(&*resource).await }).await;
        let checks = audited.map_err(|error| wire::ended_early(&error))?.map_err(|error| status::database(&error))?;
        Ok(Response::new(api::AuditResponse { checks: checks.into_iter().map(wire::check).collect() }))
    }
}
