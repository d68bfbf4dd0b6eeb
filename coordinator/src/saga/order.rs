//! An order as a saga: which steps it has.
//!
//! ```text
//! place (order)  --\
//!                   >-- payment (payment, the pivot) -- confirm (order, retried forward)
//! stock (inventory)-/
//! ```
//!
//! The payment is the pivot: it is what most often refuses, and what nobody likes to see undone.
use participant::Refusal;
use prost::Message;
use protocol::saga::Kind;

use crate::domain::Order;
use crate::participants::branches::{self, Asked};
use crate::store::NewStep;

/// The steps of an order.
pub fn steps(order: &Order, asked: Asked<'_>) -> Vec<NewStep> {
    let (inventory, stored, payment) = branches::of_order(order, asked);
    let [inventory, stored, payment] = [inventory.encode_to_vec(), stored.encode_to_vec(), payment.encode_to_vec()];
    let step = |name: &str, participant: &str, kind, after: &[usize], branch| NewStep {
        name: name.to_owned(),
        participant: participant.to_owned(),
        kind,
        after: after.to_vec(),
        branch,
        timeout_ms: None,
    };
    vec![
        step("place", "order", Kind::Compensatable, &[], stored.clone()),
        step("stock", "inventory", Kind::Compensatable, &[], inventory),
        step("payment", "payment", Kind::Pivot, &[0, 1], payment),
        step("confirm", "order", Kind::Retriable, &[2], stored),
    ]
}

/// Why an order was given up at its deadline.
pub fn timeout(timeout_ms: u128, waiting: &[&str]) -> Refusal {
    let names = waiting.join(" and ");
    Refusal::new("TIMEOUT", format!("not decided within {timeout_ms} ms: {names} did not answer in time"))
}
