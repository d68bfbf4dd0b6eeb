//! Orders as decided: what the order service still shows as pending may be decided already.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use participant::clock::now_unix_ms;
use participant::transaction::read_id;
use participant::{Refusal, TransactionRef, status};
use proto::assent::order::v1 as api;
use proto::assent::order::v1::order_store_service_client::OrderStoreServiceClient;
use protocol::Decision;
use protocol::branch::BranchState;
use protocol::record::RecordState;
use protocol::recovery::Outcome;
use tonic::transport::Channel;
use tonic::{Request, Status};
use uuid::Uuid;

use super::order::timestamp;
use super::wire;
use crate::coordinator::Coordinator;
use crate::recover;
use crate::store::Record;

/// The version of an order that is confirmed or refused, and nothing more.
const DECIDED: i64 = 2;
/// How many pending orders are looked up at one time.
const AT_ONCE: usize = 16;
/// Pending orders that are settled before a filtered list, at most.
const MAX_PENDING: i32 = 1_000;
/// How long a filtered list waits for them.
const SETTLED_WITHIN: Duration = Duration::from_millis(1000);

/// The order with its state as decided, and with the change of it that is in doubt, if that is decided.
pub async fn resolve(
    coordinator: &Arc<Coordinator>,
    mut order: api::Order,
    pending: Option<api::PendingChange>,
) -> Result<api::Order, Status> {
    if let Some(api::PendingChange { transaction_id, after: Some(after) }) = pending {
        let (decision, _) = decision(coordinator, &transaction_id).await?;
        return Ok(if decision == Some(Decision::Commit) { after } else { order });
    }
    if order.state() != api::OrderState::Pending {
        return Ok(order);
    }
    let (decision, refusal) = decision(coordinator, &order.order_id).await?;
    match decision {
        Some(Decision::Commit) => {
            order.set_state(if order.waits { api::OrderState::Backordered } else { api::OrderState::Confirmed });
            order.version = DECIDED;
        }
        Some(Decision::Abort) => {
            order.set_state(api::OrderState::Refused);
            order.version = DECIDED;
            if let Some(refusal) = refusal {
                order.reason = refusal.reason;
                order.reason_message = refusal.message;
            }
        }
        None => (),
    }
    Ok(order)
}

/// The same for many, in their order.
pub async fn resolve_all(
    coordinator: &Arc<Coordinator>,
    orders: Vec<api::Order>,
    pending: Vec<api::PendingChange>,
) -> Result<Vec<api::Order>, Status> {
    let of_order = |change: api::PendingChange| Some((change.after.as_ref()?.order_id.clone(), change));
    let mut pending: HashMap<String, api::PendingChange> = pending.into_iter().filter_map(of_order).collect();
    let each = stream::iter(orders).map(|order| {
        let change = pending.remove(&order.order_id);
        resolve(coordinator, order, change)
    });
    each.buffered(AT_ONCE).try_collect().await
}

async fn decision(
    coordinator: &Arc<Coordinator>,
    transaction_id: &str,
) -> Result<(Option<Decision>, Option<Refusal>), Status> {
    let transaction_id = read_id("transaction_id", transaction_id)
        .map_err(|_| Status::internal("the order service shows an order without an id"))?;
    match coordinator.active.decision(transaction_id) {
        Some((decision, refusal)) => Ok((Some(decision), refusal)),
        None => recorded(coordinator, transaction_id).await,
    }
}

/// An order of which the order service knows nothing: refused before it got there, or not there yet.
pub async fn without_row(coordinator: &Arc<Coordinator>, order_id: Uuid) -> Result<api::Order, Status> {
    let record = coordinator.store.record(order_id).await.map_err(|error| status::database(&error))?;
    let Some(record) = record else {
        return match coordinator.active.drives(order_id) {
            true => Ok(api::Order {
                order_id: order_id.to_string(),
                state: api::OrderState::Pending.into(),
                ..api::Order::default()
            }),
            false => Err(status::not_found("ORDER_NOT_FOUND", "order", &order_id.to_string())),
        };
    };
    if !record.participants.is_empty() && !record.participants.iter().any(|name| name == "order") {
        // A transaction, but no order.
        return Err(status::not_found("ORDER_NOT_FOUND", "order", &order_id.to_string()));
    }
    let mut order = api::Order {
        order_id: order_id.to_string(),
        state: api::OrderState::Pending.into(),
        request_id: record.request_id.clone(),
        create_time: Some(timestamp(record.create_time)),
        ..api::Order::default()
    };
    let (decision, refusal) = decided(coordinator, record).await;
    match decision {
        Some(Decision::Abort) => {
            order.set_state(api::OrderState::Refused);
            order.version = DECIDED;
            if let Some(refusal) = refusal {
                order.reason = refusal.reason;
                order.reason_message = refusal.message;
            }
        }
        // Committed without a row contradicts the protocol; the doctor says more.
        Some(Decision::Commit) => {
            return Err(status::error(
                tonic::Code::Internal,
                "ORDER_LOST",
                format!("order {order_id} is committed, but the order service does not know it; run `assent doctor`"),
                &Default::default(),
            ));
        }
        None => (),
    }
    Ok(order)
}

/// Waits until the order service has applied what this process has decided, so that it can filter by state.
pub async fn settle(
    coordinator: &Arc<Coordinator>,
    store: &OrderStoreServiceClient<Channel>,
    account: &str,
) -> Result<(), Status> {
    let read = async |state: api::OrderState, changing| {
        let page_size = MAX_PENDING;
        let account = account.to_owned();
        let asked =
            api::ReadOrdersRequest { page_size, page_token: String::new(), state: state.into(), account, changing };
        let mut request = Request::new(asked);
        request.set_timeout(SETTLED_WITHIN);
        let read = store.clone().read_orders(request).await;
        read.map(|page| page.into_inner()).map_err(wire::from_store)
    };
    let placed = read(api::OrderState::Pending, false);
    let (placed, changed) = tokio::try_join!(placed, read(api::OrderState::Unspecified, true))?;
    let placed = placed.orders.into_iter().map(|order| order.order_id);
    let changed = changed.pending_changes.into_iter().map(|change| change.transaction_id);
    let settled = placed.chain(changed).filter_map(|id| id.parse().ok()).map(|transaction_id| async move {
        if coordinator.active.decision(transaction_id).is_some() {
            coordinator.active.settled(transaction_id).await;
        }
    });
    // A participant that is down keeps them from settling; the list is then as the store has it.
    let _ = tokio::time::timeout(SETTLED_WITHIN, futures::future::join_all(settled)).await;
    Ok(())
}

async fn recorded(
    coordinator: &Arc<Coordinator>,
    order_id: Uuid,
) -> Result<(Option<Decision>, Option<Refusal>), Status> {
    match coordinator.store.record(order_id).await.map_err(|error| status::database(&error))? {
        Some(record) => Ok(decided(coordinator, record).await),
        None => Ok((None, None)),
    }
}

/// What is decided by a record. One that is STAGING may be committed by its votes alone, and its owner's client may
/// have been told so by another process: then, and past the deadline, recovery tells, which is safe at any time.
async fn decided(coordinator: &Arc<Coordinator>, record: Record) -> (Option<Decision>, Option<Refusal>) {
    match record.state {
        RecordState::Committed => return (Some(Decision::Commit), None),
        RecordState::Aborted => return (Some(Decision::Abort), record.refusal),
        RecordState::Staging => (),
    }
    if record.is_saga {
        // Nothing implies its decision: it stands in its record before anyone is told.
        return (None, None);
    }
    let transaction_id = record.transaction_id;
    let overdue = record.deadline_unix_ms < now_unix_ms();
    if coordinator.active.drives(transaction_id) && !overdue {
        return coordinator.active.decision(transaction_id).map_or((None, None), |(it, why)| (Some(it), why));
    }
    if !overdue && !all_voted_yes(coordinator, &record).await {
        return (None, None);
    }
    let transaction = TransactionRef { transaction_id, deadline_unix_ms: record.deadline_unix_ms };
    match recover::recover(coordinator, transaction, record.participants).await.outcome {
        Outcome::Decided(decision) => (Some(decision), None),
        Outcome::Forgotten | Outcome::InDoubt => (None, None),
    }
}

async fn all_voted_yes(coordinator: &Coordinator, record: &Record) -> bool {
    let asked = record.participants.iter().map(|name| async move {
        let branch = coordinator.participants.get(name)?.branch(record.transaction_id).await.ok()??;
        branch.state
    });
    futures::future::join_all(asked)
        .await
        .into_iter()
        .all(|state| matches!(state, Some(BranchState::Prepared | BranchState::Committed)))
}
