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
            (Operation::Cancel | Operation::Ship, _) => Ok(()),
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
        Ok(match self.operation {
            Operation::Ship => Plan { returned: Vec::new(), put_back: Vec::new(), refund_minor: 0 },
            Operation::Refund => {
                Plan { returned: Vec::new(), put_back: Vec::new(), refund_minor: asked_minor.unwrap_or_default() }
            }
            Operation::Cancel => {
                let line = |line: &Line| Back { sku: line.sku.clone(), quantity: line.quantity, damaged: false };
                let put_back = order.lines.iter().map(line).collect();
                Plan { returned: Vec::new(), put_back, refund_minor: left_minor }
            }
            Operation::Return => {
                let (returned, cost_minor) = self.count(order);
                let refund_minor = asked_minor.unwrap_or_else(|| cost_minor.min(left_minor));
                Plan { returned, put_back: self.back.clone(), refund_minor }
            }
        })
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
