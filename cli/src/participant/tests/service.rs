//! The gRPC face of the participant in memory: what it refuses, and what its faults let through.
use std::collections::HashSet;

use proto::assent::transaction::v1 as wire;
use proto::assent::transaction::v1::participant_service_server::ParticipantService;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::faults::Fault;
use super::participant::Participant;
use crate::participant::oracle::{Answer, Message};
use crate::participant::probe::now_unix_ms;

/// Its name.
pub const NAME: &str = "seats";
const A_DAY_MS: i64 = 24 * 3_600_000;

impl Participant {
    fn check(&self, message: Message, asked: &wire::PrepareBranch) -> Result<(), Status> {
        let Some(reference) = &asked.transaction else {
            return self.unless(Fault::TakesNoTransaction, "transaction: is missing");
        };
        if Uuid::try_parse(&reference.transaction_id).is_err() {
            self.unless(Fault::TakesNoIds, "transaction_id: must be a UUID")?;
        }
        if reference.deadline_unix_ms <= 0 || reference.deadline_unix_ms > now_unix_ms() + A_DAY_MS {
            self.unless(Fault::TakesAnyDeadline, "deadline_unix_ms: must be in milliseconds")?;
        }
        if message == Message::Prepare && !asked.participants.iter().any(|name| name == NAME) {
            self.unless(Fault::TakesAnyParticipants, "participants: must name this one")?;
        }
        if message == Message::Prepare && asked.owner_id.is_empty() {
            self.unless(Fault::TakesNoOwner, "owner_id: is missing")?;
        }
        Ok(())
    }

    fn unless(&self, fault: Fault, wrong: &str) -> Result<(), Status> {
        if self.fault == fault { Ok(()) } else { Err(Status::invalid_argument(wrong)) }
    }

    /// Carries out a batch.
    async fn all(
        &self,
        message: Message,
        batch: Vec<(wire::PrepareBranch, Option<wire::Refusal>)>,
    ) -> Result<Vec<(Answer, Option<wire::Refusal>)>, Status> {
        if batch.len() > 5_000 {
            self.unless(Fault::TakesAnyCount, "at most 5,000 fit one request")?;
        }
        let ids: HashSet<String> =
            batch.iter().map(|(asked, _)| asked.transaction.clone().unwrap_or_default().transaction_id).collect();
        match self.fault {
            Fault::SmallBatches if batch.len() > 100 => return Err(Status::resource_exhausted("at most 100")),
            Fault::EmptyBatchesFail if batch.is_empty() => return Err(Status::invalid_argument("nothing to do")),
            Fault::DuplicatesFail if ids.len() < batch.len() => return Err(Status::internal("duplicate key")),
            Fault::HangsWithoutTransaction if batch.iter().any(|(asked, _)| asked.transaction.is_none()) => {
                std::future::pending::<()>().await;
            }
            _ => (),
        }
        for (asked, refusal) in &batch {
            let checked = self.check(message, asked);
            if checked.is_err() && self.fault == Fault::TakesGoodNeighbours {
                let good = batch.iter().filter(|(asked, _)| self.check(message, asked).is_ok());
                for (asked, _) in good {
                    self.act(message, asked, refusal.clone()).await;
                }
            }
            checked?;
        }
        let mut answers = Vec::with_capacity(batch.len());
        for (asked, refusal) in batch {
            let answer = self.act(message, &asked, refusal).await;
            let id = Uuid::try_parse(&asked.transaction.unwrap_or_default().transaction_id).unwrap_or_default();
            let why = self.state().rows.get(&id).and_then(|row| row.refusal.clone());
            answers.push((answer, why.filter(|_| answer == Answer::Vote(wire::Vote::No))));
        }
        let no = (Answer::Vote(wire::Vote::No), None);
        match self.fault {
            Fault::Unordered(of) if of == message => answers.reverse(),
            Fault::RefusedTogether if message == Message::Prepare && answers.iter().any(|(it, _)| *it == no.0) => {
                answers.fill(no);
            }
            _ => (),
        }
        Ok(answers)
    }

    async fn votes(
        &self,
        message: Message,
        batch: Vec<(wire::PrepareBranch, Option<wire::Refusal>)>,
    ) -> Result<Vec<(i32, Option<wire::Refusal>)>, Status> {
        let answers = self.all(message, batch).await?.into_iter();
        Ok(answers.map(|(answer, refusal)| (number(answer), refusal)).collect())
    }

    async fn acknowledgements(
        &self,
        message: Message,
        transactions: Vec<wire::TransactionRef>,
    ) -> Result<Vec<i32>, Status> {
        let answers = self.votes(message, named(transactions)).await?;
        Ok(answers.into_iter().map(|(number, _)| number).collect())
    }
}

fn number(answer: Answer) -> i32 {
    match answer {
        Answer::Vote(vote) => vote.into(),
        Answer::Acknowledged(acknowledgement) => acknowledgement.into(),
    }
}

fn named(transactions: Vec<wire::TransactionRef>) -> Vec<(wire::PrepareBranch, Option<wire::Refusal>)> {
    let entry = |it| (wire::PrepareBranch { transaction: Some(it), ..wire::PrepareBranch::default() }, None);
    transactions.into_iter().map(entry).collect()
}

#[tonic::async_trait]
impl ParticipantService for Participant {
    async fn prepare(&self, request: Request<wire::PrepareRequest>) -> Result<Response<wire::PrepareResponse>, Status> {
        let batch = request.into_inner().branches.into_iter().map(|asked| (asked, None)).collect();
        let votes = self.votes(Message::Prepare, batch).await?;
        let results = votes.into_iter().map(|(vote, refusal)| wire::PrepareResult { vote, refusal }).collect();
        Ok(Response::new(wire::PrepareResponse { results }))
    }

    async fn commit(&self, request: Request<wire::CommitRequest>) -> Result<Response<wire::CommitResponse>, Status> {
        let wire::CommitRequest { transactions, durable } = request.into_inner();
        let message = if durable { Message::CommitDurably } else { Message::Commit };
        let acknowledgements = self.acknowledgements(message, transactions).await?;
        Ok(Response::new(wire::CommitResponse { acknowledgements }))
    }

    async fn abort(&self, request: Request<wire::AbortRequest>) -> Result<Response<wire::AbortResponse>, Status> {
        let entry = |it: wire::AbortBranch| {
            (wire::PrepareBranch { transaction: it.transaction, ..wire::PrepareBranch::default() }, it.refusal)
        };
        let answers =
            self.votes(Message::Abort, request.into_inner().branches.into_iter().map(entry).collect()).await?;
        Ok(Response::new(wire::AbortResponse { acknowledgements: answers.into_iter().map(|(it, _)| it).collect() }))
    }

    async fn fence(&self, request: Request<wire::FenceRequest>) -> Result<Response<wire::FenceResponse>, Status> {
        let votes = self.votes(Message::Fence, named(request.into_inner().transactions)).await?;
        let results = votes.into_iter().map(|(vote, refusal)| wire::FenceResult { vote, refusal }).collect();
        Ok(Response::new(wire::FenceResponse { results }))
    }

    async fn end(&self, request: Request<wire::EndRequest>) -> Result<Response<wire::EndResponse>, Status> {
        let acknowledgements = self.acknowledgements(Message::End, request.into_inner().transactions).await?;
        Ok(Response::new(wire::EndResponse { acknowledgements }))
    }

    async fn get_branch(
        &self,
        request: Request<wire::GetBranchRequest>,
    ) -> Result<Response<wire::GetBranchResponse>, Status> {
        self.give_up();
        let Ok(id) = Uuid::try_parse(&request.into_inner().transaction_id) else {
            return Err(Status::invalid_argument("transaction_id: must be a UUID"));
        };
        Ok(Response::new(wire::GetBranchResponse { branch: self.state().rows.get(&id).cloned() }))
    }

    async fn list_branches(
        &self,
        request: Request<wire::ListBranchesRequest>,
    ) -> Result<Response<wire::ListBranchesResponse>, Status> {
        let wire::ListBranchesRequest { state, page_size, page_token } = request.into_inner();
        let after = Uuid::try_parse(&page_token);
        if (after.is_err() && !page_token.is_empty()) || wire::BranchState::try_from(state).is_err() || page_size < 0 {
            self.unless(Fault::TakesAnyPage, "a page that can't be")?;
        }
        let after = after.unwrap_or_default();
        let rows = self.state().rows.clone();
        let wanted = |row: &wire::Branch| state == 0 || row.state == state || self.fault == Fault::ListsAllStates;
        let page_size = if page_size == 0 { 100 } else { usize::try_from(page_size).unwrap_or(100) };
        let mut rest = rows.into_iter().filter(|(id, row)| *id > after && wanted(row));
        let page: Vec<(Uuid, wire::Branch)> = rest.by_ref().take(page_size).collect();
        let mut token = page.last().map(|(id, _)| *id).unwrap_or_default();
        let mut next = rest.next().map(|(id, _)| id);
        if let (Fault::MissesAtPageEnd, Some(first)) = (self.fault, next) {
            token = first;
            next = rest.next().map(|(id, _)| id);
        }
        let next_page_token = next.map_or(String::new(), |_| token.to_string());
        let branches = page.into_iter().map(|(_, row)| row).collect();
        Ok(Response::new(wire::ListBranchesResponse { branches, next_page_token }))
    }

    async fn audit(&self, _: Request<wire::AuditRequest>) -> Result<Response<wire::AuditResponse>, Status> {
        Err(Status::unimplemented("it does not audit itself"))
    }
}
