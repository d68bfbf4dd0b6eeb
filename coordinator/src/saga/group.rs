//! An atomic group as a step of a saga: what several participants prepare and commit together, while the saga's other steps
//! may take their time and hold nothing.
//!
//! The coordinator itself is the group's participant. To execute the step is to place a child: an attempt at an atomic
//! transaction whose request is named by the saga and the step, under a client identity that nobody else can use. So the
//! record that holds this request is the step's row. It is written once, because a request has one holder; it is what every
//! repeat is answered by; and where nothing was executed, the compensation writes an ABORTED one that takes the request, which
//! a late execution meets. What did commit is undone by another child. A step that must succeed tries again under the next
//! name once the child before it is aborted for good.
//!
//! An order's saga of this kind (ORDER_MODE_HYBRID):
//!
//! ```text
//! group (stock sold, order confirmed, payment authorised) -- ship (the pivot) -- finish (payment captured, order shipped)
//! ```
use std::sync::Arc;
use std::time::Duration;

use participant::Refusal;
use participant::clock::now_unix_ms;
use prost::Message;
use proto::assent::inventory::v1::{InventoryBranch, PutBack, PutBackLine};
use proto::assent::order::v1::{OrderBranch, OrderChange, OrderGroup, OrderOperation};
use proto::assent::payment::v1::{PaymentBranch, PaymentOperation};
use protocol::Decision;
use protocol::record::{Abort, RecordState};
use protocol::saga::Kind;
use protocol::step::StepResult;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use super::follow;
use crate::content::{Branches, Content, DEFAULT_KIND, Hybrid};
use crate::coordinator::Coordinator;
use crate::owner::{self, Answer, Request};
use crate::participants::Stepped;
use crate::participants::branches::{self, Asked};
use crate::store::{NewRecord, NewStep, Record};

/// The participant of steps that the coordinator carries out itself.
pub const NAME: &str = "assent:group";
/// Who asks for the children. No client may call itself so.
pub const CLIENT: &str = "assent:saga";
/// The participant that ships.
pub const SHIPPING: &str = "shipping";

/// The steps of an order.
const GROUP: &str = "group";
const FINISH: &str = "finish";
/// The children that undo the group.
const UNDO: &str = "undo";

/// The reason of a record that a compensation has written because there was nothing to undo.
const COMPENSATED: &str = "COMPENSATED";
/// How long a child may take where its saga sets no limit any more.
const CHILD_TIMEOUT: Duration = Duration::from_secs(5);
/// A child that has less time than this is not begun.
const LEAST_MS: i64 = 100;
/// Children of one step, at most, that are looked through at one time.
const MOST: u32 = 10_000;

/// A step that the coordinator carries out itself.
pub struct Step {
    /// The saga.
    pub saga_id: Uuid,
    /// The step's name.
    pub name: String,
    /// What is to be done.
    pub branch: Vec<u8>,
    /// The saga's deadline, as the message to a participant would name it.
    pub deadline_unix_ms: i64,
}

/// The steps of an order in this mode.
pub fn steps_of(hybrid: &Hybrid, asked: Asked<'_>) -> Vec<NewStep> {
    let (inventory, order, payment) = branches::of_order(&hybrid.order, asked);
    let group = OrderGroup { inventory: Some(inventory), order: Some(order), payment: Some(payment) };
    let step = |name: &str, participant: &str, kind, after: &[usize], branch| NewStep {
        name: name.to_owned(),
        participant: participant.to_owned(),
        kind,
        after: after.to_vec(),
        branch,
        timeout_ms: None,
    };
    let group = group.encode_to_vec();
    vec![
        step(GROUP, NAME, Kind::Compensatable, &[], group.clone()),
        step("ship", SHIPPING, Kind::Pivot, &[0], hybrid.shipping.clone()),
        step(FINISH, NAME, Kind::Retriable, &[1], group),
    ]
}

/// The order that a saga has placed: the transaction of its group, if that took effect.
pub async fn order_of(coordinator: &Coordinator, saga_id: Uuid) -> Result<Option<Record>, sqlx::Error> {
    let placed = coordinator.store.holder(CLIENT, &key(saga_id, GROUP, 1)).await?;
    // The decision may be ahead of the record.
    let is_committed = |record: &Record| match coordinator.active.decision(record.transaction_id) {
        Some((decision, _)) => decision == Decision::Commit,
        None => record.state == RecordState::Committed,
    };
    Ok(placed.filter(is_committed))
}

/// Carries a step out, unless that was done or undone before.
pub async fn execute(coordinator: Arc<Coordinator>, step: Step) -> Stepped {
    match step.name.as_str() {
        GROUP => place(&coordinator, &step).await,
        FINISH => finish(&coordinator, &step).await,
        name => unknown(Refusal::new("UNREADABLE", format!("no step of the coordinator's own is called {name:?}"))),
    }
}

async fn place(coordinator: &Arc<Coordinator>, step: &Step) -> Stepped {
    let Ok(group) = OrderGroup::decode(step.branch.as_slice()) else { return unreadable() };
    let answer = child(coordinator, &key(step.saga_id, GROUP, 1), step.deadline_unix_ms, placing(group)).await;
    let (result, refusal) = match answer {
        Answer::Accepted { .. } => (StepResult::Executed, None),
        Answer::Aborted { cause, .. } if cause.reason == COMPENSATED => (StepResult::Compensated, Some(cause)),
        // Both stand in a record that holds the request: no later execution can come to anything else.
        Answer::Rejected { refusal, .. } | Answer::Aborted { cause: refusal, .. } => {
            (StepResult::Refused, Some(refusal))
        }
        answer => (StepResult::Unknown, Some(in_doubt(answer))),
    };
    Stepped { result, refusal }
}

async fn finish(coordinator: &Arc<Coordinator>, step: &Step) -> Stepped {
    let Ok(group) = OrderGroup::decode(step.branch.as_slice()) else { return unreadable() };
    if step.deadline_unix_ms - now_unix_ms() < LEAST_MS {
        // Nothing is begun under this deadline any more; what is retried until it succeeds is told the next one.
        return Stepped { result: StepResult::Forgotten, refusal: None };
    }
    let placed = match order_of(coordinator, step.saga_id).await {
        Ok(Some(placed)) => placed.transaction_id,
        Ok(None) => return unknown(Refusal::new("ORDER_LOST", "the saga's order was not placed; run `assent doctor`")),
        Err(error) => return unknown(database(&error)),
    };
    let with = |refused: Option<&Refusal>| {
        // Somebody has marked it as shipped already: then only the money is left.
        let is_shipped = refused.is_some_and(|refusal| refusal.reason == "ALREADY_SHIPPED");
        finishing(&group, placed, is_shipped)
    };
    match until_one_commits(coordinator, step.saga_id, FINISH, step.deadline_unix_ms, with).await {
        Ok(()) => Stepped { result: StepResult::Executed, refusal: None },
        Err(refusal) => unknown(refusal),
    }
}

/// Undoes a step; where it was not carried out, sees to it that it never is.
pub async fn compensate(coordinator: Arc<Coordinator>, step: Step, why: Refusal) -> Result<(), Refusal> {
    let group = OrderGroup::decode(step.branch.as_slice())
        .map_err(|_| Refusal::new("UNREADABLE", "the step's branch can't be read"))?;
    let key = key(step.saga_id, &step.name, 1);
    // The second look meets what the first has written, or whoever was faster.
    for _ in 0..2 {
        let holder = coordinator.store.holder(CLIENT, &key).await.map_err(|error| database(&error))?;
        let Some(holder) = holder else {
            let record = Arc::new(record(&coordinator, &key, step.deadline_unix_ms));
            let nothing = Refusal::new(COMPENSATED, "the saga was given up before this was carried out");
            match coordinator.store.abort(record, nothing).await {
                // Below the watermark nothing can be begun under any deadline that was ever named.
                Ok(Abort::BelowWatermark | Abort::Aborted { holds_request: true }) => return Ok(()),
                Ok(_) => continue,
                Err(doubt) => return Err(Refusal::new("DATABASE_UNAVAILABLE", doubt.to_string())),
            }
        };
        let answer = match holder.state {
            RecordState::Aborted => return Ok(()),
            RecordState::Committed => {
                let with = |_: Option<&Refusal>| undoing(&group, holder.transaction_id, &why);
                let deadline_unix_ms = now_unix_ms().saturating_add(millis(CHILD_TIMEOUT));
                return until_one_commits(&coordinator, step.saga_id, UNDO, deadline_unix_ms, with).await;
            }
            RecordState::Staging => followed(&coordinator, &key, step.deadline_unix_ms).await,
        };
        if matches!(answer, Answer::Unknown { .. }) {
            return Err(in_doubt(answer));
        }
    }
    Err(Refusal::new("UNDER_WAY", "it is being carried out just now"))
}

/// Has one child of a step commit: the first that is not aborted for good. One new child is tried at most; its refusal is
/// answered, and the next call begins the next one. `with` are its branches, by why the one before it was refused.
async fn until_one_commits(
    coordinator: &Arc<Coordinator>,
    saga_id: Uuid,
    step: &str,
    deadline_unix_ms: i64,
    with: impl Fn(Option<&Refusal>) -> Vec<NewStep>,
) -> Result<(), Refusal> {
    let mut refused = None;
    for number in 1..MOST {
        let key = key(saga_id, step, number);
        let before = coordinator.store.holder(CLIENT, &key).await.map_err(|error| database(&error))?;
        let is_old = before.as_ref().is_some_and(|record| record.state == RecordState::Aborted);
        match child(coordinator, &key, deadline_unix_ms, with(refused.as_ref())).await {
            Answer::Accepted { .. } => return Ok(()),
            Answer::Rejected { refusal, .. } | Answer::Aborted { cause: refusal, .. } if is_old => {
                refused = Some(refusal);
            }
            Answer::Rejected { refusal, .. } | Answer::Aborted { cause: refusal, .. } => return Err(refusal),
            answer => return Err(in_doubt(answer)),
        }
    }
    Err(Refusal::new("GIVEN_UP", format!("{MOST} transactions were tried in vain; see what refuses them")))
}

/// The outcome of the child of this name: that of the record that holds it, or of a new one.
async fn child(coordinator: &Arc<Coordinator>, key: &str, deadline_unix_ms: i64, branches: Vec<NewStep>) -> Answer {
    match coordinator.store.holder(CLIENT, key).await {
        Ok(Some(_)) => return followed(coordinator, key, deadline_unix_ms).await,
        Ok(None) => (),
        Err(error) => return Answer::Unknown { order_id: Uuid::nil(), cause: database(&error) },
    }
    let request = Request {
        client_id: CLIENT.to_owned(),
        request_id: key.to_owned(),
        content: Content::Branches(Branches::named(branches, digest(key))),
        timeout: left(deadline_unix_ms),
        // What is late must not get a later deadline than its saga has: it may have been undone meanwhile.
        deadline_unix_ms: Some(deadline_unix_ms),
        is_retry: false,
        admitted: coordinator.admission.admit_own(),
    };
    owner::place(coordinator, request).await
}

async fn followed(coordinator: &Arc<Coordinator>, key: &str, deadline_unix_ms: i64) -> Answer {
    let own = record(coordinator, key, deadline_unix_ms);
    follow::outcome(coordinator, &own, Instant::now() + left(deadline_unix_ms)).await
}

fn key(saga_id: Uuid, step: &str, number: u32) -> String {
    match number {
        1 => format!("{saga_id}/{step}"),
        number => format!("{saga_id}/{step}/{number}"),
    }
}

/// A child is what its name says, whatever its branches are worked out to be.
fn digest(key: &str) -> Vec<u8> {
    Sha256::digest(format!("\0child {key}")).to_vec()
}

fn record(coordinator: &Coordinator, key: &str, deadline_unix_ms: i64) -> NewRecord {
    NewRecord {
        transaction_id: Uuid::now_v7(),
        client_id: CLIENT.to_owned(),
        request_id: key.to_owned(),
        request_digest: digest(key),
        owner_id: coordinator.owner_id.clone(),
        deadline_unix_ms,
        participants: branches::JOINED.into(),
    }
}

fn left(deadline_unix_ms: i64) -> Duration {
    Duration::from_millis(deadline_unix_ms.saturating_sub(now_unix_ms()).clamp(0, 86_400_000).unsigned_abs())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn branch(participant: &str, branch: Vec<u8>) -> NewStep {
    let name = participant.to_owned();
    NewStep { name: name.clone(), participant: name, kind: DEFAULT_KIND, after: Vec::new(), branch, timeout_ms: None }
}

/// Whether there is anything to pay.
fn is_paid(group: &OrderGroup) -> bool {
    let amount = group.payment.as_ref().and_then(|payment| payment.amount.as_ref());
    amount.is_some_and(|amount| (amount.units, amount.nanos) != (0, 0))
}

/// Stock, order and authorisation.
fn placing(group: OrderGroup) -> Vec<NewStep> {
    let is_paid = is_paid(&group);
    let OrderGroup { inventory, order, payment } = group;
    let mut branches = vec![
        branch("inventory", inventory.unwrap_or_default().encode_to_vec()),
        branch("order", order.unwrap_or_default().encode_to_vec()),
    ];
    if is_paid {
        let authorise = PaymentOperation::Authorise.into();
        let payment = PaymentBranch { operation: authorise, ..payment.unwrap_or_default() };
        branches.push(branch("payment", payment.encode_to_vec()));
    }
    branches
}

/// The capture of what was authorised, and that the order is shipped.
fn finishing(group: &OrderGroup, order_id: Uuid, is_shipped: bool) -> Vec<NewStep> {
    let mut branches = Vec::with_capacity(2);
    if !is_shipped {
        branches.push(branch("order", change(group, order_id, OrderOperation::Ship, String::new()).encode_to_vec()));
    }
    if is_paid(group) {
        let payment = PaymentBranch {
            operation: PaymentOperation::Capture.into(),
            payment_id: order_id.to_string(),
            final_capture: true,
            ..group.payment.clone().unwrap_or_default()
        };
        branches.push(branch("payment", payment.encode_to_vec()));
    }
    branches
}

/// The order is cancelled, its units put back and the authorisation given back.
fn undoing(group: &OrderGroup, order_id: Uuid, why: &Refusal) -> Vec<NewStep> {
    let line = |line: proto::assent::inventory::v1::StockLine| PutBackLine {
        sku: line.sku,
        quantity: line.quantity,
        damaged: false,
    };
    let lines = group.inventory.clone().unwrap_or_default().lines.into_iter().map(line).collect();
    let put_back = PutBack { order_id: order_id.to_string(), lines, cancelled: true };
    let inventory = InventoryBranch { put_back: Some(put_back), ..InventoryBranch::default() };
    let mut branches = vec![
        branch("inventory", inventory.encode_to_vec()),
        branch("order", change(group, order_id, OrderOperation::Cancel, why.reason.clone()).encode_to_vec()),
    ];
    if is_paid(group) {
        let account = group.payment.clone().unwrap_or_default().account;
        let void = PaymentBranch {
            account,
            operation: PaymentOperation::Void.into(),
            payment_id: order_id.to_string(),
            ..PaymentBranch::default()
        };
        branches.push(branch("payment", void.encode_to_vec()));
    }
    branches
}

fn change(group: &OrderGroup, order_id: Uuid, operation: OrderOperation, reason: String) -> OrderBranch {
    let OrderBranch { request_id, client_id, .. } = group.order.clone().unwrap_or_default();
    let change = OrderChange {
        order_id: order_id.to_string(),
        operation: operation.into(),
        // Another service's word, cut to what the order service takes.
        reason: reason.chars().filter(|letter| !letter.is_control()).take(proto::limits::MAX_TEXT).collect(),
        uncaptured: true,
        ..OrderChange::default()
    };
    OrderBranch { request_id, client_id, change: Some(change), ..OrderBranch::default() }
}

fn in_doubt(answer: Answer) -> Refusal {
    match answer {
        Answer::Unknown { cause, .. } => cause,
        _ => Refusal::new("UNDER_WAY", "another transaction has this one's name; run `assent doctor`"),
    }
}

fn database(error: &sqlx::Error) -> Refusal {
    Refusal::new("DATABASE_UNAVAILABLE", format!("the coordinator's database can't be reached: {error}"))
}

fn unreadable() -> Stepped {
    unknown(Refusal::new("UNREADABLE", "the step's branch can't be read"))
}

fn unknown(refusal: Refusal) -> Stepped {
    Stepped { result: StepResult::Unknown, refusal: Some(refusal) }
}
