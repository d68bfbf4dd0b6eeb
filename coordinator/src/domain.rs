//! An order as a client asks for it: checked, summed, digested, and cut into its branches.
use proto::limits;
use sha2::{Digest, Sha256};
use uuid::Uuid;

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

/// An order that can be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The account that pays.
    pub account: String,
    /// The currency of all prices.
    pub currency: String,
    /// The lines, in the order given.
    pub lines: Vec<Line>,
    /// What it costs, in the currency's minor unit.
    pub total_minor: i64,
    /// Reservations that it takes over, each once.
    pub reservation_ids: Vec<Uuid>,
    /// What may be waited for.
    pub allowed: Allowed,
}

/// What an order allows where there is too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allowed {
    /// Nothing: it is refused.
    #[default]
    Nothing,
    /// A SKU is given when all of it is there.
    Whole,
    /// What there is is given at once, and the rest as it comes.
    Partial,
}

/// What is wrong with a request, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {description}")]
pub struct Invalid {
    /// The field, as a path.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl Invalid {
    /// `field` is wrong in this way.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Invalid { field: field.into(), description: description.into() }
    }
}

impl Order {
    /// Checks and sums. `lines` come with the currency of each one's price.
    pub fn new(account: String, lines: Vec<(Line, String)>) -> Result<Self, Invalid> {
        limits::check_account(&account).map_err(|wrong| Invalid::new("account", wrong))?;
        limits::check_line_count(lines.len()).map_err(|wrong| Invalid::new("lines", wrong))?;
        let currency = lines.first().map(|(_, currency)| currency.clone()).unwrap_or_default();
        let mut total: i128 = 0;
        let mut checked = Vec::with_capacity(lines.len());
        for (place, (line, of_line)) in lines.into_iter().enumerate() {
            check_line(place, &line)?;
            if of_line != currency {
                return Err(Invalid::new(
                    format!("lines[{place}].unit_price"),
                    format!("an order has one currency, and this line's is {of_line} beside {currency}"),
                ));
            }
            total += i128::from(line.quantity) * i128::from(line.unit_price_minor);
            checked.push(line);
        }
        let total_minor = i64::try_from(total)
            .map_err(|_| Invalid::new("lines", "the total is too large: it must fit 64 bits of minor units"))?;
        Ok(Order {
            account,
            currency,
            lines: checked,
            total_minor,
            reservation_ids: Vec::new(),
            allowed: Allowed::Nothing,
        })
    }

    /// The same, from reservations.
    pub fn of_reservations(self, reservation_ids: &[String]) -> Result<Self, Invalid> {
        limits::check_reservation_count(reservation_ids.len())
            .map_err(|wrong| Invalid::new("reservation_ids", wrong))?;
        let mut read = Vec::with_capacity(reservation_ids.len());
        for (place, text) in reservation_ids.iter().enumerate() {
            let wrong = |what: &str| Invalid::new(format!("reservation_ids[{place}]"), what);
            let id = Uuid::parse_str(text).map_err(|_| wrong("is no id of a reservation"))?;
            if read.contains(&id) {
                return Err(wrong("is named twice"));
            }
            read.push(id);
        }
        Ok(Order { reservation_ids: read, ..self })
    }

    /// The same, where this may be waited for.
    pub fn allowing(self, allowed: Allowed) -> Self {
        Order { allowed, ..self }
    }

    /// Digest of the whole content: what one request id must always stand for.
    pub fn digest(&self) -> Vec<u8> {
        let mut hash = Sha256::new();
        let mut text = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        text(&self.account);
        text(&self.currency);
        for line in &self.lines {
            text(&line.sku);
            text(&line.quantity.to_string());
            text(&line.unit_price_minor.to_string());
        }
        // Without any, as it was before there were reservations.
        for reservation_id in &self.reservation_ids {
            text(&format!("reservation {reservation_id}"));
        }
        match self.allowed {
            Allowed::Nothing => (),
            allowed => text(&format!("waits {allowed:?}")),
        }
        hash.finalize().to_vec()
    }
}

fn check_line(place: usize, line: &Line) -> Result<(), Invalid> {
    let at = |field: &str, wrong| Invalid::new(format!("lines[{place}].{field}"), wrong);
    limits::check_sku(&line.sku).map_err(|wrong| at("sku", wrong))?;
    limits::check_quantity(line.quantity).map_err(|wrong| at("quantity", wrong))?;
    match line.unit_price_minor < 0 {
        true => Err(at("unit_price", "must be zero or more".to_owned())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proto::limits::{MAX_LINES, MAX_QUANTITY};

    use super::*;

    fn line(sku: &str, quantity: i64, unit_price_minor: i64) -> (Line, String) {
        (Line { sku: sku.to_owned(), quantity, unit_price_minor }, "GBP".to_owned())
    }

    fn order(lines: Vec<(Line, String)>) -> Result<Order, Invalid> {
        Order::new("alice".to_owned(), lines)
    }

    #[test]
    fn an_order_is_summed_exactly() {
        let placed = order(vec![line("A", 2, 150), line("B", 1, 0), line("A", 1, 150)]).unwrap();
        assert_eq!((placed.total_minor, placed.lines.len()), (450, 3));
    }

    #[test]
    fn what_cannot_be_placed_is_named_by_its_field() {
        let field = |lines| order(lines).unwrap_err().field;
        assert_eq!(field(vec![]), "lines");
        assert_eq!(field(vec![line("A", 1, 1); MAX_LINES + 1]), "lines");
        assert_eq!(field(vec![line("A", 1, 1), line("B", 0, 1)]), "lines[1].quantity");
        assert_eq!(field(vec![line("A", -1, 1)]), "lines[0].quantity");
        assert_eq!(field(vec![line("A", MAX_QUANTITY + 1, 1)]), "lines[0].quantity");
        assert_eq!(field(vec![line("", 1, 1)]), "lines[0].sku");
        assert_eq!(field(vec![line("A\n", 1, 1)]), "lines[0].sku");
        assert_eq!(field(vec![line("A", 1, -1)]), "lines[0].unit_price");
        assert_eq!(field(vec![line("A", MAX_QUANTITY, i64::MAX)]), "lines");
        let mixed = vec![line("A", 1, 1), (line("B", 1, 1).0, "EUR".to_owned())];
        assert_eq!(field(mixed), "lines[1].unit_price");
        assert_eq!(Order::new("a b".to_owned(), vec![line("A", 1, 1)]).unwrap_err().field, "account");
    }

    #[test]
    fn a_digest_tells_orders_apart_by_all_their_content() {
        let digest = |lines| order(lines).unwrap().digest();
        assert_eq!(digest(vec![line("A", 1, 1)]), digest(vec![line("A", 1, 1)]));
        assert_ne!(digest(vec![line("A", 1, 1)]), digest(vec![line("A", 11, 1)]));
        assert_ne!(digest(vec![line("A", 1, 11)]), digest(vec![line("A", 11, 1)]));
        assert_ne!(digest(vec![line("A", 1, 1), line("B", 1, 1)]), digest(vec![line("B", 1, 1), line("A", 1, 1)]));
    }
}
