//! An order's branches, in each participant's own language.
use bytes::{Bytes, BytesMut};
use participant::TransactionRef;
use proto::assent::inventory::v1::{BackorderMode, InventoryBranch, StockLine};
use proto::assent::order::v1::{OrderBranch, OrderLine};
use proto::assent::payment::v1::{PaymentBranch, PaymentOperation};
use proto::google::r#type::Money;

use super::encoded::{self, Origin};
use crate::domain::{Allowed, Order};

/// Who asks, and under which name.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The client.
    pub client_id: &'a str,
    /// Its name for the request.
    pub request_id: &'a str,
}

/// The participants of an order.
pub const OF_AN_ORDER: [&str; 3] = ["inventory", "order", "payment"];
/// The same, as a record keeps them.
pub const JOINED: &str = "inventory,order,payment";

/// The branches of an order, encoded for PREPARE, in the order of [`OF_AN_ORDER`].
pub fn prepares(transaction: TransactionRef, origin: &Origin, order: &Order, asked: Asked<'_>) -> [Bytes; 3] {
    let (inventory, stored, payment) = of_order(order, asked);
    // An order of one line takes half of it.
    let buffer = &mut BytesMut::with_capacity(1024);
    [
        encoded::branch(buffer, transaction, origin, &inventory),
        encoded::branch(buffer, transaction, origin, &stored),
        encoded::branch(buffer, transaction, origin, &payment),
    ]
}

/// The branches of an order.
pub fn of_order(order: &Order, asked: Asked<'_>) -> (InventoryBranch, OrderBranch, PaymentBranch) {
    let total = Money::from_minor(&order.currency, order.total_minor);
    let lines = order.lines.iter();
    let inventory = InventoryBranch {
        lines: lines.clone().map(|line| StockLine { sku: line.sku.clone(), quantity: line.quantity }).collect(),
        reservation_ids: order.reservation_ids.iter().map(ToString::to_string).collect(),
        backorder: match order.allowed {
            Allowed::Nothing => BackorderMode::Unspecified.into(),
            Allowed::Whole => BackorderMode::Whole.into(),
            Allowed::Partial => BackorderMode::Partial.into(),
        },
        ..InventoryBranch::default()
    };
    let stored = OrderBranch {
        account: order.account.clone(),
        request_id: asked.request_id.to_owned(),
        lines: lines
            .map(|line| OrderLine {
                sku: line.sku.clone(),
                quantity: line.quantity,
                unit_price: Some(Money::from_minor(&order.currency, line.unit_price_minor)),
                ..OrderLine::default()
            })
            .collect(),
        total: Some(total.clone()),
        client_id: asked.client_id.to_owned(),
        change: None,
        waits: order.allowed != Allowed::Nothing,
    };
    let operation = match order.allowed {
        Allowed::Nothing => PaymentOperation::Unspecified,
        // Captured as it gets its goods.
        Allowed::Whole | Allowed::Partial => PaymentOperation::Authorise,
    };
    let payment = PaymentBranch {
        account: order.account.clone(),
        amount: Some(total),
        operation: operation.into(),
        ..Default::default()
    };
    (inventory, stored, payment)
}
