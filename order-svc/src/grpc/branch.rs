//! Branches of transactions, as they come on the wire.
use participant::InvalidBranch;
use prost::Message;
use proto::assent::order::v1::{OrderBranch, OrderChange, OrderOperation, ReturnCondition};
use proto::google::r#type::Money;
use uuid::Uuid;

use crate::domain::{self, Branch, Change, Line, NewOrder, Operation, ReturnLine};

/// Reads and checks a branch.
pub fn decode(bytes: &[u8]) -> Result<Branch, InvalidBranch> {
    let mut branch = OrderBranch::decode(bytes).map_err(|error| InvalidBranch {
        field: "branch".to_owned(),
        description: format!("is no assent.order.v1.OrderBranch: {error}"),
    })?;
    match branch.change.take() {
        None => decode_order(branch).map(Branch::Place),
        Some(change) => decode_change(branch, change).map(Branch::Change),
    }
}

fn decode_order(branch: OrderBranch) -> Result<NewOrder, InvalidBranch> {
    let (currency, total_minor) = amount("total", branch.total)?;
    let mut lines = Vec::with_capacity(branch.lines.len());
    for (place, line) in branch.lines.into_iter().enumerate() {
        let field = format!("lines[{place}].unit_price");
        let (of_line, unit_price_minor) = amount(&field, line.unit_price)?;
        if of_line != currency {
            return Err(invalid(&field, format!("is in {of_line}, but the total is in {currency}")));
        }
        lines.push(Line { sku: line.sku, quantity: line.quantity, unit_price_minor });
    }
    let OrderBranch { account, request_id, client_id, waits, .. } = branch;
    let order = NewOrder { account, request_id, currency, lines, total_minor, client_id, waits };
    domain::check(&order).map_err(|(field, wrong)| invalid(&field, wrong))?;
    Ok(order)
}

fn decode_change(branch: OrderBranch, change: OrderChange) -> Result<Change, InvalidBranch> {
    let OrderBranch { account, request_id, lines, total, client_id, waits, .. } = branch;
    if waits || !account.is_empty() || !lines.is_empty() || total.is_some() {
        return Err(invalid("change", "can't be beside an order to write down".to_owned()));
    }
    let order_id =
        Uuid::parse_str(&change.order_id).map_err(|_| invalid("change.order_id", "is no id of an order".to_owned()))?;
    let operation = match change.operation() {
        OrderOperation::Cancel => Operation::Cancel,
        OrderOperation::Ship => Operation::Ship,
        OrderOperation::Return => Operation::Return,
        OrderOperation::Refund => Operation::Refund,
        OrderOperation::Allot => Operation::Allot,
        OrderOperation::Unspecified => {
            return Err(invalid("change.operation", "says nothing that can become of an order".to_owned()));
        }
    };
    let OrderChange { reason, returned, lines, refund_minor, uncaptured, allotted_units, .. } = change;
    let line = |line: proto::assent::order::v1::ReturnLine| ReturnLine {
        damaged: line.condition() == ReturnCondition::Damaged,
        sku: line.sku,
        quantity: line.quantity,
    };
    let lines = lines.into_iter().map(line).collect();
    let change = Change {
        order_id,
        operation,
        client_id,
        request_id,
        reason,
        returned,
        lines,
        refund_minor,
        uncaptured,
        allotted_units,
    };
    domain::check_change(&change).map_err(|(field, wrong)| invalid(&field, wrong))?;
    Ok(change)
}

fn invalid(field: &str, description: String) -> InvalidBranch {
    InvalidBranch { field: format!("branch.{field}"), description }
}

fn amount(field: &str, money: Option<Money>) -> Result<(String, i64), InvalidBranch> {
    let money = money.ok_or_else(|| invalid(field, "is missing".to_owned()))?;
    let minor = money.to_minor().map_err(|error| invalid(field, error.to_string()))?;
    Ok((money.currency_code, minor))
}
