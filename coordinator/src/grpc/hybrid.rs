//! Orders that are shipped in between: what a client asks for and is told. The order's id is that of the saga's group.
use std::collections::BTreeMap;
use std::time::Duration;

use participant::status;
use proto::assent::order::v1 as api;
use tonic::Status;

use super::answers::{ids_of, not_accepted_of};
use super::order::Orders;
use crate::coordinator::Coordinator;
use crate::domain::Invalid;
use crate::owner::Answer;
use crate::saga::group;

/// What "shipping" is told, at most.
const MAX_SHIPPING_BYTES: usize = 65_536;

/// Checks what is special about the mode.
pub fn check(coordinator: &Coordinator, mode: api::OrderMode, shipping: &[u8]) -> Result<(), Invalid> {
    let is_hybrid = mode == api::OrderMode::Hybrid;
    if !is_hybrid && !shipping.is_empty() {
        return Err(Invalid::new("shipping", "is for ORDER_MODE_HYBRID only"));
    }
    if shipping.len() > MAX_SHIPPING_BYTES {
        return Err(Invalid::new("shipping", format!("must be at most {MAX_SHIPPING_BYTES} bytes")));
    }
    if is_hybrid && coordinator.participants.get(group::SHIPPING).is_none() {
        let wrong = format!("needs a participant that is called {:?}; see --participants", group::SHIPPING);
        return Err(Invalid::new("mode", wrong));
    }
    Ok(())
}

/// What the client is told.
pub async fn answer(orders: &Orders, answer: Answer, request_id: &str) -> Result<api::PlaceOrderResponse, Status> {
    let saga_id = match &answer {
        Answer::Accepted { order_id, .. }
        | Answer::Rejected { order_id, .. }
        | Answer::Aborted { order_id, .. }
        | Answer::Unknown { order_id, .. } => Some(*order_id),
        Answer::RequestReused { order_id } => *order_id,
    };
    let placed = match saga_id {
        Some(saga_id) => group::order_of(orders.coordinator(), saga_id).await,
        None => Ok(None),
    };
    let order_id = match &placed {
        Ok(placed) => placed.as_ref().map(|record| record.transaction_id),
        Err(_) => None,
    };
    if !matches!(answer, Answer::Accepted { .. }) {
        return Err(not_accepted_of(answer, order_id, request_id));
    }
    let Some(order_id) = order_id else {
        let message = "the order is shipped, but can't be read just now; repeat this very call";
        let ids: BTreeMap<String, String> = ids_of(None, saga_id, request_id);
        return Err(status::unavailable("OUTCOME_UNKNOWN", message, &ids, Duration::from_millis(500)));
    };
    let transaction_id = saga_id.map(|id| id.to_string()).unwrap_or_default();
    Ok(api::PlaceOrderResponse { order: Some(orders.read(order_id).await?), transaction_id })
}
