//! A participant in memory that obeys [`protocol::branch`], whose votes and reachability a test decides.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::assent::transaction::v1 as wire;
use proto::assent::transaction::v1::participant_service_server::{ParticipantService, ParticipantServiceServer};
use protocol::Vote;
use protocol::branch::{self, BranchState, Prepare, Settle};
use protocol::collection;
use protocol::step::StepRow;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::steps::Steps;
use crate::config::ParticipantAddress;

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// Votes yes.
    #[default]
    Willing,
    /// Refuses.
    Refusing,
    /// Refuses, after a while.
    RefusingLate,
    /// Prepares, but the answer is lost.
    AnswersLost,
    /// Every call fails.
    Unreachable,
    /// Never answers a PREPARE.
    Silent,
}

#[derive(Default)]
struct Inner {
    mood: Mood,
    rows: BTreeMap<String, wire::Branch>,
    alarms: Vec<String>,
    steps: Steps,
    /// It does not implement what is about horizons.
    knows_no_horizons: bool,
    /// Up to where it was told END.
    ended_up_to: i64,
    /// Of what it was told END by id.
    ended: BTreeSet<String>,
    /// How many transactions each COMMIT named.
    commits: Vec<usize>,
}

/// The participant; clones share it.
#[derive(Clone, Default)]
pub struct FakeParticipant {
    inner: Arc<Mutex<Inner>>,
}

impl FakeParticipant {
    /// Serves a new one on a free port.
    pub async fn serve(name: &str) -> (Self, ParticipantAddress) {
        let fake = FakeParticipant::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let service = ParticipantServiceServer::new(fake.clone());
        tokio::spawn(
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)),
        );
        (fake, ParticipantAddress { name: name.to_owned(), uri })
    }

    pub fn set_mood(&self, mood: Mood) {
        self.inner.lock().unwrap().mood = mood;
    }

    /// As one that others have written may be.
    pub fn forget_horizons(&self) {
        self.inner.lock().unwrap().knows_no_horizons = true;
    }

    /// Whether it was told END of this deadline by a horizon.
    pub fn has_ended_up_to(&self, deadline_unix_ms: i64) -> bool {
        self.inner.lock().unwrap().ended_up_to >= deadline_unix_ms
    }

    /// Of what it was told END by id.
    pub fn ended(&self) -> BTreeSet<String> {
        self.inner.lock().unwrap().ended.clone()
    }

    /// How many transactions each COMMIT named, in their order.
    pub fn commits(&self) -> Vec<usize> {
        self.inner.lock().unwrap().commits.clone()
    }

    /// The state of a transaction's row.
    pub fn state(&self, transaction_id: &str) -> Option<BranchState> {
        state(self.inner.lock().unwrap().rows.get(transaction_id))
    }

    /// How many rows are in this state.
    pub fn count(&self, wanted: BranchState) -> usize {
        self.inner.lock().unwrap().rows.values().filter(|row| state(Some(row)) == Some(wanted)).count()
    }

    /// The state of each of a saga's steps that have a row, by name.
    pub fn steps(&self, transaction_id: &str) -> BTreeMap<String, StepRow> {
        self.inner.lock().unwrap().steps.of(transaction_id)
    }

    /// Effects of steps and their undoing, in their order, as `name` and `-name`.
    pub fn effects(&self) -> Vec<String> {
        self.inner.lock().unwrap().steps.effects()
    }

    /// Messages that contradicted what stood.
    pub fn alarms(&self) -> Vec<String> {
        self.inner.lock().unwrap().alarms.clone()
    }

    fn mood(&self) -> Result<Mood, Status> {
        match self.inner.lock().unwrap().mood {
            Mood::Unreachable => Err(Status::unavailable("down")),
            mood => Ok(mood),
        }
    }

    fn settle(&self, id: &str, commit: bool) -> i32 {
        let mut inner = self.inner.lock().unwrap();
        let row = state(inner.rows.get(id));
        let settle = if commit { branch::commit(row, false) } else { branch::abort(row, false) };
        let new = if commit { wire::BranchState::Committed } else { wire::BranchState::Aborted };
        match settle {
            Settle::Apply | Settle::Release | Settle::InsertAborted => {
                inner.rows.entry(id.to_owned()).or_default().set_state(new);
                wire::Acknowledgement::Done.into()
            }
            Settle::Already => wire::Acknowledgement::Done.into(),
            Settle::Ignore => wire::Acknowledgement::Ignored.into(),
            Settle::Alarm => {
                inner.alarms.push(format!("{id} commit={commit}"));
                wire::Acknowledgement::Alarm.into()
            }
        }
    }
}

impl Inner {
    /// How far a horizon is confirmed; the watermark is as high as one asks.
    fn horizon(&self, asked: i64) -> Result<i64, Status> {
        if self.knows_no_horizons {
            return Err(Status::unimplemented("no horizons"));
        }
        let prepared = self.rows.values().filter(|row| state(Some(row)) == Some(BranchState::Prepared));
        let first_prepared = prepared.filter_map(|row| Some(row.transaction.as_ref()?.deadline_unix_ms)).min();
        Ok(collection::horizon(asked, i64::MAX, first_prepared))
    }
}

fn state(row: Option<&wire::Branch>) -> Option<BranchState> {
    match row?.state() {
        wire::BranchState::Prepared => Some(BranchState::Prepared),
        wire::BranchState::Committed => Some(BranchState::Committed),
        wire::BranchState::Aborted => Some(BranchState::Aborted),
        wire::BranchState::Unspecified => None,
    }
}

fn vote(vote: Vote) -> i32 {
    match vote {
        Vote::Yes => wire::Vote::Yes,
        Vote::No => wire::Vote::No,
        Vote::Unknown => wire::Vote::Unknown,
        Vote::Forgotten => wire::Vote::Forgotten,
    }
    .into()
}

#[tonic::async_trait]
impl ParticipantService for FakeParticipant {
    async fn prepare(&self, request: Request<wire::PrepareRequest>) -> Result<Response<wire::PrepareResponse>, Status> {
        let mood = self.mood()?;
        if mood == Mood::RefusingLate {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if mood == Mood::Silent {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let mut results = Vec::new();
        for asked in request.into_inner().branches {
            let mut inner = self.inner.lock().unwrap();
            let id = asked.transaction.clone().unwrap_or_default().transaction_id;
            let answer = match branch::prepare(state(inner.rows.get(&id)), false) {
                Prepare::Answer(answer) => answer,
                Prepare::TryHold => {
                    let refused = matches!(mood, Mood::Refusing | Mood::RefusingLate);
                    let new = if refused { wire::BranchState::Aborted } else { wire::BranchState::Prepared };
                    let row = wire::Branch {
                        transaction: asked.transaction,
                        state: new.into(),
                        participants: asked.participants,
                        owner_id: asked.owner_id,
                        refusal: refused.then(|| wire::Refusal {
                            reason: "OUT_OF_STOCK".to_owned(),
                            message: "none left".to_owned(),
                            ..wire::Refusal::default()
                        }),
                        ..wire::Branch::default()
                    };
                    inner.rows.insert(id.clone(), row);
                    if refused { Vote::No } else { Vote::Yes }
                }
            };
            let refusal = inner.rows.get(&id).and_then(|row| row.refusal.clone());
            results.push(wire::PrepareResult { vote: vote(answer), refusal });
        }
        match mood {
            Mood::AnswersLost => Err(Status::unavailable("lost")),
            _ => Ok(Response::new(wire::PrepareResponse { results })),
        }
    }

    async fn commit(&self, request: Request<wire::CommitRequest>) -> Result<Response<wire::CommitResponse>, Status> {
        self.mood()?;
        let transactions = request.into_inner().transactions;
        self.inner.lock().unwrap().commits.push(transactions.len());
        let acknowledgements = transactions.iter().map(|it| self.settle(&it.transaction_id, true)).collect();
        Ok(Response::new(wire::CommitResponse { acknowledgements }))
    }

    async fn abort(&self, request: Request<wire::AbortRequest>) -> Result<Response<wire::AbortResponse>, Status> {
        self.mood()?;
        let branches = request.into_inner().branches;
        let acknowledgements = branches
            .into_iter()
            .map(|it| self.settle(&it.transaction.unwrap_or_default().transaction_id, false))
            .collect();
        Ok(Response::new(wire::AbortResponse { acknowledgements }))
    }

    async fn fence(&self, request: Request<wire::FenceRequest>) -> Result<Response<wire::FenceResponse>, Status> {
        self.mood()?;
        let mut inner = self.inner.lock().unwrap();
        let mut results = Vec::new();
        for transaction in request.into_inner().transactions {
            let id = transaction.transaction_id.clone();
            let fence = branch::fence(state(inner.rows.get(&id)), false);
            if fence.insert_aborted {
                let mut row = wire::Branch { transaction: Some(transaction), ..wire::Branch::default() };
                row.set_state(wire::BranchState::Aborted);
                inner.rows.insert(id.clone(), row);
            }
            let refusal = inner.rows.get(&id).and_then(|row| row.refusal.clone());
            results.push(wire::FenceResult { vote: vote(fence.vote), refusal });
        }
        Ok(Response::new(wire::FenceResponse { results }))
    }

    async fn end(&self, request: Request<wire::EndRequest>) -> Result<Response<wire::EndResponse>, Status> {
        self.mood()?;
        let transactions = request.into_inner().transactions;
        let acknowledgements = transactions.iter().map(|_| wire::Acknowledgement::Done.into()).collect();
        self.inner.lock().unwrap().ended.extend(transactions.into_iter().map(|it| it.transaction_id));
        Ok(Response::new(wire::EndResponse { acknowledgements }))
    }

    async fn confirm_horizon(
        &self,
        request: Request<wire::ConfirmHorizonRequest>,
    ) -> Result<Response<wire::ConfirmHorizonResponse>, Status> {
        self.mood()?;
        let horizon_unix_ms = self.inner.lock().unwrap().horizon(request.into_inner().horizon_unix_ms)?;
        Ok(Response::new(wire::ConfirmHorizonResponse { horizon_unix_ms }))
    }

    async fn end_horizon(
        &self,
        request: Request<wire::EndHorizonRequest>,
    ) -> Result<Response<wire::EndHorizonResponse>, Status> {
        self.mood()?;
        let mut inner = self.inner.lock().unwrap();
        let horizon_unix_ms = inner.horizon(request.into_inner().horizon_unix_ms)?;
        inner.ended_up_to = inner.ended_up_to.max(horizon_unix_ms);
        Ok(Response::new(wire::EndHorizonResponse { horizon_unix_ms }))
    }

    async fn execute(&self, request: Request<wire::ExecuteRequest>) -> Result<Response<wire::ExecuteResponse>, Status> {
        let mood = self.mood()?;
        if mood == Mood::Silent {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let refuses = matches!(mood, Mood::Refusing | Mood::RefusingLate);
        let mut inner = self.inner.lock().unwrap();
        let results = request.into_inner().steps.into_iter().map(|step| inner.steps.execute(step, refuses)).collect();
        match mood {
            Mood::AnswersLost => Err(Status::unavailable("lost")),
            _ => Ok(Response::new(wire::ExecuteResponse { results })),
        }
    }

    async fn compensate(
        &self,
        request: Request<wire::CompensateRequest>,
    ) -> Result<Response<wire::CompensateResponse>, Status> {
        self.mood()?;
        let mut inner = self.inner.lock().unwrap();
        let steps = request.into_inner().steps.into_iter();
        let acknowledgements = steps.map(|step| inner.steps.compensate(step)).collect();
        Ok(Response::new(wire::CompensateResponse { acknowledgements }))
    }

    async fn get_branch(
        &self,
        request: Request<wire::GetBranchRequest>,
    ) -> Result<Response<wire::GetBranchResponse>, Status> {
        self.mood()?;
        let branch = self.inner.lock().unwrap().rows.get(&request.into_inner().transaction_id).cloned();
        Ok(Response::new(wire::GetBranchResponse { branch }))
    }

    async fn list_branches(
        &self,
        request: Request<wire::ListBranchesRequest>,
    ) -> Result<Response<wire::ListBranchesResponse>, Status> {
        self.mood()?;
        let wanted = request.into_inner().state;
        let inner = self.inner.lock().unwrap();
        let branches = inner.rows.values().filter(|row| wanted == 0 || row.state == wanted).cloned().collect();
        Ok(Response::new(wire::ListBranchesResponse { branches, next_page_token: String::new() }))
    }

    async fn audit(&self, _: Request<wire::AuditRequest>) -> Result<Response<wire::AuditResponse>, Status> {
        Ok(Response::new(wire::AuditResponse { checks: Vec::new() }))
    }
}
