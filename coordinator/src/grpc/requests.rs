//! Requests about orders that were placed, read and checked as far as that can be without the order.
use participant::transaction::read_id;
use participant::{caller, status};
use proto::assent::order::v1 as api;
use proto::google::r#type::Money;
use tonic::{Request, Status};

use super::change::Call;
use crate::change::{Back, Change, Operation};

/// CancelOrder.
pub fn cancel(request: Request<api::CancelOrderRequest>) -> Result<(Call, Change), Status> {
    let (call, message) = call(request)?;
    let api::CancelOrderRequest { order_id, request_id, reason, timeout_ms } = message;
    let change = change(&order_id, Operation::Cancel, reason)?;
    Ok((Call { request_id, timeout_ms, ..call }, change))
}

/// ShipOrder.
pub fn ship(request: Request<api::ShipOrderRequest>) -> Result<(Call, Change), Status> {
    let (call, message) = call(request)?;
    let api::ShipOrderRequest { order_id, request_id, tracking, timeout_ms } = message;
    let change = change(&order_id, Operation::Ship, tracking)?;
    Ok((Call { request_id, timeout_ms, ..call }, change))
}

/// ReturnOrder.
pub fn bring_back(request: Request<api::ReturnOrderRequest>) -> Result<(Call, Change), Status> {
    let (call, message) = call(request)?;
    let api::ReturnOrderRequest { order_id, request_id, lines, refund, reason, timeout_ms } = message;
    let mut back = Vec::with_capacity(lines.len());
    for (place, line) in lines.into_iter().enumerate() {
        let damaged = match api::ReturnCondition::try_from(line.condition) {
            Ok(api::ReturnCondition::Damaged) => true,
            Ok(api::ReturnCondition::Sellable | api::ReturnCondition::Unspecified) => false,
            Err(_) => {
                let wrong = format!("{} is no condition of what comes back", line.condition);
                return Err(status::invalid(format!("lines[{place}].condition"), wrong));
            }
        };
        back.push(Back { sku: line.sku, quantity: line.quantity, damaged });
    }
    let refund = refund.map(|money| minor("refund", money)).transpose()?;
    let change = Change { back, refund, ..change(&order_id, Operation::Return, reason)? };
    Ok((Call { request_id, timeout_ms, ..call }, change))
}

/// RefundOrder.
pub fn refund(request: Request<api::RefundOrderRequest>) -> Result<(Call, Change), Status> {
    let (call, message) = call(request)?;
    let api::RefundOrderRequest { order_id, request_id, amount, reason, timeout_ms } = message;
    let amount = amount.ok_or_else(|| status::invalid("amount", "is missing"))?;
    let refund = Some(minor("amount", amount)?);
    let change = Change { refund, ..change(&order_id, Operation::Refund, reason)? };
    Ok((Call { request_id, timeout_ms, ..call }, change))
}

fn call<T>(request: Request<T>) -> Result<(Call, T), Status> {
    let client_id = caller::client_id(&request)?;
    let is_retry = request.metadata().contains_key("grpc-previous-rpc-attempts");
    Ok((Call { client_id, is_retry, request_id: String::new(), timeout_ms: 0 }, request.into_inner()))
}

fn change(order_id: &str, operation: Operation, reason: String) -> Result<Change, Status> {
    Ok(Change {
        order_id: read_id("order_id", order_id)?,
        operation,
        reason,
        back: Vec::new(),
        refund: None,
        allotted: Vec::new(),
        charged: false,
    })
}

fn minor(field: &str, money: Money) -> Result<(i64, String), Status> {
    let minor = money.to_minor().map_err(|error| status::invalid(field, error.to_string()))?;
    Ok((minor, money.currency_code))
}
