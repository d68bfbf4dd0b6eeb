//! Conversions between the wire's types and the order service's.
use std::time::SystemTime;

use participant::status;
use proto::assent::order::v1 as api;
use proto::google::r#type::Money;
use tonic::Status;

use crate::domain::{Event, EventKind, Order, ReturnLine, State};

/// An order.
pub fn order(order: Order) -> api::Order {
    let currency = order.content.currency;
    let money = |minor| Some(Money::from_minor(&currency, minor));
    let returned = order.returned;
    let returned = |place: usize| returned.get(place).copied().unwrap_or_default();
    api::Order {
        order_id: order.order_id.to_string(),
        account: order.content.account,
        state: state_to_wire(order.state).into(),
        total: money(order.content.total_minor),
        lines: order
            .content
            .lines
            .into_iter()
            .enumerate()
            .map(|(place, line)| api::OrderLine {
                sku: line.sku,
                quantity: line.quantity,
                unit_price: money(line.unit_price_minor),
                returned_quantity: returned(place),
            })
            .collect(),
        reason: order.reason,
        reason_message: order.reason_message,
        request_id: order.content.request_id,
        create_time: Some(SystemTime::from(order.create_time).into()),
        version: order.version,
        refunded: Some(order.refunded_minor).filter(|minor| *minor != 0).and_then(money),
        tracking: order.tracking,
        waits: order.content.waits,
        allotted_units: order.allotted_units,
    }
}

/// What an order will be if the change that is in doubt takes effect.
pub fn pending_change(of: &Order) -> Option<api::PendingChange> {
    let (transaction_id, after) = of.after_pending()?;
    Some(api::PendingChange { transaction_id: transaction_id.to_string(), after: Some(order(after)) })
}

/// One entry of an order's history.
pub fn event(of: &Order, event: Event) -> api::OrderEvent {
    let kind = match event.kind {
        EventKind::Placed => api::OrderEventKind::Placed,
        EventKind::Confirmed => api::OrderEventKind::Confirmed,
        EventKind::Refused => api::OrderEventKind::Refused,
        EventKind::Cancelled => api::OrderEventKind::Cancelled,
        EventKind::Shipped => api::OrderEventKind::Shipped,
        EventKind::Returned => api::OrderEventKind::Returned,
        EventKind::Refunded => api::OrderEventKind::Refunded,
        EventKind::Allotted => api::OrderEventKind::Allotted,
    };
    let line = |ReturnLine { sku, quantity, damaged }| {
        let condition = if damaged { api::ReturnCondition::Damaged } else { api::ReturnCondition::Sellable };
        api::ReturnLine { sku, quantity, condition: condition.into() }
    };
    api::OrderEvent {
        order_id: of.order_id.to_string(),
        sequence: event.sequence,
        kind: kind.into(),
        state: state_to_wire(event.state).into(),
        transaction_id: event.transaction_id.to_string(),
        actor: event.client_id,
        request_id: event.request_id,
        reason: event.reason,
        lines: event.lines.into_iter().map(line).collect(),
        refund: (event.refund_minor != 0).then(|| Money::from_minor(&of.content.currency, event.refund_minor)),
        create_time: Some(SystemTime::from(event.create_time).into()),
    }
}

fn state_to_wire(state: State) -> api::OrderState {
    match state {
        State::Pending => api::OrderState::Pending,
        State::Confirmed => api::OrderState::Confirmed,
        State::Refused => api::OrderState::Refused,
        State::Cancelled => api::OrderState::Cancelled,
        State::Shipped => api::OrderState::Shipped,
        State::PartiallyReturned => api::OrderState::PartiallyReturned,
        State::Returned => api::OrderState::Returned,
        State::Backordered => api::OrderState::Backordered,
        State::PartiallyAllocated => api::OrderState::PartiallyAllocated,
    }
}

/// The state to filter by.
pub fn state(code: i32) -> Result<Option<State>, Status> {
    match api::OrderState::try_from(code) {
        Ok(api::OrderState::Unspecified) => Ok(None),
        Ok(wanted) => Ok(State::ALL.into_iter().find(|state| state_to_wire(*state) == wanted)),
        Err(_) => Err(status::invalid("state", format!("{code} is no state of an order"))),
    }
}
