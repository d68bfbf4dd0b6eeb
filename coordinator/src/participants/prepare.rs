//! The PREPARE lane: batched RPCs, of which the next collects while others are in flight. When it sets out is up to
//! [`crate::rounds`].
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use participant::crash_point;
use participant::server::MAX_MESSAGE_BYTES;
use proto::assent::transaction::v1 as wire;
use tokio::sync::mpsc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::encoded::Parts;
use super::{Voted, refusal_of, vote_of};
use crate::rounds::{Rounds, Turns};

/// Branches in one RPC, at most.
const MAX_BRANCHES: usize = 1024;
/// Bytes in one RPC, about: below the 4 MiB that gRPC peers accept by default.
const MAX_BYTES: usize = 3_500_000;
/// Longer than a participant takes to say that it is in doubt itself.
const TIMEOUT: Duration = Duration::from_millis(2000);
const PREPARE: PathAndQuery = PathAndQuery::from_static("/assent.transaction.v1.ParticipantService/Prepare");

/// Who asks for votes.
pub trait Voter: Send + Sync {
    /// Takes a vote. It is called by a lane's task: it must only pass it on.
    fn voted(self: Arc<Self>, participant: usize, voted: Voted);
    /// No vote is wanted any more: a PREPARE that was not sent yet need not be.
    fn is_over(&self) -> bool;
}

struct Ask {
    /// See [`super::encoded::branch`].
    branch: Bytes,
    voter: Arc<dyn Voter>,
    /// Which participant this one is to the voter.
    participant: usize,
}

/// A handle on the lane.
#[derive(Clone)]
pub struct PrepareLane {
    asks: mpsc::UnboundedSender<Ask>,
}

impl PrepareLane {
    /// Starts the lane's task.
    pub fn start(participant: String, channel: Channel, rounds: Rounds) -> Self {
        let (asks, queue) = mpsc::unbounded_channel();
        let client = tonic::client::Grpc::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let peer = Peer { participant: participant.into(), client };
        tokio::spawn(run(peer, rounds.turns(), queue));
        PrepareLane { asks }
    }

    /// Asks for a vote on an encoded branch, for a voter to whom this is its participant of that place.
    pub fn prepare(&self, branch: Bytes, voter: Arc<dyn Voter>, participant: usize) {
        // A lane that is gone answers nothing, which is doubt as well.
        let _ = self.asks.send(Ask { branch, voter, participant });
    }
}

async fn run(peer: Peer, mut turns: Turns, mut queue: mpsc::UnboundedReceiver<Ask>) {
    let mut carried: Option<Ask> = None;
    loop {
        let first = match carried.take() {
            Some(ask) => ask,
            None => match queue.recv().await {
                Some(ask) => ask,
                None => break,
            },
        };
        let under_way = turns.may_go().await;
        let mut bytes = first.branch.len();
        let mut batch = vec![first];
        while batch.len() < MAX_BRANCHES {
            match queue.try_recv() {
                Ok(ask) if bytes + ask.branch.len() > MAX_BYTES => {
                    carried = Some(ask);
                    break;
                }
                Ok(ask) => {
                    bytes += ask.branch.len();
                    batch.push(ask);
                }
                Err(_) => break,
            }
        }
        batch.retain(|ask| !ask.voter.is_over());
        if !batch.is_empty() {
            turns.go(under_way, peer.clone().send(batch));
        }
    }
    turns.end().await;
}

/// The participant, and the way to it.
#[derive(Clone)]
struct Peer {
    participant: Arc<str>,
    client: tonic::client::Grpc<Channel>,
}

impl Peer {
    /// Sends a batch and answers everyone in it. A batch that is refused as such is sent again one by one, so that one bad
    /// branch can't fail its neighbours.
    async fn send(mut self, batch: Vec<Ask>) {
        let alone = batch.len() == 1;
        match self.call(batch.iter().map(|ask| ask.branch.clone()).collect()).await {
            Ok(results) if results.len() == batch.len() => {
                for (ask, result) in batch.into_iter().zip(results) {
                    ask.voter.voted(ask.participant, voted(result));
                }
            }
            Err(status) if !alone && is_about_one(&status) => {
                for Ask { branch, voter, participant } in batch {
                    let answer = match self.call(vec![branch]).await.map(|mut results| results.pop()) {
                        Ok(Some(result)) => voted(result),
                        Ok(None) => self.doubt(format!("{} answered no result", self.participant)),
                        Err(status) => self.doubtful(&status),
                    };
                    voter.voted(participant, answer);
                }
            }
            failed => {
                let doubt = match failed {
                    Err(status) => self.doubtful(&status),
                    Ok(results) => self.doubt(format!(
                        "{} answered {} of {} branches",
                        self.participant,
                        results.len(),
                        batch.len()
                    )),
                };
                for ask in batch {
                    ask.voter.voted(ask.participant, doubt.clone());
                }
            }
        }
    }

    async fn call(&mut self, branches: Vec<Bytes>) -> Result<Vec<wire::PrepareResult>, Status> {
        let mut request = Request::new(branches);
        request.set_timeout(TIMEOUT);
        crash_point::pass("prepare.before_send");
        let call = async {
            self.client.ready().await.map_err(|error| Status::from_error(error.into()))?;
            self.client.unary(request, PREPARE, Parts::<wire::PrepareResponse>::default()).await
        };
        // A peer that has stopped reading never sees the deadline in the header, so it is kept here as well.
        let response = tokio::time::timeout(TIMEOUT, call).await;
        crash_point::pass("prepare.after_send");
        match response {
            Ok(response) => Ok(response?.into_inner().results),
            Err(_) => Err(Status::deadline_exceeded(format!("no answer within {} ms", TIMEOUT.as_millis()))),
        }
    }

    fn doubt(&self, message: String) -> Voted {
        Voted::unknown("PARTICIPANT_UNAVAILABLE", message)
    }

    fn doubtful(&self, status: &Status) -> Voted {
        let reason =
            if status.code() == Code::InvalidArgument { "INVALID_ARGUMENT" } else { "PARTICIPANT_UNAVAILABLE" };
        Voted::unknown(reason, format!("{}: {}", self.participant, super::calls::describe(status)))
    }
}

fn voted(result: wire::PrepareResult) -> Voted {
    Voted { vote: vote_of(result.vote), refusal: result.refusal.map(refusal_of) }
}

fn is_about_one(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted)
}
