//! The PREPARE lane: one batched RPC in flight, the next batch collects meanwhile. A lane lingers for the other
//! participants' lanes alone, see [`super::rounds`].
use std::time::Duration;

use participant::crash_point;
use prost::Message;
use proto::assent::transaction::v1 as wire;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Request, Status};

use super::rounds::Rounds;
use super::{Client, Voted, refusal_of, vote_of};

/// Branches in one RPC, at most.
const MAX_BRANCHES: usize = 1024;
/// Bytes in one RPC, about: below the 4 MiB that gRPC peers accept by default.
const MAX_BYTES: usize = 3_500_000;
/// Longer than a participant takes to say that it is in doubt itself.
const TIMEOUT: Duration = Duration::from_millis(2000);

struct Ask {
    branch: wire::PrepareBranch,
    bytes: usize,
    reply: oneshot::Sender<Voted>,
}

/// A handle on the lane.
#[derive(Clone)]
pub struct PrepareLane {
    asks: mpsc::UnboundedSender<Ask>,
}

impl PrepareLane {
    /// Starts the lane's task.
    pub fn start(participant: String, client: Client, rounds: Rounds) -> Self {
        let (asks, queue) = mpsc::unbounded_channel();
        tokio::spawn(run(participant, client, rounds, queue));
        PrepareLane { asks }
    }

    /// Asks for a vote. A caller that goes away before the PREPARE was sent takes it back.
    pub async fn prepare(&self, branch: wire::PrepareBranch) -> Voted {
        let (reply, answer) = oneshot::channel();
        let bytes = branch.encoded_len();
        // A lane that is gone answers nothing, which is the same doubt.
        let _ = self.asks.send(Ask { branch, bytes, reply });
        answer.await.unwrap_or_else(|_| Voted::unknown("SHUTTING_DOWN", "the coordinator is shutting down"))
    }
}

async fn run(participant: String, mut client: Client, rounds: Rounds, mut queue: mpsc::UnboundedReceiver<Ask>) {
    let mut carried: Option<Ask> = None;
    let mut gone = 0;
    loop {
        let first = match carried.take() {
            Some(ask) => ask,
            None => match queue.recv().await {
                Some(ask) => ask,
                None => return,
            },
        };
        let under_way = rounds.join(gone).await;
        gone = under_way.round;
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while batch.len() < MAX_BRANCHES {
            match queue.try_recv() {
                Ok(ask) if bytes + ask.bytes > MAX_BYTES => {
                    carried = Some(ask);
                    break;
                }
                Ok(ask) => {
                    bytes += ask.bytes;
                    batch.push(ask);
                }
                Err(_) => break,
            }
        }
        batch.retain(|ask| !ask.reply.is_closed());
        if !batch.is_empty() {
            send(&participant, &mut client, batch).await;
        }
        drop(under_way);
    }
}

/// Sends a batch and answers everyone in it. A batch that is refused as such is sent again one by one, so that one bad
/// branch can't fail its neighbours.
async fn send(participant: &str, client: &mut Client, batch: Vec<Ask>) {
    let (branches, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|ask| (ask.branch, ask.reply)).unzip();
    let alone = branches.len() == 1;
    // Kept only to be sent again; cheap beside the RPC, because a branch is one buffer.
    let again = if alone { Vec::new() } else { branches.clone() };
    match call(client, branches).await {
        Ok(results) if results.len() == replies.len() => {
            for (result, reply) in results.into_iter().zip(replies) {
                let voted = Voted { vote: vote_of(result.vote), refusal: result.refusal.map(refusal_of) };
                let _ = reply.send(voted);
            }
        }
        Err(status) if !alone && is_about_one(&status) => {
            for (branch, reply) in again.into_iter().zip(replies) {
                let voted = match call(client, vec![branch]).await.map(|mut results| results.pop()) {
                    Ok(Some(result)) => Voted { vote: vote_of(result.vote), refusal: result.refusal.map(refusal_of) },
                    Ok(None) => Voted::unknown("PARTICIPANT_UNAVAILABLE", format!("{participant} answered no result")),
                    Err(status) => doubt(participant, &status),
                };
                let _ = reply.send(voted);
            }
        }
        failed => {
            let voted = match failed {
                Err(status) => doubt(participant, &status),
                Ok(results) => Voted::unknown(
                    "PARTICIPANT_UNAVAILABLE",
                    format!("{participant} answered {} of {} branches", results.len(), replies.len()),
                ),
            };
            for reply in replies {
                let _ = reply.send(voted.clone());
            }
        }
    }
}

async fn call(client: &mut Client, branches: Vec<wire::PrepareBranch>) -> Result<Vec<wire::PrepareResult>, Status> {
    let mut request = Request::new(wire::PrepareRequest { branches });
    request.set_timeout(TIMEOUT);
    crash_point::pass("prepare.before_send");
    // A peer that has stopped reading never sees the deadline in the header, so it is kept here as well.
    let response = tokio::time::timeout(TIMEOUT, client.prepare(request)).await;
    crash_point::pass("prepare.after_send");
    match response {
        Ok(response) => Ok(response?.into_inner().results),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {} ms", TIMEOUT.as_millis()))),
    }
}

fn is_about_one(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted)
}

fn doubt(participant: &str, status: &Status) -> Voted {
    let reason = if status.code() == Code::InvalidArgument { "INVALID_ARGUMENT" } else { "PARTICIPANT_UNAVAILABLE" };
    Voted::unknown(reason, format!("{participant}: {}", super::calls::describe(status)))
}
