//! Orders: what they are made of, and what is valid.
use chrono::{DateTime, Utc};
use proto::limits;
use uuid::Uuid;

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Being placed.
    Pending,
    /// Placed.
    Confirmed,
    /// Refused: nothing is held, nothing is charged.
    Refused,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The article.
    pub sku: String,
    /// How many.
    pub quantity: i64,
    /// Price of one, in the currency's minor unit.
    pub unit_price_minor: i64,
}

/// What a client orders: the branch of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// The account that pays.
    pub account: String,
    /// The client's name for the request.
    pub request_id: String,
    /// The currency of all prices.
    pub currency: String,
    /// The lines, in the order given.
    pub lines: Vec<Line>,
    /// What it costs, in the currency's minor unit.
    pub total_minor: i64,
}

/// An order as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its id: the transaction that placed it.
    pub order_id: Uuid,
    /// What was ordered.
    pub content: NewOrder,
    /// Where it stands.
    pub state: State,
    /// Why it was refused, machine-readable; empty unless refused.
    pub reason: String,
    /// Why it was refused, for a person.
    pub reason_message: String,
    /// When it was placed.
    pub create_time: DateTime<Utc>,
}

/// When an order was placed: its id tells, if it is of the kind that does.
pub fn create_time(order_id: Uuid) -> DateTime<Utc> {
    let told = order_id.get_timestamp().and_then(|timestamp| {
        let (seconds, nanos) = timestamp.to_unix();
        DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
    });
    told.unwrap_or_else(Utc::now)
}

/// What is wrong with an order's content, if anything: the field and how.
pub fn check(order: &NewOrder) -> Result<(), (String, String)> {
    limits::check_account(&order.account).map_err(|wrong| ("account".to_owned(), wrong))?;
    limits::check_request_id(&order.request_id).map_err(|wrong| ("request_id".to_owned(), wrong))?;
    limits::check_line_count(order.lines.len()).map_err(|wrong| ("lines".to_owned(), wrong))?;
    // At most 2,000 times a billion times 64 bits: far from overflowing 128.
    let mut total: i128 = 0;
    for (place, line) in order.lines.iter().enumerate() {
        check_line(line).map_err(|(field, wrong)| (format!("lines[{place}].{field}"), wrong))?;
        total += i128::from(line.quantity) * i128::from(line.unit_price_minor);
    }
    match total == i128::from(order.total_minor) {
        true => Ok(()),
        false => Err(("total".to_owned(), format!("is {}, but the lines cost {total}", order.total_minor))),
    }
}

fn check_line(line: &Line) -> Result<(), (&'static str, String)> {
    let Line { sku, quantity, unit_price_minor } = line;
    limits::check_sku(sku).map_err(|wrong| ("sku", wrong))?;
    limits::check_quantity(*quantity).map_err(|wrong| ("quantity", wrong))?;
    match *unit_price_minor < 0 {
        true => Err(("unit_price", "must be zero or more".to_owned())),
        false => Ok(()),
    }
}
