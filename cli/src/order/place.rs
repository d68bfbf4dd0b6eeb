//! `assent order place`.
use std::str::FromStr;

use proto::assent::order::v1 as wire;
use serde::Serialize;
use tonic::Code;
use uuid::Uuid;

use super::{some, state_name};
use crate::client::Services;
use crate::failure::{Call, Exit, Failure, metadata, reason};
use crate::mode::Mode;
use crate::money::{Decimal, MoneyView, parse_currency};
use crate::output::{Output, fields};

/// What may be waited for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Allow {
    /// A SKU is given when all of it is there
    Whole,
    /// What there is is given at once, and the rest as it comes
    Partial,
}

/// Place an order: all of it or nothing
#[derive(Debug, clap::Args)]
pub struct Place {
    /// The account that pays
    #[arg(long, value_name = "NAME")]
    account: String,
    /// An article, how many, and the price of one: SKU:QTY@PRICE
    #[arg(long = "line", value_name = "SKU:QTY@PRICE", required = true)]
    lines: Vec<Line>,
    /// The currency of the prices
    #[arg(long, default_value = "GBP", value_name = "CODE", value_parser = parse_currency)]
    currency: String,
    /// Your name for this order: repeating it never places a second one; made up if not given
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// A reservation that the order takes over; can be given several times
    #[arg(long = "reservation", value_name = "ID")]
    reservations: Vec<String>,
    /// Wait for what is not there, where the SKU's policy lets it; the price is captured as the goods come
    #[arg(long, value_enum)]
    allow_backorder: Option<Allow>,
    /// Time until the order is given up; 0: the coordinator's default
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..))]
    order_timeout_ms: i32,
    /// How it is placed
    #[arg(long, default_value = "atomic")]
    mode: Mode,
    /// With --mode hybrid: what the participant "shipping" is to do, in its own language
    #[arg(long, value_name = "TEXT")]
    shipping: Option<String>,
}

/// One line of an order: `SKU:QTY@PRICE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    sku: String,
    quantity: i64,
    unit_price: Decimal,
}

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // From the right, so that a SKU may have colons and ats of its own.
        let parts = text.rsplit_once('@').and_then(|(rest, price)| Some((rest.rsplit_once(':')?, price)));
        let Some(((sku, quantity), price)) = parts else {
            return Err("write a line as SKU:QTY@PRICE, such as 85123A:6@2.55".to_owned());
        };
        if sku.is_empty() {
            return Err("the SKU is missing before the colon".to_owned());
        }
        let quantity: i64 = quantity.parse().map_err(|_| format!("the quantity {quantity:?} is not a whole number"))?;
        if quantity < 1 {
            return Err(format!("the quantity {quantity} is not at least 1"));
        }
        let unit_price: Decimal = price.parse().map_err(|error| format!("the price {price:?} is {error}"))?;
        if unit_price.is_negative() {
            return Err(format!("the price {price} is below zero"));
        }
        Ok(Line { sku: sku.to_owned(), quantity, unit_price })
    }
}

impl Line {
    /// The line on the wire, its price in this currency.
    pub fn into_wire(self, currency_code: &str) -> wire::OrderLine {
        let unit_price = Some(self.unit_price.to_wire(currency_code));
        wire::OrderLine { sku: self.sku, quantity: self.quantity, unit_price, ..wire::OrderLine::default() }
    }
}

/// What became of an order that was placed.
#[derive(Debug, Serialize)]
struct Placed {
    order_id: Option<String>,
    transaction_id: Option<String>,
    request_id: String,
    /// Where the order stands, such as "confirmed" or "backordered"; "aborted" or "unknown" where there may be none.
    state: &'static str,
    reason: Option<String>,
    message: Option<String>,
    total: Option<MoneyView>,
}

impl Place {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let request_id = self.request_id.unwrap_or_else(|| Uuid::new_v4().to_string());
        let lines = self.lines.into_iter().map(|line| line.into_wire(&self.currency));
        let message = wire::PlaceOrderRequest {
            request_id: request_id.clone(),
            account: self.account,
            lines: lines.collect(),
            timeout_ms: self.order_timeout_ms,
            mode: wire::OrderMode::from(self.mode).into(),
            reservation_ids: self.reservations,
            shipping: self.shipping.unwrap_or_default().into_bytes(),
            allow_backorder: match self.allow_backorder {
                None => wire::AllowBackorder::Unspecified.into(),
                Some(Allow::Whole) => wire::AllowBackorder::Whole.into(),
                Some(Allow::Partial) => wire::AllowBackorder::Partial.into(),
            },
        };
        let mut client = services.orders().await?;
        let (placed, failure) = match client.place_order(services.request(message)).await {
            Ok(answer) => (taken(answer.into_inner(), request_id), None),
            Err(status) => match not_placed(&status, &request_id) {
                (Some(placed), failure) => (placed, Some(failure)),
                (None, failure) => return Err(failure),
            },
        };
        output.print(&placed, placed_page)?;
        failure.map_or(Ok(()), Err)
    }
}

fn taken(answer: wire::PlaceOrderResponse, request_id: String) -> Placed {
    let order = answer.order.unwrap_or_default();
    Placed {
        order_id: some(order.order_id.clone()),
        transaction_id: some(answer.transaction_id),
        request_id,
        state: state_name(order.state()),
        reason: None,
        message: None,
        total: MoneyView::of(order.total.as_ref()),
    }
}

/// What a status says about the order: what to print where it says anything, and how the command fails.
fn not_placed(status: &tonic::Status, request_id: &str) -> (Option<Placed>, Failure) {
    let failure = Failure::of_status(status, Call::Write);
    let (state, failure) = match (failure.exit, status.code()) {
        (Exit::Refused, _) => ("refused", failure),
        (Exit::Unknown, _) => {
            ("unknown", failure.hint(format!("it may be placed: repeat it with --request-id {request_id}")))
        }
        (_, Code::Aborted) => ("aborted", failure),
        _ => return (None, failure),
    };
    let transaction_id = metadata(status, "transaction_id");
    let placed = Placed {
        order_id: metadata(status, "order_id").or_else(|| transaction_id.clone()),
        transaction_id,
        request_id: request_id.to_owned(),
        state,
        reason: reason(status),
        message: some(status.message().to_owned()),
        total: None,
    };
    (Some(placed), failure)
}

fn placed_page(placed: &Placed) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let mut rows = vec![
        ("order_id", or_dash(&placed.order_id)),
        ("transaction_id", or_dash(&placed.transaction_id)),
        ("request_id", placed.request_id.clone()),
        ("state", placed.state.to_owned()),
        ("reason", or_dash(&placed.reason)),
    ];
    if let Some(total) = &placed.total {
        rows.push(("total", total.to_string()));
    }
    fields(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::{ErrorDetails, StatusExt};

    #[test]
    fn a_line_is_a_sku_a_quantity_and_a_price() {
        let line: Line = "85123A:6@2.55".parse().unwrap();
        assert_eq!((line.sku.as_str(), line.quantity), ("85123A", 6));
        assert_eq!(line.unit_price.to_minor("GBP"), Some(255));
        let odd: Line = "a:b@c:1@0".parse().unwrap();
        assert_eq!((odd.sku.as_str(), odd.quantity, odd.unit_price.is_zero()), ("a:b@c", 1, true));
    }

    #[test]
    fn a_wrong_line_is_told_what_is_wrong() {
        let said = |text: &str| text.parse::<Line>().unwrap_err();
        for text in ["", "X", "X:1", "X@1", "1@X"] {
            assert!(said(text).contains("SKU:QTY@PRICE"), "{text}: {}", said(text));
        }
        assert!(said(":1@1").contains("SKU is missing"));
        assert!(said("X:0@1").contains("at least 1"));
        assert!(said("X:-1@1").contains("at least 1"));
        assert!(said("X:99999999999999999999@1").contains("whole number"));
        assert!(said("X:1.5@1").contains("whole number"));
        assert!(said("X:1@-1").contains("below zero"));
        assert!(said("X:1@1e3").contains("decimal number"));
    }

    #[test]
    fn a_refusal_prints_the_ids_and_the_reason() {
        let mut details = ErrorDetails::new();
        let ids = [("order_id".to_owned(), "o-1".to_owned()), ("transaction_id".to_owned(), "t-1".to_owned())];
        details.set_error_info("OUT_OF_STOCK", "assent", std::collections::HashMap::from(ids));
        let status = tonic::Status::with_error_details(Code::FailedPrecondition, "3 of X wanted, 2 there", details);
        let (placed, failure) = not_placed(&status, "r-1");
        let placed = placed.unwrap();
        assert_eq!(failure.exit, Exit::Refused);
        assert_eq!((placed.state, placed.reason.as_deref()), ("refused", Some("OUT_OF_STOCK")));
        assert_eq!((placed.order_id.as_deref(), placed.transaction_id.as_deref()), (Some("o-1"), Some("t-1")));
    }

    #[test]
    fn doubt_says_how_to_repeat_and_a_bad_argument_places_nothing() {
        let (placed, failure) = not_placed(&tonic::Status::unavailable("gone"), "r-1");
        assert_eq!((placed.unwrap().state, failure.exit), ("unknown", Exit::Unknown));
        assert!(failure.line().contains("--request-id r-1"));
        let (placed, failure) = not_placed(&tonic::Status::invalid_argument("no"), "r-1");
        assert!(placed.is_none() && failure.exit == Exit::Usage);
    }
}
