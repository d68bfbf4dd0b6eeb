//! A lane of RPCs to one participant: one batched RPC in flight while the next batch collects. A participant that is slow
//! or silent holds up nobody elsewhere.
use participant::Refusal;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status};

use super::Client;
use super::calls::{describe, in_time};

/// Asks in one RPC, at most.
const MAX_ASKS: usize = 1024;
/// Bytes in one RPC, about: below the 4 MiB that gRPC peers accept by default.
const MAX_BYTES: usize = 3_500_000;

/// A kind of RPC that carries many asks.
pub trait Call: Send + 'static {
    /// One ask.
    type Ask: Message + Clone + Send;
    /// Its reply.
    type Reply: Send;

    /// Sends a batch; one reply for each, in order, or fewer if the participant answers fewer.
    fn call(client: Client, asks: Vec<Self::Ask>) -> impl Future<Output = Result<Vec<Self::Reply>, Status>> + Send;
    /// The reply when none came.
    fn doubt(refusal: Refusal) -> Self::Reply;
}

type Asked<C> = (<C as Call>::Ask, oneshot::Sender<<C as Call>::Reply>);

/// A handle on a lane.
pub struct Lane<C: Call>(mpsc::UnboundedSender<Asked<C>>);

impl<C: Call> Clone for Lane<C> {
    fn clone(&self) -> Self {
        Lane(self.0.clone())
    }
}

impl<C: Call> Lane<C> {
    /// Starts the lane's task.
    pub fn start(participant: &str, client: &Client) -> Self {
        let (asks, queue) = mpsc::unbounded_channel();
        tokio::spawn(run::<C>(participant.to_owned(), client.clone(), queue));
        Lane(asks)
    }

    /// Asks, and waits for the reply.
    pub async fn ask(&self, ask: C::Ask) -> C::Reply {
        let (reply, answer) = oneshot::channel();
        // A lane that is gone answers nothing, which is the same doubt.
        let _ = self.0.send((ask, reply));
        answer.await.unwrap_or_else(|_| C::doubt(Refusal::new("SHUTTING_DOWN", "the coordinator is shutting down")))
    }
}

async fn run<C: Call>(participant: String, client: Client, mut queue: mpsc::UnboundedReceiver<Asked<C>>) {
    let mut carried: Option<Asked<C>> = None;
    loop {
        let first = match carried.take() {
            Some(asked) => asked,
            None => match queue.recv().await {
                Some(asked) => asked,
                None => return,
            },
        };
        let mut bytes = first.0.encoded_len();
        let mut batch = vec![first];
        while batch.len() < MAX_ASKS {
            let Ok(asked) = queue.try_recv() else { break };
            bytes += asked.0.encoded_len();
            if bytes > MAX_BYTES {
                carried = Some(asked);
                break;
            }
            batch.push(asked);
        }
        batch.retain(|(_, reply)| !reply.is_closed());
        if !batch.is_empty() {
            send::<C>(&participant, &client, batch).await;
        }
    }
}

/// Sends a batch and answers everyone in it. One that is refused as such is sent again one by one, so that one bad one
/// can't fail its neighbours.
async fn send<C: Call>(participant: &str, client: &Client, batch: Vec<Asked<C>>) {
    let (asks, replies): (Vec<C::Ask>, Vec<_>) = batch.into_iter().unzip();
    let alone = asks.len() == 1;
    let again = if alone { Vec::new() } else { asks.clone() };
    match in_time(C::call(client.clone(), asks)).await {
        Err(status) if !alone && is_about_one(&status) => {
            for (ask, reply) in again.into_iter().zip(replies) {
                let answered = in_time(C::call(client.clone(), vec![ask])).await;
                let _ = reply.send(only::<C>(participant, answered.map(|mut replies| replies.pop())));
            }
        }
        Ok(answers) => {
            let mut answers = answers.into_iter();
            for reply in replies {
                let _ = reply.send(only::<C>(participant, Ok(answers.next())));
            }
        }
        Err(status) => {
            for reply in replies {
                let _ = reply.send(only::<C>(participant, Err(status.clone())));
            }
        }
    }
}

fn only<C: Call>(participant: &str, answered: Result<Option<C::Reply>, Status>) -> C::Reply {
    match answered {
        Ok(Some(reply)) => reply,
        Ok(None) => {
            C::doubt(Refusal::new("PARTICIPANT_UNAVAILABLE", format!("{participant} answered too few results")))
        }
        Err(status) => {
            let invalid = status.code() == Code::InvalidArgument;
            let reason = if invalid { "INVALID_ARGUMENT" } else { "PARTICIPANT_UNAVAILABLE" };
            C::doubt(Refusal::new(reason, format!("{participant}: {}", describe(&status))))
        }
    }
}

fn is_about_one(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted)
}
