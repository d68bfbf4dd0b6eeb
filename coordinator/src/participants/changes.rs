//! A change of an order as branches, in each participant's own language: only those that it concerns.
use prost::Message;
use proto::assent::inventory::v1::{InventoryBranch, PutBack, PutBackLine};
use proto::assent::order::v1::{OrderBranch, OrderChange, OrderOperation, ReturnCondition, ReturnLine};
use proto::assent::payment::v1::{PaymentBranch, PaymentOperation};
use proto::google::r#type::Money;

use super::branches::Asked;
use crate::change::{Bought, Change, Operation, Plan};
use crate::content::DEFAULT_KIND;
use crate::store::NewStep;

/// The branches of a change.
pub fn of(change: &Change, order: &Bought, plan: &Plan, asked: Asked<'_>) -> Vec<NewStep> {
    let mut branches = Vec::with_capacity(3);
    if !plan.put_back.is_empty() {
        branches.push(branch("inventory", put_back(change, plan).encode_to_vec()));
    }
    branches.push(branch("order", of_the_order(change, plan, asked).encode_to_vec()));
    if let Some((operation, minor)) = money(change, order, plan) {
        let payment = PaymentBranch {
            account: order.account.clone(),
            amount: Some(Money::from_minor(&order.currency, minor)).filter(|_| operation != PaymentOperation::Void),
            operation: operation.into(),
            payment_id: match operation {
                PaymentOperation::Charge => String::new(),
                _ => change.order_id.to_string(),
            },
            ..PaymentBranch::default()
        };
        branches.push(branch("payment", payment.encode_to_vec()));
    }
    branches
}

/// What is done with money, and with how much.
fn money(change: &Change, order: &Bought, plan: &Plan) -> Option<(PaymentOperation, i64)> {
    match change.operation {
        // What is only authorised need not be paid back.
        Operation::Cancel if !order.is_captured => Some((PaymentOperation::Void, 0)),
        Operation::Allot if plan.capture_minor == 0 => None,
        Operation::Allot if change.charged => Some((PaymentOperation::Charge, plan.capture_minor)),
        Operation::Allot => Some((PaymentOperation::Capture, plan.capture_minor)),
        _ => (plan.refund_minor > 0).then_some((PaymentOperation::Refund, plan.refund_minor)),
    }
}

fn branch(participant: &str, branch: Vec<u8>) -> NewStep {
    NewStep {
        name: participant.to_owned(),
        participant: participant.to_owned(),
        kind: DEFAULT_KIND,
        after: Vec::new(),
        branch,
        timeout_ms: None,
    }
}

fn put_back(change: &Change, plan: &Plan) -> InventoryBranch {
    let line = |back: &crate::change::Back| PutBackLine {
        sku: back.sku.clone(),
        quantity: back.quantity,
        damaged: back.damaged,
    };
    let put_back = PutBack {
        order_id: change.order_id.to_string(),
        lines: plan.put_back.iter().map(line).collect(),
        cancelled: change.operation == Operation::Cancel,
    };
    InventoryBranch { put_back: Some(put_back), ..InventoryBranch::default() }
}

fn of_the_order(change: &Change, plan: &Plan, asked: Asked<'_>) -> OrderBranch {
    let line = |back: &crate::change::Back| {
        let condition = if back.damaged { ReturnCondition::Damaged } else { ReturnCondition::Sellable };
        ReturnLine { sku: back.sku.clone(), quantity: back.quantity, condition: condition.into() }
    };
    let operation = match change.operation {
        Operation::Cancel => OrderOperation::Cancel,
        Operation::Ship => OrderOperation::Ship,
        Operation::Return => OrderOperation::Return,
        Operation::Refund => OrderOperation::Refund,
        Operation::Allot => OrderOperation::Allot,
    };
    let order_change = OrderChange {
        order_id: change.order_id.to_string(),
        operation: operation.into(),
        reason: change.reason.clone(),
        returned: plan.returned.clone(),
        lines: change.back.iter().map(line).collect(),
        refund_minor: plan.refund_minor,
        uncaptured: false,
        allotted_units: plan.allotted_units,
    };
    OrderBranch {
        request_id: asked.request_id.to_owned(),
        client_id: asked.client_id.to_owned(),
        change: Some(order_change),
        ..OrderBranch::default()
    }
}
