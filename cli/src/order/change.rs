//! What becomes of an order that was placed: `assent order cancel`, `ship`, `return` and `refund`.
use std::str::FromStr;

use proto::assent::order::v1 as wire;
use serde::Serialize;
use tonic::Status;
use uuid::Uuid;

use super::{OrderView, order_page};
use crate::client::Services;
use crate::failure::{Call, Exit, Failure};
use crate::money::{Decimal, parse_currency};
use crate::output::Output;

/// What all of them take.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// The order's id
    order_id: String,
    /// Your name for this request: repeating it does nothing twice; made up if not given
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Time until it is given up; 0: the coordinator's default
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..))]
    order_timeout_ms: i32,
}

/// Cancel an order before it is shipped
#[derive(Debug, clap::Args)]
pub struct Cancel {
    #[command(flatten)]
    asked: Asked,
    /// Why, for the order's history
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Mark an order as shipped
#[derive(Debug, clap::Args)]
pub struct Ship {
    #[command(flatten)]
    asked: Asked,
    /// What is to be known of the parcel, such as the carrier's number
    #[arg(long, default_value = "", hide_default_value = true)]
    tracking: String,
}

/// Take units of a shipped order back, and refund what they cost
#[derive(Debug, clap::Args)]
pub struct Return {
    #[command(flatten)]
    asked: Asked,
    /// What comes back: SKU:QTY, or SKU:QTY:damaged; can be given several times
    #[arg(long = "line", value_name = "SKU:QTY[:damaged]", required = true)]
    lines: Vec<Line>,
    /// What is paid back, instead of what the units cost
    #[arg(long, value_name = "AMOUNT")]
    refund: Option<Decimal>,
    /// The currency of --refund
    #[arg(long, default_value = "GBP", value_name = "CODE", value_parser = parse_currency)]
    currency: String,
    /// Why, for the order's history
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Pay a part of what was paid for an order back, or all of it
#[derive(Debug, clap::Args)]
pub struct Refund {
    #[command(flatten)]
    asked: Asked,
    /// How much
    amount: Decimal,
    /// The order's currency
    #[arg(long, default_value = "GBP", value_name = "CODE", value_parser = parse_currency)]
    currency: String,
    /// Why, for the order's history
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// So many of an article that come back: `SKU:QTY`, or `SKU:QTY:damaged`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    sku: String,
    quantity: i64,
    damaged: bool,
}

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, damaged) = match text.strip_suffix(":damaged") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        // From the right, so that a SKU may have colons of its own.
        let Some((sku, quantity)) = rest.rsplit_once(':').filter(|(sku, _)| !sku.is_empty()) else {
            return Err("write what comes back as SKU:QTY or SKU:QTY:damaged, such as 85123A:2".to_owned());
        };
        match quantity.parse() {
            Ok(quantity @ 1..) => Ok(Line { sku: sku.to_owned(), quantity, damaged }),
            _ => Err(format!("the quantity {quantity:?} is not a whole number of at least 1")),
        }
    }
}

/// What became of it.
#[derive(Debug, Serialize)]
struct Changed {
    transaction_id: String,
    request_id: String,
    order: Option<OrderView>,
}

impl Asked {
    fn request_id(&self) -> String {
        self.request_id.clone().unwrap_or_else(|| Uuid::new_v4().to_string())
    }
}

impl Cancel {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let request_id = self.asked.request_id();
        let Asked { order_id, order_timeout_ms: timeout_ms, .. } = self.asked;
        let message =
            wire::CancelOrderRequest { order_id, request_id: request_id.clone(), reason: self.reason, timeout_ms };
        let answer = services.orders().await?.cancel_order(services.request(message)).await;
        let answer = answer.map_err(|status| failed(&status, &request_id))?.into_inner();
        print(output, answer.order, answer.transaction_id, request_id)
    }
}

impl Ship {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let request_id = self.asked.request_id();
        let Asked { order_id, order_timeout_ms: timeout_ms, .. } = self.asked;
        let message =
            wire::ShipOrderRequest { order_id, request_id: request_id.clone(), tracking: self.tracking, timeout_ms };
        let answer = services.orders().await?.ship_order(services.request(message)).await;
        let answer = answer.map_err(|status| failed(&status, &request_id))?.into_inner();
        print(output, answer.order, answer.transaction_id, request_id)
    }
}

impl Return {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let request_id = self.asked.request_id();
        let Asked { order_id, order_timeout_ms: timeout_ms, .. } = self.asked;
        let line = |Line { sku, quantity, damaged }| {
            let condition = if damaged { wire::ReturnCondition::Damaged } else { wire::ReturnCondition::Sellable };
            wire::ReturnLine { sku, quantity, condition: condition.into() }
        };
        let message = wire::ReturnOrderRequest {
            order_id,
            request_id: request_id.clone(),
            lines: self.lines.into_iter().map(line).collect(),
            refund: self.refund.map(|amount| amount.to_wire(&self.currency)),
            reason: self.reason,
            timeout_ms,
        };
        let answer = services.orders().await?.return_order(services.request(message)).await;
        let answer = answer.map_err(|status| failed(&status, &request_id))?.into_inner();
        print(output, answer.order, answer.transaction_id, request_id)
    }
}

impl Refund {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let request_id = self.asked.request_id();
        let Asked { order_id, order_timeout_ms: timeout_ms, .. } = self.asked;
        let amount = Some(self.amount.to_wire(&self.currency));
        let message = wire::RefundOrderRequest {
            order_id,
            request_id: request_id.clone(),
            amount,
            reason: self.reason,
            timeout_ms,
        };
        let answer = services.orders().await?.refund_order(services.request(message)).await;
        let answer = answer.map_err(|status| failed(&status, &request_id))?.into_inner();
        print(output, answer.order, answer.transaction_id, request_id)
    }
}

fn failed(status: &Status, request_id: &str) -> Failure {
    let failure = Failure::of_status(status, Call::Write);
    match failure.exit {
        Exit::Unknown => failure.hint(format!("it may be done: repeat it with --request-id {request_id}")),
        _ => failure,
    }
}

fn print(
    output: Output,
    order: Option<wire::Order>,
    transaction_id: String,
    request_id: String,
) -> Result<(), Failure> {
    let changed = Changed { transaction_id, request_id, order: order.map(OrderView::from) };
    output.print(&changed, |changed| match &changed.order {
        Some(order) => order_page(order),
        None => format!("done by transaction {}; the order can't be read just now", changed.transaction_id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_a_sku_a_quantity_and_perhaps_its_damage() {
        let line: Line = "85123A:2".parse().unwrap();
        assert_eq!(line, Line { sku: "85123A".to_owned(), quantity: 2, damaged: false });
        let line: Line = "a:b:1:damaged".parse().unwrap();
        assert_eq!(line, Line { sku: "a:b".to_owned(), quantity: 1, damaged: true });
        for bad in ["", "X", ":1", "X:0", "X:-1", "X:1.5", "X:1:broken"] {
            assert!(bad.parse::<Line>().is_err(), "{bad}");
        }
    }
}
