//! Conversions between the wire's types and the order service's.
use std::time::SystemTime;

use participant::status;
use proto::assent::order::v1 as api;
use proto::google::r#type::Money;
use tonic::Status;

use crate::domain::{Order, State};

/// An order.
pub fn order(order: Order) -> api::Order {
    let currency = order.content.currency;
    let money = |minor| Some(Money::from_minor(&currency, minor));
    let state = match order.state {
        State::Pending => api::OrderState::Pending,
        State::Confirmed => api::OrderState::Confirmed,
        State::Refused => api::OrderState::Refused,
    };
    api::Order {
        order_id: order.order_id.to_string(),
        account: order.content.account,
        state: state.into(),
        total: money(order.content.total_minor),
        lines: order
            .content
            .lines
            .into_iter()
            .map(|line| api::OrderLine {
                sku: line.sku,
                quantity: line.quantity,
                unit_price: money(line.unit_price_minor),
            })
            .collect(),
        reason: order.reason,
        reason_message: order.reason_message,
        request_id: order.content.request_id,
        create_time: Some(SystemTime::from(order.create_time).into()),
    }
}

/// The state to filter by.
pub fn state(code: i32) -> Result<Option<State>, Status> {
    match api::OrderState::try_from(code) {
        Ok(api::OrderState::Unspecified) => Ok(None),
        Ok(api::OrderState::Pending) => Ok(Some(State::Pending)),
        Ok(api::OrderState::Confirmed) => Ok(Some(State::Confirmed)),
        Ok(api::OrderState::Refused) => Ok(Some(State::Refused)),
        Err(_) => Err(status::invalid("state", format!("{code} is no state of an order"))),
    }
}
