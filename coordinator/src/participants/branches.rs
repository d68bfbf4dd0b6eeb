//! An order's branches, in each participant's own language.
use prost::Message;
use proto::assent::inventory::v1::{InventoryBranch, StockLine};
use proto::assent::order::v1::{OrderBranch, OrderLine};
use proto::assent::payment::v1::PaymentBranch;
use proto::google::r#type::Money;

use crate::domain::Order;

/// The participants of an order.
pub const OF_AN_ORDER: [&str; 3] = ["inventory", "order", "payment"];

/// The encoded branches of an order, in the order of [`OF_AN_ORDER`].
pub fn of_order(order: &Order, request_id: &str) -> [Vec<u8>; 3] {
    let total = Money::from_minor(&order.currency, order.total_minor);
    let lines = order.lines.iter();
    let inventory = InventoryBranch {
        lines: lines.clone().map(|line| StockLine { sku: line.sku.clone(), quantity: line.quantity }).collect(),
    };
    let stored = OrderBranch {
        account: order.account.clone(),
        request_id: request_id.to_owned(),
        lines: lines
            .map(|line| OrderLine {
                sku: line.sku.clone(),
                quantity: line.quantity,
                unit_price: Some(Money::from_minor(&order.currency, line.unit_price_minor)),
            })
            .collect(),
        total: Some(total.clone()),
    };
    let payment = PaymentBranch { account: order.account.clone(), amount: Some(total) };
    [inventory.encode_to_vec(), stored.encode_to_vec(), payment.encode_to_vec()]
}
