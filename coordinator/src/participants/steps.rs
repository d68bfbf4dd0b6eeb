//! The lanes of sagas' steps to one participant: one for EXECUTEs, one for COMPENSATEs, each with one batched RPC in
//! flight while the next batch collects. A participant that is slow or silent holds up nobody's steps elsewhere.
use std::time::Duration;

use participant::{Refusal, crash_point};
use prost::Message;
use proto::assent::transaction::v1 as wire;
use protocol::step::StepResult;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Request, Status};

use super::{Client, refusal_of};

/// Steps in one RPC, at most.
const MAX_STEPS: usize = 1024;
/// Bytes in one RPC, about: below the 4 MiB that gRPC peers accept by default.
const MAX_BYTES: usize = 3_500_000;
/// Longer than a participant takes to say that it is in doubt itself.
const TIMEOUT: Duration = Duration::from_millis(2000);

/// What became of a step, with the reason where it is none or doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stepped {
    /// The result.
    pub result: StepResult,
    /// Why it is refused, or not known.
    pub refusal: Option<Refusal>,
}

/// A kind of RPC about steps.
trait Call: Send + 'static {
    type Ask: Message + Clone + Send;
    type Reply: Send;

    /// Sends a batch; one reply for each, in order, or fewer if the participant answers fewer.
    fn call(client: Client, asks: Vec<Self::Ask>) -> impl Future<Output = Result<Vec<Self::Reply>, Status>> + Send;
    /// The reply when none came.
    fn doubt(refusal: Refusal) -> Self::Reply;
}

struct Execute;

impl Call for Execute {
    type Ask = wire::ExecuteStep;
    type Reply = Stepped;

    async fn call(mut client: Client, steps: Vec<wire::ExecuteStep>) -> Result<Vec<Stepped>, Status> {
        crash_point::pass("execute.before_send");
        let response = client.execute(timed(wire::ExecuteRequest { steps })).await;
        crash_point::pass("execute.after_send");
        let stepped = |result: wire::ExecuteResult| Stepped {
            result: match result.outcome() {
                wire::StepOutcome::Executed => StepResult::Executed,
                wire::StepOutcome::Refused => StepResult::Refused,
                wire::StepOutcome::Compensated => StepResult::Compensated,
                wire::StepOutcome::Forgotten => StepResult::Forgotten,
                wire::StepOutcome::Unknown | wire::StepOutcome::Unspecified => StepResult::Unknown,
            },
            refusal: result.refusal.map(refusal_of),
        };
        Ok(response?.into_inner().results.into_iter().map(stepped).collect())
    }

    fn doubt(refusal: Refusal) -> Stepped {
        Stepped { result: StepResult::Unknown, refusal: Some(refusal) }
    }
}

struct Compensate;

impl Call for Compensate {
    type Ask = wire::CompensateStep;
    type Reply = Result<(), Refusal>;

    async fn call(mut client: Client, steps: Vec<wire::CompensateStep>) -> Result<Vec<Self::Reply>, Status> {
        crash_point::pass("compensate.before_send");
        let response = client.compensate(timed(wire::CompensateRequest { steps })).await;
        crash_point::pass("compensate.after_send");
        let read = |acknowledgement: i32| match wire::Acknowledgement::try_from(acknowledgement) {
            Ok(wire::Acknowledgement::Done | wire::Acknowledgement::Ignored) => Ok(()),
            _ => Err(Refusal::new("PARTICIPANT_UNAVAILABLE", "the participant could not undo it yet")),
        };
        Ok(response?.into_inner().acknowledgements.into_iter().map(read).collect())
    }

    fn doubt(refusal: Refusal) -> Self::Reply {
        Err(refusal)
    }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    request
}

type Asked<C> = (<C as Call>::Ask, oneshot::Sender<<C as Call>::Reply>);

/// A handle on both lanes.
#[derive(Clone)]
pub struct StepLanes {
    executes: mpsc::UnboundedSender<Asked<Execute>>,
    compensates: mpsc::UnboundedSender<Asked<Compensate>>,
}

impl StepLanes {
    /// Starts the lanes' tasks.
    pub fn start(participant: &str, client: &Client) -> Self {
        StepLanes {
            executes: lane::<Execute>(participant.to_owned(), client.clone()),
            compensates: lane::<Compensate>(participant.to_owned(), client.clone()),
        }
    }

    /// Has a step carried out.
    pub async fn execute(&self, step: wire::ExecuteStep) -> Stepped {
        ask::<Execute>(&self.executes, step).await
    }

    /// Has a step undone; the reason where that was not acknowledged.
    pub async fn compensate(&self, step: wire::CompensateStep) -> Result<(), Refusal> {
        ask::<Compensate>(&self.compensates, step).await
    }
}

async fn ask<C: Call>(lane: &mpsc::UnboundedSender<Asked<C>>, ask: C::Ask) -> C::Reply {
    let (reply, answer) = oneshot::channel();
    // A lane that is gone answers nothing, which is the same doubt.
    let _ = lane.send((ask, reply));
    answer.await.unwrap_or_else(|_| C::doubt(Refusal::new("SHUTTING_DOWN", "the coordinator is shutting down")))
}

fn lane<C: Call>(participant: String, client: Client) -> mpsc::UnboundedSender<Asked<C>> {
    let (asks, mut queue) = mpsc::unbounded_channel::<Asked<C>>();
    tokio::spawn(async move {
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
            while batch.len() < MAX_STEPS {
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
    });
    asks
}

/// Sends a batch and answers everyone in it. One that is refused as such is sent again one by one, so that one bad step
/// can't fail its neighbours.
async fn send<C: Call>(participant: &str, client: &Client, batch: Vec<Asked<C>>) {
    let (asks, replies): (Vec<C::Ask>, Vec<_>) = batch.into_iter().unzip();
    let alone = asks.len() == 1;
    let again = if alone { Vec::new() } else { asks.clone() };
    match in_time::<C>(client, asks).await {
        Err(status) if !alone && is_about_one(&status) => {
            for (ask, reply) in again.into_iter().zip(replies) {
                let answered = in_time::<C>(client, vec![ask]).await;
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
            C::doubt(Refusal::new(reason, format!("{participant}: {}", super::calls::describe(&status))))
        }
    }
}

/// A peer that has stopped reading never sees the deadline in the header, so it is kept here as well.
async fn in_time<C: Call>(client: &Client, asks: Vec<C::Ask>) -> Result<Vec<C::Reply>, Status> {
    let late = || Status::deadline_exceeded(format!("no answer within {} ms", TIMEOUT.as_millis()));
    tokio::time::timeout(TIMEOUT, C::call(client.clone(), asks)).await.unwrap_or_else(|_| Err(late()))
}

fn is_about_one(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted)
}
