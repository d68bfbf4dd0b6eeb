//! Orders: what they are made of, and what is valid.
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Lines of one order, at most.
pub const MAX_LINES: usize = 2_000;
/// Of one line, at most.
pub const MAX_QUANTITY: i64 = 1_000_000_000;

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
    check_account(&order.account).map_err(|wrong| ("account".to_owned(), wrong))?;
    if order.request_id.len() > 256 || order.request_id.chars().any(char::is_control) {
        return Err(("request_id".to_owned(), "must be up to 256 printable characters".to_owned()));
    }
    let count = order.lines.len();
    if !(1..=MAX_LINES).contains(&count) {
        return Err(("lines".to_owned(), format!("must be 1 to {MAX_LINES}, not {count}")));
    }
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
    if !(1..=64).contains(&sku.chars().count()) || sku.chars().any(char::is_control) || sku.trim() != sku {
        return Err(("sku", "must be 1 to 64 printable characters without spaces around them".to_owned()));
    }
    if !(1..=MAX_QUANTITY).contains(quantity) {
        return Err(("quantity", format!("must be from 1 to {MAX_QUANTITY}, not {quantity}")));
    }
    match *unit_price_minor < 0 {
        true => Err(("unit_price", "must be zero or more".to_owned())),
        false => Ok(()),
    }
}

/// What is wrong with an account's name, if anything.
pub fn check_account(account: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match (1..=64).contains(&account.len()) && account.bytes().all(allowed) {
        true => Ok(()),
        false => Err("must be 1 to 64 letters, digits or any of - _ .".to_owned()),
    }
}
