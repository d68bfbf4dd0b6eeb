//! What an order is made of.
use proto::assent::order::v1::{OrderLine, PlaceOrderRequest};
use proto::google::r#type::Money;

/// So many pence.
pub fn gbp(minor: i64) -> Money {
    Money::from_minor("GBP", minor)
}

/// An order's content: who pays, and lines of SKU, quantity and price of one in pence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basket {
    /// The account that pays.
    pub account: String,
    /// SKU, quantity, price of one in pence.
    pub lines: Vec<(String, i64, i64)>,
}

impl Basket {
    /// Nothing yet, paid by this account.
    pub fn of(account: &str) -> Self {
        Basket { account: account.to_owned(), lines: Vec::new() }
    }

    /// With one more line.
    pub fn line(mut self, sku: &str, quantity: i64, price_minor: i64) -> Self {
        self.lines.push((sku.to_owned(), quantity, price_minor));
        self
    }

    /// What it costs, in pence.
    pub fn total_minor(&self) -> i64 {
        self.lines.iter().map(|(_, quantity, price)| quantity * price).sum()
    }

    /// The request that places it.
    pub fn request(&self, request_id: &str) -> PlaceOrderRequest {
        let line = |(sku, quantity, price): &(String, i64, i64)| OrderLine {
            sku: sku.clone(),
            quantity: *quantity,
            unit_price: Some(gbp(*price)),
            ..OrderLine::default()
        };
        PlaceOrderRequest {
            request_id: request_id.to_owned(),
            account: self.account.clone(),
            lines: self.lines.iter().map(line).collect(),
            timeout_ms: 0,
            mode: 0,
            reservation_ids: Vec::new(),
            ..PlaceOrderRequest::default()
        }
    }
}
