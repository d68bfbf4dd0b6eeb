//! What becomes of orders that were placed: each call is an attempt at a transaction of its own.
use std::collections::BTreeMap;
use std::time::Duration;

use participant::clock::now_unix_ms;
use participant::{Refusal, crash_point, status};
use proto::assent::order::v1 as api;
use proto::limits;
use protocol::branch::BranchState;
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use super::answers::{ids_of, not_accepted_of, turned_away};
use super::order::{Orders, READ_TIMEOUT, timeout};
use super::{overlay, wire};
use crate::admission::Known;
use crate::change::{Change, Operation};
use crate::content::{Branches, Content};
use crate::owner::{self, Answer, events};
use crate::participants::branches::Asked;
use crate::participants::changes;
use crate::saga;
use crate::store::{NewRecord, NewStep};

/// An attempt is given at least so long, however long the order was waited for.
const AT_LEAST: Duration = Duration::from_millis(100);

/// Who asks, and how.
pub struct Call {
    /// The client.
    pub client_id: String,
    /// The call is known to be a retry.
    pub is_retry: bool,
    /// The client's name for the request; empty if it has none.
    pub request_id: String,
    /// Time until it is given up, as it was asked for.
    pub timeout_ms: i32,
}

/// Carries a change out; answers the order as it is then, if it can be read, and the transaction.
pub async fn carry_out(orders: &Orders, call: Call, change: Change) -> Result<(Option<api::Order>, String), Status> {
    crash_point::pass("place.received");
    let coordinator = orders.coordinator();
    let Call { client_id, is_retry, request_id, timeout_ms } = call;
    let known = Known { client_id: &client_id, request_id: &request_id, is_retry };
    let admitted = coordinator.admission.admit(known, &coordinator.active);
    let admitted = admitted.map_err(|overloaded| turned_away(&overloaded, &request_id))?;
    change.check()?;
    let timeout = timeout(timeout_ms, coordinator.args.transaction_timeout_ms)?;
    let deadline = Instant::now() + timeout;
    let request_id = if request_id.is_empty() { Uuid::now_v7().to_string() } else { request_id };
    limits::check_request_id(&request_id).map_err(|wrong| status::invalid("request_id", wrong))?;
    let digest = change.digest();
    let answer = match standing(orders, &client_id, &request_id, &digest, deadline).await? {
        // The order has changed since, by this very request maybe: nothing can be worked out on it any more.
        Some(answer) => answer,
        None => {
            let order = settled(orders, &change, deadline).await?;
            let bought = wire::bought(order)?;
            let plan = change.plan(&bought)?;
            let asked = Asked { client_id: &client_id, request_id: &request_id };
            let branches = changes::of(&change, &bought, &plan, asked);
            check(orders, &branches, change.order_id, &request_id).await?;
            let request = owner::Request {
                client_id,
                request_id: request_id.clone(),
                content: Content::Branches(Branches::named(branches, digest)),
                timeout: deadline.saturating_duration_since(Instant::now()).max(AT_LEAST),
                deadline_unix_ms: None,
                is_retry,
                admitted,
            };
            owner::place(coordinator, request).await
        }
    };
    match answer {
        Answer::Accepted { order_id: transaction_id, .. } => {
            // What was done is done, whether it can be read now or not.
            Ok((orders.read(change.order_id).await.ok(), transaction_id.to_string()))
        }
        answer => Err(not_changed(answer, change.order_id, &request_id)),
    }
}

/// The outcome of the request, where somebody holds it already.
async fn standing(
    orders: &Orders,
    client_id: &str,
    request_id: &str,
    digest: &[u8],
    deadline: Instant,
) -> Result<Option<Answer>, Status> {
    let coordinator = orders.coordinator();
    let holder = coordinator.store.holder(client_id, request_id).await.map_err(|error| status::database(&error))?;
    if holder.is_none() {
        return Ok(None);
    }
    let own = NewRecord {
        transaction_id: Uuid::now_v7(),
        client_id: client_id.to_owned(),
        request_id: request_id.to_owned(),
        request_digest: digest.to_vec(),
        owner_id: coordinator.owner_id.clone(),
        deadline_unix_ms: now_unix_ms(),
        participants: "".into(),
    };
    Ok(Some(saga::follow_holder(coordinator, &own, deadline).await))
}

/// The order, once neither it nor a change of it is in doubt anywhere, so that what is worked out on it holds.
async fn settled(orders: &Orders, change: &Change, deadline: Instant) -> Result<api::Order, Status> {
    let (coordinator, order_id) = (orders.coordinator(), change.order_id);
    for looks in 0.. {
        if looks > 0 && Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(events::pause(looks, Duration::from_millis(5), Duration::from_millis(50))).await;
        let (order, pending) = orders.stored(order_id).await?;
        let Some(order) = order else {
            let shown = overlay::without_row(coordinator, order_id).await?;
            if shown.state() == api::OrderState::Refused {
                // Refused before the order service heard of it.
                let refusal =
                    Refusal::new("ORDER_REFUSED", "the order was refused: there is nothing that could be changed");
                return Err(status::refused(&refusal, &ids_of(Some(order_id), None, "")));
            }
            continue;
        };
        let pays_back = change.operation != Operation::Ship;
        let in_doubt = order.state() == api::OrderState::Pending
            || pending.is_some()
            || (pays_back && is_prepared(orders, order_id).await?);
        if !in_doubt {
            return Ok(order);
        }
        // Who looks helps on what nobody drives any more.
        overlay::resolve(coordinator, order, pending).await?;
    }
    let message = "the order can't be changed just now: it, or a change of it, is still under way";
    Err(status::error(Code::Aborted, "ORDER_BUSY", message, &ids_of(Some(order_id), None, "")))
}

/// What the order service would refuse is refused at once, and nothing is done for it. The vote, by the order as it is
/// then, may still be another one; but what others would say besides is no answer that a shop can do something with.
async fn check(orders: &Orders, branches: &[NewStep], order_id: Uuid, request_id: &str) -> Result<(), Status> {
    let Some(branch) = branches.iter().find(|branch| branch.participant == "order") else { return Ok(()) };
    let mut request = Request::new(api::CheckChangeRequest { branch: branch.branch.clone() });
    request.set_timeout(READ_TIMEOUT);
    let answer = orders.store()?.check_change(request).await.map_err(wire::from_store)?.into_inner();
    match answer.reason.as_str() {
        // Whether it still is when the vote is asked for, that says.
        "" | "ORDER_BUSY" => Ok(()),
        _ => {
            let refusal = Refusal::from_outside(answer.reason, answer.message, answer.metadata);
            Err(refused(&refusal, ids_of(Some(order_id), None, request_id)))
        }
    }
}

/// Whether the payment of an order is not captured yet: a refund could not name it.
async fn is_prepared(orders: &Orders, order_id: Uuid) -> Result<bool, Status> {
    let coordinator = orders.coordinator();
    if coordinator.active.drives(order_id) {
        return Ok(true);
    }
    let Some(payment) = coordinator.participants.get("payment") else { return Ok(false) };
    let row = payment.branch(order_id).await.map_err(|error| wire::unreachable(error.message))?;
    Ok(row.is_some_and(|row| row.state == Some(BranchState::Prepared)))
}

/// The status of an answer other than accepted.
fn not_changed(answer: Answer, order_id: Uuid, request_id: &str) -> Status {
    match &answer {
        Answer::Rejected { order_id: transaction_id, refusal } => {
            refused(refusal, ids_of(Some(order_id), Some(*transaction_id), request_id))
        }
        _ => not_accepted_of(answer, Some(order_id), request_id),
    }
}

fn refused(refusal: &Refusal, ids: BTreeMap<String, String>) -> Status {
    match refusal.reason.as_str() {
        // Another change came in between. The order service counts what was paid back as well: where it grants a refund and
        // the payments don't, another one is under way there.
        "ORDER_BUSY" | "PAYMENT_IN_DOUBT" | "REFUND_EXCEEDS_CAPTURED" => {
            let message = format!("{}; try again under a new request id", refusal.message);
            status::error(Code::Aborted, "ORDER_BUSY", message, &ids)
        }
        "ORDER_NOT_FOUND" => status::error(Code::NotFound, "ORDER_NOT_FOUND", refusal.message.clone(), &ids),
        _ => status::refused(refusal, &ids),
    }
}
