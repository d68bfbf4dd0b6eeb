//! Conversions between the wire's types and the coordinator's.
use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use participant::audit::{Check, Violation};
use participant::status;
use proto::assent::order::v1 as order_api;
use proto::assent::transaction::v1 as api;
use proto::google::r#type::Money;
use protocol::record::RecordState;
use tonic::{Code, Status};
use uuid::Uuid;

use super::order::timestamp;
use crate::change::Bought;
use crate::domain::{Allowed, Line, Order};
use crate::participants::refusal_to_wire;
use crate::store::{ClientAnswer, Record};

/// The lines of a request, each with its price's currency.
pub fn lines(lines: Vec<order_api::OrderLine>) -> Result<Vec<(Line, String)>, Status> {
    let mut read = Vec::with_capacity(lines.len());
    for (place, line) in lines.into_iter().enumerate() {
        let field = || format!("lines[{place}].unit_price");
        let price = line.unit_price.ok_or_else(|| status::invalid(field(), "is missing"))?;
        let unit_price_minor = price.to_minor().map_err(|error| status::invalid(field(), error.to_string()))?;
        read.push((Line { sku: line.sku, quantity: line.quantity, unit_price_minor }, price.currency_code));
    }
    Ok(read)
}

/// A placed order.
pub fn confirmed(order_id: Uuid, order: &Order, request_id: String, create_time: DateTime<Utc>) -> order_api::Order {
    let lines = order.lines.iter().map(|line| order_api::OrderLine {
        sku: line.sku.clone(),
        quantity: line.quantity,
        unit_price: Some(Money::from_minor(&order.currency, line.unit_price_minor)),
        ..order_api::OrderLine::default()
    });
    order_api::Order {
        order_id: order_id.to_string(),
        account: order.account.clone(),
        state: match order.allowed {
            Allowed::Nothing => order_api::OrderState::Confirmed.into(),
            Allowed::Whole | Allowed::Partial => order_api::OrderState::Backordered.into(),
        },
        waits: order.allowed != Allowed::Nothing,
        lines: lines.collect(),
        total: Some(Money::from_minor(&order.currency, order.total_minor)),
        reason: String::new(),
        reason_message: String::new(),
        request_id,
        create_time: Some(timestamp(create_time)),
        // Placed, and confirmed.
        version: 2,
        ..order_api::Order::default()
    }
}

/// An order as the order service keeps it, as far as changes are worked out on it.
pub fn bought(order: order_api::Order) -> Result<Bought, Status> {
    let unreadable = |_| Status::internal("the order service shows an order that can't be read");
    let minor = |money: Option<&Money>| money.map_or(Ok(0), |money| money.to_minor().map_err(unreadable));
    let mut lines = Vec::with_capacity(order.lines.len());
    let mut returned = Vec::with_capacity(order.lines.len());
    for line in &order.lines {
        let unit_price_minor = minor(line.unit_price.as_ref())?;
        lines.push(Line { sku: line.sku.clone(), quantity: line.quantity, unit_price_minor });
        returned.push(line.returned_quantity);
    }
    Ok(Bought {
        total_minor: minor(order.total.as_ref())?,
        refunded_minor: minor(order.refunded.as_ref())?,
        currency: order.total.map(|total| total.currency_code).unwrap_or_default(),
        account: order.account,
        lines,
        returned,
        is_captured: order.state != i32::from(order_api::OrderState::Backordered),
    })
}

/// What an order allows to be waited for.
pub fn allowed(allow_backorder: i32, mode: order_api::OrderMode) -> Result<Allowed, Status> {
    let allowed = match order_api::AllowBackorder::try_from(allow_backorder) {
        Ok(order_api::AllowBackorder::Unspecified) => return Ok(Allowed::Nothing),
        Ok(order_api::AllowBackorder::Whole) => Allowed::Whole,
        Ok(order_api::AllowBackorder::Partial) => Allowed::Partial,
        Err(_) => {
            return Err(status::invalid(
                "allow_backorder",
                format!("{allow_backorder} is nothing that can be allowed"),
            ));
        }
    };
    match mode {
        order_api::OrderMode::Atomic | order_api::OrderMode::Unspecified => Ok(allowed),
        _ => Err(status::invalid("allow_backorder", "is only for ORDER_MODE_ATOMIC")),
    }
}

/// A record.
pub fn transaction(record: &Record) -> api::Transaction {
    let client_answer = match record.client_answer {
        ClientAnswer::Nothing => api::ClientAnswer::Unspecified,
        ClientAnswer::Accepted => api::ClientAnswer::Accepted,
        ClientAnswer::Rejected => api::ClientAnswer::Rejected,
        ClientAnswer::Unknown => api::ClientAnswer::Unknown,
    };
    api::Transaction {
        transaction_id: record.transaction_id.to_string(),
        state: state(Some(record.state)).into(),
        deadline: deadline(record.deadline_unix_ms),
        participants: record.participants.clone(),
        owner_id: record.owner_id.clone(),
        client_id: record.client_id.clone(),
        request_id: record.request_id.clone(),
        holds_request: record.holds_request,
        refusal: record.refusal.as_ref().map(refusal_to_wire),
        client_answer: client_answer.into(),
        create_time: Some(timestamp(record.create_time)),
        decide_time: record.decide_time.map(timestamp),
        first_decision: state(record.first_decision).into(),
        mode: match record.is_saga {
            true => api::TransactionMode::Saga.into(),
            false => api::TransactionMode::Atomic.into(),
        },
    }
}

/// A deadline, if a clock can show it.
pub fn deadline(deadline_unix_ms: i64) -> Option<prost_types::Timestamp> {
    Utc.timestamp_millis_opt(deadline_unix_ms).single().map(timestamp)
}

/// A record's state.
pub fn state(state: Option<RecordState>) -> api::RecordState {
    match state {
        None => api::RecordState::Unspecified,
        Some(RecordState::Staging) => api::RecordState::Staging,
        Some(RecordState::Committed) => api::RecordState::Committed,
        Some(RecordState::Aborted) => api::RecordState::Aborted,
    }
}

/// A participant that is needed can't be reached.
pub fn unreachable(message: impl Into<String>) -> Status {
    status::unavailable("PARTICIPANT_UNAVAILABLE", message, &BTreeMap::new(), Duration::from_millis(200))
}

/// What the order service said, as this service's own word: its reasons are the shop's, its troubles are not.
pub fn from_store(status: Status) -> Status {
    match status.code() {
        Code::InvalidArgument | Code::NotFound => status,
        _ => unreachable(format!("the order service did not answer: {}", status.message())),
    }
}

/// At most so many violations of an invariant are listed.
const MAX_VIOLATIONS: usize = 100;

/// A check of an invariant.
pub fn check(check: Check) -> api::InvariantCheck {
    let violation =
        |Violation { transaction_id, subject, detail }| api::InvariantViolation { transaction_id, subject, detail };
    api::InvariantCheck {
        invariant: check.invariant.to_owned(),
        checked_count: check.checked_count,
        violations: check.violations.into_iter().take(MAX_VIOLATIONS).map(violation).collect(),
    }
}
