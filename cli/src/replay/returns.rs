//! Cancelling invoices as returns: each line is matched with what the same customer has bought before in the file and not
//! brought back yet, the newest first; then those orders are shipped, and the units brought back.
//!
//! What is matched depends on the file alone, and every call has a request id made from the two invoices' numbers: the file
//! run again brings nothing back twice.
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use proto::assent::order::v1 as wire;
use proto::assent::order::v1::order_service_client::OrderServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::attempts::Backoff;
use super::invoices::Invoice;
use crate::client::Services;
use crate::failure::reason;

/// A line of a cancelling invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Back {
    /// The article.
    pub sku: String,
    /// How many, at least 1.
    pub quantity: i64,
}

/// What of one order comes back by one cancelling invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// The cancelling invoice.
    pub number: String,
    /// What comes back.
    pub lines: Vec<Back>,
}

/// No earlier order of the customer has as much of it left.
pub const NOT_BOUGHT: &str = "NOT_BOUGHT_BEFORE";
/// The invoice names no customer, so whose order it was is not known.
pub const NO_CUSTOMER: &str = "NO_CUSTOMER";
/// The order that it was matched with was not placed.
pub const NOT_PLACED: &str = "ORDER_NOT_PLACED";

/// What there is to bring back.
#[derive(Debug, Default)]
pub struct Returns {
    /// By the place of the order among the invoices to place, in the order of the file.
    pub of_orders: BTreeMap<usize, Vec<Return>>,
    /// How many lines come back.
    pub line_count: u64,
    /// How many lines are matched by nothing, by the reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// What each customer has bought and not brought back yet, by customer and article: the order's place, and how many.
    bought: HashMap<(String, String), Vec<(usize, i64)>>,
}

impl Returns {
    /// An order of the file, at this place.
    pub fn bought(&mut self, place: usize, invoice: &Invoice) {
        for line in &invoice.lines {
            let of = self.bought.entry((invoice.account.clone(), line.sku.clone())).or_default();
            match of.last_mut() {
                Some((last, left)) if *last == place => *left = left.saturating_add(line.quantity),
                _ => of.push((place, line.quantity)),
            }
        }
    }

    /// A line of a cancelling invoice; all of it is matched, or nothing.
    pub fn back(&mut self, number: &str, account: Option<&str>, back: Back) {
        self.line_count += 1;
        let Some(account) = account else {
            *self.refused.entry(NO_CUSTOMER).or_default() += 1;
            return;
        };
        let mut of = self.bought.get_mut(&(account.to_owned(), back.sku.clone()));
        let there = of.as_ref().map_or(0, |of| of.iter().map(|(_, left)| *left).fold(0, i64::saturating_add));
        if there < back.quantity {
            *self.refused.entry(NOT_BOUGHT).or_default() += 1;
            return;
        }
        let mut wanted = back.quantity;
        for (place, left) in of.iter_mut().flat_map(|of| of.iter_mut().rev()) {
            let taken = wanted.min(*left);
            if taken == 0 {
                continue;
            }
            *left -= taken;
            wanted -= taken;
            let returns = self.of_orders.entry(*place).or_default();
            if returns.last().is_none_or(|last| last.number != number) {
                returns.push(Return { number: number.to_owned(), lines: Vec::new() });
            }
            if let Some(last) = returns.last_mut() {
                last.lines.push(Back { sku: back.sku.clone(), quantity: taken });
            }
        }
    }
}

/// What became of the returns of one order: returned and refused lines, and those of which nobody knows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Brought {
    /// Lines that came back.
    pub returned: u64,
    /// Lines that were refused, by the reason.
    pub refused: BTreeMap<String, u64>,
    /// Lines of which nobody could tell in time.
    pub unknown: u64,
}

/// Ships an order and brings back what is to be brought back of it.
pub async fn bring_back(
    client: OrderServiceClient<Channel>,
    services: &Services,
    invoice: &Invoice,
    order_id: Option<&str>,
    returns: &[Return],
    patience: Duration,
) -> Brought {
    let mut brought = Brought::default();
    let count = |returns: &[Return]| returns.iter().map(|one| one.lines.len() as u64).sum::<u64>();
    let Some(order_id) = order_id else {
        brought.refused.insert(NOT_PLACED.to_owned(), count(returns));
        return brought;
    };
    let number = &invoice.number;
    let shipped = insist(patience, async |attempt| {
        let message = wire::ShipOrderRequest {
            order_id: order_id.to_owned(),
            request_id: request_id(&format!("replay/{number}/ship"), attempt),
            ..wire::ShipOrderRequest::default()
        };
        client.clone().ship_order(services.request(message)).await.map(drop)
    });
    match shipped.await {
        Ok(()) => (),
        // By hand, or as it was placed.
        Err(status) if reason(&status).as_deref() == Some("ALREADY_SHIPPED") => (),
        Err(status) => {
            note(&mut brought, &status, count(returns));
            return brought;
        }
    }
    for one in returns {
        let line = |back: &Back| wire::ReturnLine { sku: back.sku.clone(), quantity: back.quantity, condition: 0 };
        let came = insist(patience, async |attempt| {
            let message = wire::ReturnOrderRequest {
                order_id: order_id.to_owned(),
                request_id: request_id(&format!("replay/{}/of/{number}", one.number), attempt),
                lines: one.lines.iter().map(line).collect(),
                reason: format!("invoice {}", one.number),
                ..wire::ReturnOrderRequest::default()
            };
            client.clone().return_order(services.request(message)).await.map(drop)
        });
        match came.await {
            Ok(()) => brought.returned += one.lines.len() as u64,
            Err(status) => note(&mut brought, &status, one.lines.len() as u64),
        }
    }
    brought
}

fn note(brought: &mut Brought, status: &Status, lines: u64) {
    match status.code() {
        Code::FailedPrecondition | Code::NotFound | Code::InvalidArgument | Code::AlreadyExists => {
            let reason = reason(status).unwrap_or_else(|| format!("{:?}", status.code()));
            *brought.refused.entry(reason).or_default() += lines;
        }
        _ => brought.unknown += lines,
    }
}

/// The name of an attempt, as those of orders.
fn request_id(name: &str, attempt: u32) -> String {
    match attempt {
        1 => name.to_owned(),
        _ => format!("{name}/attempt-{attempt}"),
    }
}

/// Asks until it is known; a definite abort begins the next attempt, as for orders.
async fn insist(patience: Duration, ask: impl AsyncFn(u32) -> Result<(), Status>) -> Result<(), Status> {
    let mut attempt = 1;
    let mut backoff = Backoff::new(patience);
    loop {
        let status = match ask(attempt).await {
            Ok(()) => return Ok(()),
            Err(status) => status,
        };
        match status.code() {
            Code::Aborted => attempt += 1,
            Code::Unavailable
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Unknown
            | Code::Internal
            | Code::ResourceExhausted => (),
            _ => return Err(status),
        }
        if !backoff.wait().await {
            return Err(status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::invoices::Line;

    fn invoice(number: &str, lines: &[(&str, i64)]) -> Invoice {
        let line =
            |(sku, quantity): &(&str, i64)| Line { sku: (*sku).to_owned(), quantity: *quantity, unit_price_minor: 1 };
        let lines = lines.iter().map(line).collect();
        Invoice { number: number.to_owned(), account: "ann".to_owned(), lines }
    }

    #[test]
    fn what_comes_back_is_of_the_newest_orders_that_have_it_and_never_more_than_was_bought() {
        let mut returns = Returns::default();
        returns.bought(0, &invoice("1", &[("a", 2), ("a", 1), ("b", 1)]));
        returns.bought(1, &invoice("2", &[("a", 2)]));
        let back = |sku: &str, quantity| Back { sku: sku.to_owned(), quantity };
        returns.back("C1", Some("ann"), back("a", 3));
        returns.back("C1", Some("ann"), back("b", 1));
        returns.back("C2", Some("ann"), back("a", 3));
        returns.back("C3", Some("ann"), back("a", 2));
        returns.back("C3", Some("ben"), back("a", 1));
        returns.back("C4", None, back("a", 1));
        let of = |number: &str, lines: &[Back]| Return { number: number.to_owned(), lines: lines.to_vec() };
        assert_eq!(returns.of_orders[&1], [of("C1", &[back("a", 2)])]);
        assert_eq!(returns.of_orders[&0], [of("C1", &[back("a", 1), back("b", 1)]), of("C3", &[back("a", 2)])]);
        assert_eq!(returns.refused, BTreeMap::from([(NOT_BOUGHT, 2), (NO_CUSTOMER, 1)]));
        assert_eq!(returns.line_count, 6);
    }
}
