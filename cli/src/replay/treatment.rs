//! What is done with each kind of odd row, and the names the summary gives them.
use std::collections::BTreeMap;

use serde::Serialize;

/// How something odd in the file is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    /// The invoice cancels another.
    Cancellation,
    /// Nothing that can be ordered is left of the invoice.
    NothingLeft,
    /// The invoice names no customer.
    NoCustomer,
    /// The row is no row of this format.
    MalformedRow,
    /// Postage, discounts, bank charges and the like.
    Fee,
    /// Zero or less of an article.
    NonPositiveQuantity,
    /// A price below zero.
    NegativePrice,
    /// A price finer than the currency's minor unit.
    FinerThanAPenny,
    /// A zero price and no customer.
    StockNote,
    /// A zero price on a customer's invoice.
    FreeOfCharge,
    /// The invoice names the article before.
    RepeatedSku,
}

impl Treatment {
    /// Whether what it is applied to is left out (else it is placed like the rest).
    pub fn leaves_out(self) -> bool {
        !matches!(self, Treatment::NoCustomer | Treatment::FreeOfCharge | Treatment::RepeatedSku)
    }

    /// Whether it is applied to whole invoices (else to rows).
    pub fn is_of_invoices(self) -> bool {
        matches!(self, Treatment::Cancellation | Treatment::NothingLeft | Treatment::NoCustomer)
    }

    /// What is done and why, for the summary.
    pub fn explanation(self) -> &'static str {
        match self {
            Treatment::Cancellation => "cancellation: returned, as far as the customer has bought it before",
            Treatment::NothingLeft => "no line left to order: skipped",
            Treatment::NoCustomer => "no customer: placed on the account customer-guest",
            Treatment::MalformedRow => "malformed row: left out",
            Treatment::Fee => "fee, no stock (POST, M, D, ...): left out of the order",
            Treatment::NonPositiveQuantity => "quantity of zero or less: left out, a correction and no sale",
            Treatment::NegativePrice => "price below zero: left out, a correction and no sale",
            Treatment::FinerThanAPenny => "price finer than a penny: left out, it cannot be charged exactly",
            Treatment::StockNote => "zero price and no customer: left out, a note about stock and no sale",
            Treatment::FreeOfCharge => "zero price for a customer: placed, free of charge",
            Treatment::RepeatedSku => "article named twice in an invoice: placed, checked as the sum",
        }
    }
}

/// How often each treatment was applied.
pub type Treatments = BTreeMap<Treatment, u64>;

/// Codes in the place of an article's that stand for no stock.
const FEES: [&str; 16] = [
    "POST",
    "DOT",
    "C2",
    "C3",
    "D",
    "M",
    "S",
    "B",
    "BANK CHARGES",
    "CRUK",
    "AMAZONFEE",
    "PADS",
    "ADJUST",
    "ADJUST2",
    "TEST001",
    "TEST002",
];

/// Whether this code is a fee.
pub fn is_fee(code: &str) -> bool {
    FEES.iter().any(|fee| fee.eq_ignore_ascii_case(code))
}
