//! Changes of orders that stand: what is valid, and how each is decided by the order as it is.
use std::collections::BTreeMap;

use participant::Refusal;
use proto::limits;
use uuid::Uuid;

use super::Line;
use super::life::{EventKind, State, busy, denied, outcomes};

/// What becomes of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is cancelled.
    Cancel,
    /// It is marked as shipped.
    Ship,
    /// Units of it come back.
    Return,
    /// Money is paid back.
    Refund,
    /// It gets goods that it has waited for.
    Allot,
}

impl Operation {
    /// What has happened then.
    pub fn event(self) -> EventKind {
        match self {
            Operation::Cancel => EventKind::Cancelled,
            Operation::Ship => EventKind::Shipped,
            Operation::Return => EventKind::Returned,
            Operation::Refund => EventKind::Refunded,
            Operation::Allot => EventKind::Allotted,
        }
    }
}

/// So many of an article that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnLine {
    /// The article.
    pub sku: String,
    /// How many.
    pub quantity: i64,
    /// They are damaged.
    pub damaged: bool,
}

/// A change, as it was worked out on the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Of which order.
    pub order_id: Uuid,
    /// What becomes of it.
    pub operation: Operation,
    /// Who asks.
    pub client_id: String,
    /// The client's name for the request.
    pub request_id: String,
    /// Why; of a shipment: the tracking.
    pub reason: String,
    /// How many units of each of the order's lines come back; empty: none.
    pub returned: Vec<i64>,
    /// The same by SKU and condition.
    pub lines: Vec<ReturnLine>,
    /// What is paid back.
    pub refund_minor: i64,
    /// The money was only authorised: a cancellation pays nothing back.
    pub uncaptured: bool,
    /// How many units it gets.
    pub allotted_units: i64,
}

/// What is to be known of an order for its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Where it stands.
    pub state: State,
    /// How many units of each line have come back; empty: none.
    pub returned: Vec<i64>,
    /// What was paid back.
    pub refunded_minor: i64,
    /// What the last shipment said.
    pub tracking: String,
    /// How many units it has got, if it waits for any.
    pub allotted_units: i64,
}

/// What is wrong with a change in itself, if anything: the field and how.
pub fn check(change: &Change) -> Result<(), (String, String)> {
    limits::check_request_id(&change.request_id).map_err(|wrong| ("request_id".to_owned(), wrong))?;
    limits::check_text(&change.client_id).map_err(|wrong| ("client_id".to_owned(), wrong))?;
    limits::check_text(&change.reason).map_err(|wrong| ("change.reason".to_owned(), wrong))?;
    if change.returned.len() > limits::MAX_LINES || change.returned.iter().any(|quantity| *quantity < 0) {
        let wrong = format!("must be at most {} quantities of zero or more", limits::MAX_LINES);
        return Err(("change.returned".to_owned(), wrong));
    }
    if change.lines.len() > 2 * limits::MAX_LINES {
        return Err(("change.lines".to_owned(), format!("must be at most {}", 2 * limits::MAX_LINES)));
    }
    for (place, line) in change.lines.iter().enumerate() {
        let at = |field: &str| format!("change.lines[{place}].{field}");
        limits::check_sku(&line.sku).map_err(|wrong| (at("sku"), wrong))?;
        if line.quantity < 1 {
            return Err((at("quantity"), "must be at least 1".to_owned()));
        }
    }
    let (returns, refunds) = (!change.returned.is_empty() || !change.lines.is_empty(), change.refund_minor != 0);
    let wrong = |field: &str, how: &str| Err((format!("change.{field}"), how.to_owned()));
    match change.operation {
        _ if change.refund_minor < 0 => wrong("refund_minor", "must be zero or more"),
        Operation::Cancel | Operation::Ship | Operation::Refund | Operation::Allot if returns => {
            wrong("returned", "must be empty: nothing comes back by this")
        }
        Operation::Allot if change.allotted_units < 1 => wrong("allotted_units", "must be at least 1"),
        Operation::Cancel | Operation::Ship | Operation::Return | Operation::Refund if change.allotted_units != 0 => {
            wrong("allotted_units", "must be zero: nothing is got by this")
        }
        Operation::Ship | Operation::Allot if refunds => {
            wrong("refund_minor", "must be zero: nothing is paid back by this")
        }
        Operation::Refund if !refunds => wrong("refund_minor", "must be more than zero"),
        Operation::Return if change.returned.is_empty() => wrong("returned", "must name how many of each line"),
        _ => Ok(()),
    }
}

/// What a change makes of an order with these lines and this total, or why it can't be.
pub fn decide(lines: &[Line], total_minor: i64, life: &Life, change: &Change) -> Result<Life, Refusal> {
    let event = change.operation.event();
    let outcomes = outcomes(Some(life.state), event);
    let Some(first) = outcomes.first().copied() else { return Err(denied(life.state, event)) };
    let left_minor = total_minor.saturating_sub(life.refunded_minor);
    let mut after = Life { state: first, ..life.clone() };
    match change.operation {
        // Of what was not captured nothing is paid back.
        Operation::Cancel
            if (change.uncaptured || life.state == State::Backordered)
                && life.refunded_minor == 0
                && change.refund_minor == 0 => {}
        Operation::Cancel if life.state == State::Backordered || change.refund_minor != left_minor => {
            return Err(busy("some of its money was paid back meanwhile"));
        }
        Operation::Cancel | Operation::Refund => (),
        Operation::Ship => after.tracking = change.reason.clone(),
        Operation::Allot => {
            let ordered = lines.iter().fold(0_i64, |sum, line| sum.saturating_add(line.quantity));
            after.allotted_units = life.allotted_units.saturating_add(change.allotted_units);
            if after.allotted_units > ordered {
                let message =
                    format!("{} units were to be given, of {ordered} that were ordered", after.allotted_units);
                return Err(Refusal::new("ALLOTTED_EXCEEDS_ORDERED", message));
            }
            let complete = outcomes.iter().find(|state| **state == State::Confirmed);
            after.state = complete.copied().filter(|_| after.allotted_units == ordered).unwrap_or(first);
        }
        Operation::Return => {
            after.returned = take_back(lines, &life.returned, change)?;
            let is_complete = lines.iter().zip(&after.returned).all(|(line, back)| line.quantity == *back);
            let complete = outcomes.iter().find(|state| **state == State::Returned).filter(|_| is_complete);
            after.state = complete.copied().unwrap_or(first);
        }
    }
    if change.refund_minor > left_minor {
        let message =
            format!("{} were to be paid back, and {left_minor} are left of what was paid", change.refund_minor);
        return Err(Refusal::new("REFUND_EXCEEDS_PAID", format!("{message}, in minor units"))
            .with("refund_minor", change.refund_minor)
            .with("left_minor", left_minor));
    }
    after.refunded_minor = life.refunded_minor.saturating_add(change.refund_minor);
    Ok(after)
}

/// What has come back of each line then.
fn take_back(lines: &[Line], before: &[i64], change: &Change) -> Result<Vec<i64>, Refusal> {
    let mut by_sku: BTreeMap<&str, BySku> = BTreeMap::new();
    let mut returned = Vec::with_capacity(lines.len());
    let mut fits = change.returned.len() == lines.len();
    for (place, line) in lines.iter().enumerate() {
        let of = |quantities: &[i64]| quantities.get(place).copied().unwrap_or_default();
        let (before, back) = (of(before), of(&change.returned));
        let sku = by_sku.entry(&line.sku).or_default();
        // At most 2,000 lines of at most a billion each; what is more than that is more than was bought.
        sku.left = sku.left.saturating_add(line.quantity - before);
        sku.by_lines = sku.by_lines.saturating_add(back);
        let after = before.saturating_add(back);
        fits &= after <= line.quantity;
        returned.push(after);
    }
    for ReturnLine { sku, quantity, .. } in &change.lines {
        let of = by_sku.entry(sku).or_default();
        of.asked = of.asked.saturating_add(*quantity);
    }
    for (sku, BySku { left, by_lines, asked }) in by_sku {
        if asked > left {
            let message = format!("{asked} of {sku} were to come back, and {left} are left of what was bought");
            let refusal = Refusal::new("RETURN_EXCEEDS_BOUGHT", message).with("sku", sku);
            return Err(refusal.with("requested", asked).with("left", left));
        }
        fits &= asked == by_lines;
    }
    // As much can come back, but the lines were worked out on another state of the order.
    if fits { Ok(returned) } else { Err(busy("something else of it came back meanwhile")) }
}

#[derive(Default)]
struct BySku {
    left: i64,
    by_lines: i64,
    asked: i64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(quantities: &[(&str, i64)]) -> Vec<Line> {
        let line =
            |(sku, quantity): &(&str, i64)| Line { sku: (*sku).to_owned(), quantity: *quantity, unit_price_minor: 100 };
        quantities.iter().map(line).collect()
    }

    fn change(operation: Operation, returned: &[(&str, i64)], refund_minor: i64) -> Change {
        let line =
            |(sku, quantity): &(&str, i64)| ReturnLine { sku: (*sku).to_owned(), quantity: *quantity, damaged: false };
        Change {
            order_id: Uuid::nil(),
            operation,
            client_id: "shop".to_owned(),
            request_id: "r".to_owned(),
            reason: String::new(),
            returned: returned.iter().map(|(_, quantity)| *quantity).collect(),
            lines: returned.iter().filter(|(_, quantity)| *quantity > 0).map(line).collect(),
            refund_minor,
            uncaptured: false,
            allotted_units: 0,
        }
    }

    fn life(state: State) -> Life {
        Life { state, returned: Vec::new(), refunded_minor: 0, tracking: String::new(), allotted_units: 0 }
    }

    #[test]
    fn partial_returns_add_up_and_never_come_to_more_than_was_bought() {
        let bought = lines(&[("a", 2), ("b", 1)]);
        let take = |life: &Life, back: &[(&str, i64)]| decide(&bought, 300, life, &change(Operation::Return, back, 0));
        let some = take(&life(State::Shipped), &[("a", 1), ("b", 0)]).unwrap();
        assert_eq!((some.state, some.returned.as_slice()), (State::PartiallyReturned, [1, 0].as_slice()));
        assert_eq!(take(&some, &[("a", 2), ("b", 0)]).unwrap_err().reason, "RETURN_EXCEEDS_BOUGHT");
        let all = take(&some, &[("a", 1), ("b", 1)]).unwrap();
        assert_eq!((all.state, all.returned.as_slice()), (State::Returned, [2, 1].as_slice()));
        assert_eq!(take(&all, &[("a", 1), ("b", 0)]).unwrap_err().reason, "RETURN_EXCEEDS_BOUGHT");
        assert_eq!(take(&some, &[("c", 1), ("b", 0)]).unwrap_err().reason, "RETURN_EXCEEDS_BOUGHT");
    }

    #[test]
    fn what_was_worked_out_on_another_state_is_to_be_worked_out_anew() {
        let bought = lines(&[("a", 1), ("a", 1)]);
        let first = change(Operation::Return, &[("a", 1), ("a", 0)], 0);
        let after = decide(&bought, 200, &life(State::Shipped), &first).unwrap();
        // One more can come back, but not of the line that was meant.
        assert_eq!(decide(&bought, 200, &after, &first).unwrap_err().reason, "ORDER_BUSY");
        let refunded = decide(&bought, 200, &life(State::Confirmed), &change(Operation::Refund, &[], 50)).unwrap();
        let cancel = |minor| decide(&bought, 200, &refunded, &change(Operation::Cancel, &[], minor));
        assert_eq!(cancel(200).unwrap_err().reason, "ORDER_BUSY");
        assert_eq!(cancel(150).unwrap().refunded_minor, 200);
    }

    #[test]
    fn no_more_is_paid_back_than_was_paid() {
        let bought = lines(&[("a", 2)]);
        let refund = |life: &Life, minor| decide(&bought, 200, life, &change(Operation::Refund, &[], minor));
        let once = refund(&life(State::Shipped), 150).unwrap();
        assert_eq!((once.state, once.refunded_minor), (State::Shipped, 150));
        assert_eq!(refund(&once, 51).unwrap_err().reason, "REFUND_EXCEEDS_PAID");
        assert_eq!(refund(&once, i64::MAX).unwrap_err().reason, "REFUND_EXCEEDS_PAID");
        assert_eq!(refund(&once, 50).unwrap().refunded_minor, 200);
    }

    #[test]
    fn an_order_that_waits_is_confirmed_when_it_has_got_all() {
        let ordered = lines(&[("a", 2), ("b", 1)]);
        let allot = |life: &Life, units| {
            decide(&ordered, 300, life, &Change { allotted_units: units, ..change(Operation::Allot, &[], 0) })
        };
        let some = allot(&life(State::Backordered), 2).unwrap();
        assert_eq!((some.state, some.allotted_units), (State::PartiallyAllocated, 2));
        assert_eq!(allot(&some, 2).unwrap_err().reason, "ALLOTTED_EXCEEDS_ORDERED");
        let all = allot(&some, 1).unwrap();
        assert_eq!(all.state, State::Confirmed);
        assert_eq!(allot(&all, 1).unwrap_err().reason, "ORDER_NOT_WAITING");
        let cancel = |life: &Life, minor| decide(&ordered, 300, life, &change(Operation::Cancel, &[], minor));
        assert_eq!(cancel(&life(State::Backordered), 0).unwrap().refunded_minor, 0, "nothing was captured");
        assert_eq!(cancel(&life(State::Backordered), 300).unwrap_err().reason, "ORDER_BUSY");
        assert_eq!(cancel(&some, 0).unwrap_err().reason, "PARTIALLY_ALLOCATED");
        assert_eq!(cancel(&all, 0).unwrap_err().reason, "ORDER_BUSY", "it was captured meanwhile");
    }

    proptest! {
        #[test]
        fn whatever_comes_in_whatever_order_the_sums_stay_within_the_order(
            steps in proptest::collection::vec((0..4_u8, 0..4_i64, 0..4_i64, 0..250_i64), 1..12)
        ) {
            let bought = lines(&[("a", 3), ("b", 2)]);
            let mut now = life(State::Confirmed);
            for (kind, a, b, minor) in steps {
                let asked = match kind {
                    0 => change(Operation::Cancel, &[], 500 - now.refunded_minor),
                    1 => change(Operation::Ship, &[], 0),
                    2 => change(Operation::Return, &[("a", a), ("b", b)], minor),
                    _ => change(Operation::Refund, &[], minor.max(1)),
                };
                prop_assume!(check(&asked).is_ok());
                if let Ok(after) = decide(&bought, 500, &now, &asked) {
                    prop_assert!(outcomes(Some(now.state), asked.operation.event()).contains(&after.state));
                    now = after;
                }
                prop_assert!(now.refunded_minor <= 500);
                prop_assert!(bought.iter().zip(&now.returned).all(|(line, back)| (0..=line.quantity).contains(back)));
            }
        }
    }
}
