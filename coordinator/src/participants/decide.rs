//! The decision lane: COMMITs and ABORTs to one participant, sent in batches until each is acknowledged.
//!
//! One entry per transaction: whoever asks for the same again waits with the first. The lane remembers only while the
//! process lives; what it loses is found again by recovery, because the decision stands in the record.
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use participant::server::MAX_MESSAGE_BYTES;
use participant::{Refusal, TransactionRef, crash_point};
use proto::assent::transaction::v1 as wire;
use protocol::Decision;
use tokio::sync::mpsc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use uuid::Uuid;

use super::encoded::{self, Parts};
use super::{Client, refusal_to_wire};

/// Transactions in one RPC, at most.
const MAX_BATCH: usize = 1024;
/// Decisions that wait for a participant that is down, at most; beyond it the newest is left to recovery.
const MAX_WAITING: usize = 200_000;
const TIMEOUT: Duration = Duration::from_millis(2500);
const COMMIT: PathAndQuery = PathAndQuery::from_static("/assent.transaction.v1.ParticipantService/Commit");
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Short, because what is in doubt must be settled soon after a participant is back.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Who waits for the acknowledgement; dropped when the decision is acknowledged, or given up by the lane.
pub type Waiter = Arc<dyn Send + Sync>;

struct Order {
    transaction: TransactionRef,
    decision: Decision,
    refusal: Option<Refusal>,
    waiter: Waiter,
}

struct Waiting {
    transaction: TransactionRef,
    decision: Decision,
    refusal: Option<Refusal>,
    waiters: Vec<Waiter>,
}

/// A handle on the lane.
#[derive(Clone)]
pub struct DecisionLane {
    orders: mpsc::UnboundedSender<Order>,
}

impl DecisionLane {
    /// Starts the lane's task.
    pub fn start(participant: String, client: Client, channel: Channel) -> Self {
        let (orders, queue) = mpsc::unbounded_channel();
        let commits = tonic::client::Grpc::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (ready, waiting) = (VecDeque::new(), HashMap::new());
        let lane = Lane { participant, client, commits, queue, ready, waiting };
        tokio::spawn(lane.run());
        DecisionLane { orders }
    }

    /// Has a decision sent until it is acknowledged, and `waiter` kept until then, or until the lane gives it up.
    pub fn send(&self, transaction: TransactionRef, decision: Decision, refusal: Option<Refusal>, waiter: Waiter) {
        // A lane that is gone drops it at once.
        let _ = self.orders.send(Order { transaction, decision, refusal, waiter });
    }
}

struct Lane {
    participant: String,
    client: Client,
    commits: tonic::client::Grpc<Channel>,
    queue: mpsc::UnboundedReceiver<Order>,
    /// Ids to send, in order; each is a key of `waiting`.
    ready: VecDeque<Uuid>,
    waiting: HashMap<Uuid, Waiting>,
}

impl Lane {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            if self.ready.is_empty() {
                match self.queue.recv().await {
                    Some(order) => self.take(order),
                    None => return,
                }
            }
            while let Ok(order) = self.queue.try_recv() {
                self.take(order);
            }
            let count = self.ready.len().min(MAX_BATCH);
            let batch: Vec<Uuid> = self.ready.drain(..count).collect();
            if self.send(batch).await {
                pause = FIRST_PAUSE;
            } else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    fn take(&mut self, order: Order) {
        let id = order.transaction.transaction_id;
        if let Some(waiting) = self.waiting.get_mut(&id) {
            if waiting.decision == order.decision {
                waiting.waiters.push(order.waiter);
            } else {
                tracing::error!(transaction_id = %id, participant = %self.participant,
                    "decision-stability: asked to send {:?} while {:?} is being sent", order.decision, waiting.decision);
            }
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            return;
        }
        self.ready.push_back(id);
        let Order { transaction, decision, refusal, waiter } = order;
        self.waiting.insert(id, Waiting { transaction, decision, refusal, waiters: vec![waiter] });
    }

    /// Sends a batch: its commits in one RPC, its aborts in another. False when something has to be sent again.
    async fn send(&mut self, batch: Vec<Uuid>) -> bool {
        let (mut commits, mut aborts) = (Vec::new(), Vec::new());
        let (mut commit_ids, mut abort_ids) = (Vec::new(), Vec::new());
        for id in batch {
            let Some(waiting) = self.waiting.get(&id) else { continue };
            match waiting.decision {
                Decision::Commit => {
                    commits.push(waiting.transaction);
                    commit_ids.push(id);
                }
                Decision::Abort => {
                    aborts.push(wire::AbortBranch {
                        transaction: Some(waiting.transaction.into()),
                        refusal: waiting.refusal.as_ref().map(refusal_to_wire),
                    });
                    abort_ids.push(id);
                }
            }
        }
        let (committed, aborted) = tokio::join!(commit(&mut self.commits, commits), abort(self.client.clone(), aborts));
        let committed = self.settle(commit_ids, committed);
        let aborted = self.settle(abort_ids, aborted);
        committed && aborted
    }

    /// Takes the acknowledgements; what has none is queued again. False if that is any.
    fn settle(&mut self, ids: Vec<Uuid>, answer: Result<Vec<i32>, Status>) -> bool {
        let acknowledgements = answer.unwrap_or_else(|status| {
            tracing::debug!(participant = %self.participant, error = %super::calls::describe(&status),
                "decisions were not acknowledged; sending them again");
            Vec::new()
        });
        let mut acknowledgements = acknowledgements.into_iter();
        let mut all = true;
        for id in ids {
            let acknowledgement = acknowledgements.next().map(wire::Acknowledgement::try_from);
            match acknowledgement {
                Some(Ok(wire::Acknowledgement::Done | wire::Acknowledgement::Ignored)) => {
                    self.waiting.remove(&id);
                }
                Some(Ok(wire::Acknowledgement::Alarm)) => {
                    // Repeating it changes nothing: an operator has to look, and the doctor shows where.
                    let decision = self.waiting.remove(&id).map(|waiting| waiting.decision);
                    tracing::error!(transaction_id = %id, participant = %self.participant, ?decision,
                        "alarm: the decision contradicts what stands at the participant");
                }
                _ => {
                    all = false;
                    self.ready.push_back(id);
                }
            }
        }
        all
    }
}

async fn commit(
    client: &mut tonic::client::Grpc<Channel>,
    transactions: Vec<TransactionRef>,
) -> Result<Vec<i32>, Status> {
    if transactions.is_empty() {
        return Ok(Vec::new());
    }
    let mut request = Request::new(encoded::commits(transactions.into_iter()));
    request.set_timeout(TIMEOUT);
    crash_point::pass("commit.before_send");
    let call = async {
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        client.unary(request, COMMIT, Parts::<wire::CommitResponse>::default()).await
    };
    let response = tokio::time::timeout(TIMEOUT, call).await;
    crash_point::pass("commit.after_send");
    Ok(response.map_err(|_| Status::deadline_exceeded("no answer in time"))??.into_inner().acknowledgements)
}

async fn abort(mut client: Client, branches: Vec<wire::AbortBranch>) -> Result<Vec<i32>, Status> {
    if branches.is_empty() {
        return Ok(Vec::new());
    }
    let mut request = Request::new(wire::AbortRequest { branches });
    request.set_timeout(TIMEOUT);
    crash_point::pass("abort.before_send");
    let response = tokio::time::timeout(TIMEOUT, client.abort(request)).await;
    crash_point::pass("abort.after_send");
    Ok(response.map_err(|_| Status::deadline_exceeded("no answer in time"))??.into_inner().acknowledgements)
}
