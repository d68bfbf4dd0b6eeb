//! Orders: what they are made of, what is valid, and what may become of them.
mod change;
mod life;

use chrono::{DateTime, Utc};
use proto::limits;
use uuid::Uuid;

pub use change::{Change, Life, Operation, ReturnLine, check as check_change, decide};
pub use life::{EventKind, State, busy, outcomes};

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
    /// The client that asks; empty where that is not known.
    pub client_id: String,
    /// It may wait for its goods.
    pub waits: bool,
}

/// The order service's branch of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Branch {
    /// An order to write down.
    Place(NewOrder),
    /// A change of one that stands.
    Change(Change),
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
    /// Counts its events.
    pub version: i64,
    /// How many units of each line have come back; empty: none.
    pub returned: Vec<i64>,
    /// What was paid back.
    pub refunded_minor: i64,
    /// What was said of its shipment.
    pub tracking: String,
    /// How many units it has got, if it waits for any.
    pub allotted_units: i64,
    /// The change that is in doubt, and what it makes of the order.
    pub pending: Option<(Uuid, Life)>,
}

impl Order {
    /// The order as it is after the change that is in doubt, with that change's transaction.
    pub fn after_pending(&self) -> Option<(Uuid, Order)> {
        let (transaction_id, Life { state, returned, refunded_minor, tracking, allotted_units }) =
            self.pending.clone()?;
        let version = self.version.saturating_add(1);
        let after =
            Order { state, returned, refunded_minor, tracking, allotted_units, version, pending: None, ..self.clone() };
        Some((transaction_id, after))
    }
}

/// One entry of an order's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place, without gaps.
    pub sequence: i64,
    /// What happened.
    pub kind: EventKind,
    /// The state after it.
    pub state: State,
    /// The transaction that did it.
    pub transaction_id: Uuid,
    /// Who asked for it; empty where that is not known.
    pub client_id: String,
    /// The client's name for the request.
    pub request_id: String,
    /// Why.
    pub reason: String,
    /// What came back.
    pub lines: Vec<ReturnLine>,
    /// What was paid back.
    pub refund_minor: i64,
    /// When.
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
    limits::check_text(&order.client_id).map_err(|wrong| ("client_id".to_owned(), wrong))?;
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

#[cfg(test)]
mod tests {
    use chrono::Datelike;
    use proptest::prelude::*;

    use super::*;

    fn lines() -> impl Strategy<Value = Vec<Line>> {
        let price = prop_oneof![0..=1_000_i64, 0..=i64::MAX / 8, Just(i64::MAX)];
        let quantity = prop_oneof![1..=9_i64, Just(limits::MAX_QUANTITY)];
        let line = (quantity, price).prop_map(|(quantity, unit_price_minor)| Line {
            sku: "A".to_owned(),
            quantity,
            unit_price_minor,
        });
        proptest::collection::vec(line, 1..6)
    }

    proptest! {
        #[test]
        fn an_order_costs_exactly_what_its_lines_cost(lines in lines(), off in -1..=1_i64) {
            let cost: i128 =
                lines.iter().map(|line| i128::from(line.quantity) * i128::from(line.unit_price_minor)).sum();
            // What 64 bits keep of it: wrong wherever it doesn't fit.
            let total_minor = (cost as i64).wrapping_add(off);
            let order = NewOrder {
                account: "alice".to_owned(),
                request_id: "r".to_owned(),
                currency: "GBP".to_owned(),
                lines,
                total_minor,
                client_id: String::new(),
                waits: false,
            };
            prop_assert_eq!(check(&order).is_ok(), i128::from(total_minor) == cost);
        }

        #[test]
        fn any_id_tells_a_time_that_can_be_stored(id in any::<u128>(), version in 1..=8_u128) {
            // The version and variant of RFC 9562, so that most are of a kind that tells.
            let id = Uuid::from_u128(id & !(0xf000_u128 << 64) & !(0xc_u128 << 60) | version << 76 | 0x8_u128 << 60);
            prop_assert!((1500..290_000).contains(&create_time(id).year()));
        }
    }
}
