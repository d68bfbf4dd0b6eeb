//! What becomes of an order that was placed: what a client asks for, and what it comes to on the order as it was read. Whether
//! it may be is for the order service to say, which votes on the order as it stands.
use std::collections::HashMap;

use proto::limits;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::{Invalid, Line};

/// What becomes of it.
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

/// So many of an article that come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Back {
    /// The article.
    pub sku: String,
    /// How many.
    pub quantity: i64,
    /// They are damaged.
    pub damaged: bool,
}

/// So many of an article that an order gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allotted {
    /// The article.
    pub sku: String,
    /// How many of it the order had before.
    pub first: i64,
    /// How many it gets.
    pub quantity: i64,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Of which order.
    pub order_id: Uuid,
    /// What becomes of it.
    pub operation: Operation,
    /// Why; of a shipment: the tracking.
    pub reason: String,
    /// What comes back.
    pub back: Vec<Back>,
    /// What is paid back, in minor units of this currency; none: what the order says.
    pub refund: Option<(i64, String)>,
    /// What it gets.
    pub allotted: Vec<Allotted>,
    /// What it gets is charged, because what was authorised is so no more.
    pub charged: bool,
}

/// An order, as far as its changes are worked out on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bought {
    /// The account that has paid.
    pub account: String,
    /// The currency of all prices.
    pub currency: String,
    /// Its lines.
    pub lines: Vec<Line>,
    /// How many of each line have come back.
    pub returned: Vec<i64>,
    /// What it costs.
    pub total_minor: i64,
    /// What was paid back.
    pub refunded_minor: i64,
    /// Its price was captured, or some of it; else it is only authorised.
    pub is_captured: bool,
}

/// What a change comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How many units of each line come back; empty: none.
    pub returned: Vec<i64>,
    /// What is put back into stock.
    pub put_back: Vec<Back>,
    /// What is paid back.
    pub refund_minor: i64,
    /// What is captured.
    pub capture_minor: i64,
    /// How many units it gets.
    pub allotted_units: i64,
}

impl Change {
    /// Checks it, as far as that can be without the order.
    pub fn check(&self) -> Result<(), Invalid> {
        let text = match self.operation {
            Operation::Ship => "tracking",
            _ => "reason",
        };
        limits::check_text(&self.reason).map_err(|wrong| Invalid::new(text, wrong))?;
        if self.operation == Operation::Return {
            limits::check_line_count(self.back.len()).map_err(|wrong| Invalid::new("lines", wrong))?;
        }
        for (place, back) in self.back.iter().enumerate() {
            let at = |field: &str| format!("lines[{place}].{field}");
            limits::check_sku(&back.sku).map_err(|wrong| Invalid::new(at("sku"), wrong))?;
            limits::check_quantity(back.quantity).map_err(|wrong| Invalid::new(at("quantity"), wrong))?;
        }
        match (self.operation, &self.refund) {
            (Operation::Refund, Some((1.., _))) | (Operation::Return, Some((0.., _)) | None) => Ok(()),
            (Operation::Refund, _) => Err(Invalid::new("amount", "must be more than zero")),
            (Operation::Return, Some(_)) => Err(Invalid::new("refund", "must be zero or more")),
            (Operation::Cancel | Operation::Ship | Operation::Allot, _) => Ok(()),
        }
    }

    /// Digest of the whole content: what one request id must always stand for.
    pub fn digest(&self) -> Vec<u8> {
        let mut hash = Sha256::new();
        let mut text = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        // Unlike any order's, which begins with an account, and any branches'.
        text("\0change");
        text(&self.order_id.to_string());
        text(&format!("{:?}", self.operation));
        text(&self.reason);
        for Back { sku, quantity, damaged } in &self.back {
            text(sku);
            text(&format!("{quantity} {damaged}"));
        }
        if let Some((minor, currency)) = &self.refund {
            text(&format!("refund {minor} {currency}"));
        }
        for Allotted { sku, first, quantity } in &self.allotted {
            text(sku);
            text(&format!("allotted {quantity} after {first} {}", self.charged));
        }
        hash.finalize().to_vec()
    }

    /// What it comes to on this order.
    pub fn plan(&self, order: &Bought) -> Result<Plan, Invalid> {
        if let Some((_, currency)) = self.refund.as_ref().filter(|(_, currency)| *currency != order.currency) {
            let field = if self.operation == Operation::Refund { "amount" } else { "refund" };
            let wrong = format!("is in {currency}, but the order is in {}", order.currency);
            return Err(Invalid::new(field, wrong));
        }
        let left_minor = order.total_minor.saturating_sub(order.refunded_minor);
        let asked_minor = self.refund.as_ref().map(|(minor, _)| *minor);
        let nothing =
            Plan { returned: Vec::new(), put_back: Vec::new(), refund_minor: 0, capture_minor: 0, allotted_units: 0 };
        Ok(match self.operation {
            Operation::Ship => nothing,
            Operation::Allot => {
                let units = self.allotted.iter().fold(0_i64, |sum, one| sum.saturating_add(one.quantity));
                Plan { capture_minor: self.price(order), allotted_units: units, ..nothing }
            }
            Operation::Refund => Plan { refund_minor: asked_minor.unwrap_or_default(), ..nothing },
            Operation::Cancel => {
                let line = |line: &Line| Back { sku: line.sku.clone(), quantity: line.quantity, damaged: false };
                let put_back = order.lines.iter().map(line).collect();
                let refund_minor = if order.is_captured { left_minor } else { 0 };
                Plan { put_back, refund_minor, ..nothing }
            }
            Operation::Return => {
                let (returned, cost_minor) = self.count(order);
                let refund_minor = asked_minor.unwrap_or_else(|| cost_minor.min(left_minor));
                Plan { returned, put_back: self.back.clone(), refund_minor, ..nothing }
            }
        })
    }

    /// What the units cost that it gets: those of a SKU are counted through the order's lines, from the first on.
    fn price(&self, order: &Bought) -> i64 {
        let mut cost: i128 = 0;
        for Allotted { sku, first, quantity } in &self.allotted {
            let (mut before, mut left) = (*first, *quantity);
            for line in order.lines.iter().filter(|line| line.sku == *sku) {
                let skipped = before.min(line.quantity);
                let counted = left.min(line.quantity - skipped);
                (before, left) = (before - skipped, left - counted);
                cost += i128::from(counted) * i128::from(line.unit_price_minor);
            }
        }
        // No more than the order's total, which fits.
        i64::try_from(cost).unwrap_or(i64::MAX)
    }

    /// How many units of each line come back, from the first on, and what they cost. Of what is more than that the order has
    /// nothing is counted: it will be refused.
    fn count(&self, order: &Bought) -> (Vec<i64>, i64) {
        let mut asked: HashMap<&str, i64> = HashMap::new();
        for back in &self.back {
            let sum = asked.entry(&back.sku).or_default();
            *sum = sum.saturating_add(back.quantity);
        }
        let mut cost: i128 = 0;
        let count = |(place, line): (usize, &Line)| {
            let left = line.quantity - order.returned.get(place).copied().unwrap_or_default();
            let Some(asked) = asked.get_mut(line.sku.as_str()) else { return 0 };
            let counted = left.clamp(0, *asked);
            *asked -= counted;
            cost += i128::from(counted) * i128::from(line.unit_price_minor);
            counted
        };
        let returned = order.lines.iter().enumerate().map(count).collect();
        // No more than the order's total, which fits.
        (returned, i64::try_from(cost).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bought(lines: &[(&str, i64, i64)], returned: &[i64], refunded_minor: i64) -> Bought {
        let line = |(sku, quantity, unit_price_minor): &(&str, i64, i64)| Line {
            sku: (*sku).to_owned(),
            quantity: *quantity,
            unit_price_minor: *unit_price_minor,
        };
        Bought {
            account: "ann".to_owned(),
            currency: "GBP".to_owned(),
            lines: lines.iter().map(line).collect(),
            returned: returned.to_vec(),
            total_minor: lines.iter().map(|(_, quantity, price)| quantity * price).sum(),
            refunded_minor,
            is_captured: true,
        }
    }

    fn change(operation: Operation, back: &[(&str, i64)], refund: Option<i64>) -> Change {
        let one = |(sku, quantity): &(&str, i64)| Back { sku: (*sku).to_owned(), quantity: *quantity, damaged: false };
        Change {
            order_id: Uuid::nil(),
            operation,
            reason: String::new(),
            back: back.iter().map(one).collect(),
            refund: refund.map(|minor| (minor, "GBP".to_owned())),
            allotted: Vec::new(),
            charged: false,
        }
    }

    #[test]
    fn what_comes_back_is_counted_from_the_first_line_that_has_some_left() {
        let order = bought(&[("a", 2, 100), ("b", 1, 50), ("a", 3, 70)], &[1, 0, 0], 100);
        let plan = change(Operation::Return, &[("a", 2), ("a", 1), ("b", 1)], None).plan(&order).unwrap();
        assert_eq!((plan.returned, plan.refund_minor), (vec![1, 1, 2], 100 + 50 + 140));
        // No more than is left of what was paid, unless that much is asked for: then it is for the vote to refuse.
        let poor = Bought { refunded_minor: 400, ..order.clone() };
        let asked = |refund| change(Operation::Return, &[("a", 2)], refund).plan(&poor).unwrap().refund_minor;
        assert_eq!((asked(None), asked(Some(0)), asked(Some(500))), (60, 0, 500));
        let too_many = change(Operation::Return, &[("a", 99), ("c", 1)], None).plan(&order).unwrap();
        assert_eq!((too_many.returned, too_many.put_back.len()), (vec![1, 0, 3], 2));
    }

    #[test]
    fn what_an_order_gets_is_priced_by_its_lines_in_their_order() {
        let order = bought(&[("a", 2, 100), ("b", 1, 50), ("a", 3, 70)], &[], 0);
        let allotted = |first, quantity| {
            let allotted = vec![Allotted { sku: "a".to_owned(), first, quantity }];
            let plan = Change { allotted, ..change(Operation::Allot, &[], None) }.plan(&order).unwrap();
            (plan.capture_minor, plan.allotted_units)
        };
        assert_eq!(allotted(0, 2), (200, 2));
        assert_eq!(allotted(1, 2), (170, 2));
        assert_eq!(allotted(2, 3), (210, 3));
        assert_eq!(allotted(0, 5), (410, 5));
        let waiting = Bought { is_captured: false, ..order };
        assert_eq!(change(Operation::Cancel, &[], None).plan(&waiting).unwrap().refund_minor, 0);
    }

    #[test]
    fn a_cancellation_pays_back_what_is_left() {
        let plan = change(Operation::Cancel, &[], None).plan(&bought(&[("a", 2, 100)], &[], 30)).unwrap();
        assert_eq!((plan.put_back.len(), plan.refund_minor, plan.returned.len()), (1, 170, 0));
    }

    #[test]
    fn what_makes_no_sense_is_named_by_its_field() {
        let field = |change: &Change| change.check().unwrap_err().field;
        let good = change(Operation::Return, &[("a", 1)], None);
        assert_eq!(good.check(), Ok(()));
        assert_eq!(field(&change(Operation::Return, &[], None)), "lines");
        assert_eq!(field(&change(Operation::Return, &[("a", 0)], None)), "lines[0].quantity");
        assert_eq!(field(&change(Operation::Return, &[("", 1)], None)), "lines[0].sku");
        assert_eq!(field(&change(Operation::Return, &[("a", 1)], Some(-1))), "refund");
        assert_eq!(field(&change(Operation::Refund, &[], None)), "amount");
        assert_eq!(field(&change(Operation::Refund, &[], Some(0))), "amount");
        assert_eq!(field(&Change { reason: "x".repeat(501), ..good.clone() }), "reason");
        assert_eq!(field(&Change { reason: "\0".into(), ..change(Operation::Ship, &[], None) }), "tracking");
        let euro = Change { refund: Some((1, "EUR".to_owned())), ..good };
        assert_eq!(euro.plan(&bought(&[("a", 1, 1)], &[], 0)).unwrap_err().field, "refund");
    }

    #[test]
    fn a_digest_tells_changes_apart_by_all_their_content() {
        let one = change(Operation::Return, &[("a", 1)], None);
        let digest = |change: &Change| change.digest();
        assert_eq!(digest(&one), digest(&one.clone()));
        for other in [
            change(Operation::Return, &[("a", 2)], None),
            change(Operation::Return, &[("a", 1)], Some(0)),
            change(Operation::Cancel, &[("a", 1)], None),
            Change { reason: "x".to_owned(), ..one.clone() },
            Change { order_id: Uuid::max(), ..one.clone() },
        ] {
            assert_ne!(digest(&one), digest(&other));
        }
    }
}
