//! What each transaction has ordered, sold and captured, by the services' own books.
//!
//! Of each transaction only a few figures are kept: so many of this and that are one sum over all SKUs, each weighed by its name.
//! What differs is then read with its SKUs.
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use proto::assent::inventory::v1 as stock;
use proto::assent::order::v1 as order;
use proto::assent::payment::v1 as payment;
use proto::assent::transaction::v1 as transaction;
use uuid::Uuid;

use super::read;
use super::report::Difference;
use crate::client::Services;
use crate::failure::Failure;

const PER_PAGE: i32 = 1_000;
/// Orders carry all their lines.
const ORDERS_PER_PAGE: i32 = 500;

/// By transaction.
pub type Trades = BTreeMap<Uuid, Trade>;

/// Units of SKUs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Units {
    sum: u128,
    /// By SKU, with the movements; only where it is asked for.
    by_sku: BTreeMap<String, (i64, Vec<i64>)>,
}

impl Units {
    fn add(&mut self, sku: &str, quantity: i64, sequence: Option<i64>, in_detail: bool) {
        let half = |seed: u64| {
            let mut hasher = DefaultHasher::new();
            (seed, sku).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        // Negative quantities wrap, as they should.
        let weighed = (half(1) << 64 | half(2)).wrapping_mul(quantity as u128);
        self.sum = self.sum.wrapping_add(weighed);
        if in_detail {
            let (sum, sequences) = self.by_sku.entry(sku.to_owned()).or_default();
            *sum = sum.saturating_add(quantity);
            sequences.extend(sequence);
        }
    }
}

/// What the order service says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// As it is called: "confirmed", "refused", ...
    state: String,
    /// Whether its units are to be sold and its total to be captured.
    stands: bool,
    total_minor: i64,
    lines: Units,
    /// Whether it waits or has waited for goods: it is paid as it gets them.
    waits: bool,
}

/// One transaction.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Trade {
    /// Its order, if there is one.
    pub order: Option<Ordered>,
    sold: Units,
    captured_minor: i64,
    refunded_minor: i64,
}

impl Trade {
    /// Whether what was sold or captured is not what was ordered.
    pub fn differs(&self) -> bool {
        self.sold.sum != self.owed().map_or(0, |order| order.lines.sum) || self.captured_differs()
    }

    fn captured_differs(&self) -> bool {
        match self.owed().is_some_and(|order| order.waits) {
            // How much of it is due is between the inventory and the coordinator; never more than all.
            true => self.captured_minor > self.captured_owed(),
            false => self.captured_minor != self.captured_owed(),
        }
    }

    /// The order, if it stands: one that is refused, or is not decided yet, has neither sold nor captured anything, or has undone it.
    fn owed(&self) -> Option<&Ordered> {
        self.order.as_ref().filter(|order| order.stands)
    }

    /// What is to be captured. What an order that stands has paid back later was captured all the same.
    fn captured_owed(&self) -> i64 {
        self.owed().map_or(self.refunded_minor, |order| order.total_minor)
    }

    fn order_is(&self) -> String {
        match &self.order {
            Some(order) => format!("the order is {}", order.state),
            None => "there is no order".to_owned(),
        }
    }

    /// What was sold but not ordered, or ordered but not sold; for a transaction that was read in detail.
    pub fn sold_differences(&self, id: Uuid) -> Vec<Difference> {
        let nothing = Units::default();
        let ordered = self.owed().map_or(&nothing, |order| &order.lines);
        let skus: BTreeSet<&String> = ordered.by_sku.keys().chain(self.sold.by_sku.keys()).collect();
        let difference = |sku: &String| {
            let (wanted, _) = ordered.by_sku.get(sku).cloned().unwrap_or_default();
            let (sold, sequences) = self.sold.by_sku.get(sku).cloned().unwrap_or_default();
            let movements: Vec<String> = sequences.iter().map(i64::to_string).collect();
            let movements = match movements.is_empty() {
                true => "no movement".to_owned(),
                false => format!("movement {}", movements.join(", ")),
            };
            (wanted != sold).then(|| Difference {
                subject: sku.clone(),
                transaction_id: Some(id.to_string()),
                detail: format!("{sold} sold ({movements}) and {wanted} ordered: {}", self.order_is()),
            })
        };
        skus.into_iter().filter_map(difference).collect()
    }

    /// What was captured but is not owed, or owed but not captured.
    pub fn captured_difference(&self, id: Uuid) -> Option<Difference> {
        let captured = self.captured_minor;
        let refunded = match self.refunded_minor {
            0 => String::new(),
            refunded => format!(", {refunded} refunded"),
        };
        self.captured_differs().then(|| Difference {
            subject: id.to_string(),
            transaction_id: Some(id.to_string()),
            detail: format!(
                "{captured} minor units captured{refunded}, and {} to be captured: {}",
                self.owed().map_or(0, |order| order.total_minor),
                self.order_is()
            ),
        })
    }
}

/// Reads all transactions, or those of `wanted` in detail. Orders first: what began later is told apart when it is read again.
pub async fn all(services: &Services, wanted: Option<&BTreeSet<Uuid>>) -> Result<Trades, Failure> {
    let mut trades = Trades::new();
    orders(services, wanted, &mut trades).await?;
    sales(services, wanted, &mut trades).await?;
    payments(services, wanted, &mut trades).await?;
    Ok(trades)
}

fn is_wanted(wanted: Option<&BTreeSet<Uuid>>, id: Uuid) -> bool {
    wanted.is_none_or(|wanted| wanted.contains(&id))
}

fn id_of(text: &str) -> Result<Uuid, Failure> {
    Uuid::parse_str(text).map_err(|_| Failure::new(format!("a service answered {text:?} as a transaction id")))
}

async fn orders(services: &Services, wanted: Option<&BTreeSet<Uuid>>, trades: &mut Trades) -> Result<(), Failure> {
    let mut client = services.order_store().await?;
    let mut page_token = String::new();
    loop {
        let request = order::ReadOrdersRequest { page_size: ORDERS_PER_PAGE, page_token, ..Default::default() };
        let page = read(client.read_orders(services.request(request)).await, "the orders")?;
        for order in page.orders {
            let id = id_of(&order.order_id)?;
            if is_wanted(wanted, id) {
                trades.entry(id).or_default().order = Some(ordered(&order, wanted.is_some())?);
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

/// What an order says is to be sold and captured. Here belongs what orders of other kinds owe: not all of it at once.
fn ordered(order: &order::Order, in_detail: bool) -> Result<Ordered, Failure> {
    let mut lines = Units::default();
    for line in &order.lines {
        lines.add(&line.sku, line.quantity, None, in_detail);
    }
    let total = order.total.clone().unwrap_or_default();
    let total_minor = total
        .to_minor()
        .map_err(|error| Failure::new(format!("the order {} has no proper total: {error}", order.order_id)))?;
    Ok(Ordered {
        state: order.state().as_str_name().trim_start_matches("ORDER_STATE_").to_lowercase(),
        stands: !matches!(
            order.state(),
            order::OrderState::Unspecified | order::OrderState::Pending | order::OrderState::Refused
        ),
        total_minor,
        lines,
        waits: order.waits,
    })
}

async fn sales(services: &Services, wanted: Option<&BTreeSet<Uuid>>, trades: &mut Trades) -> Result<(), Failure> {
    let mut client = services.stock().await?;
    let mut page_token = String::new();
    loop {
        let request = services.request(stock::ListSalesRequest { page_size: PER_PAGE, page_token });
        let page = read(client.list_sales(request).await, "what was sold")?;
        for sale in page.sales {
            let id = id_of(&sale.transaction_id)?;
            if is_wanted(wanted, id) {
                let trade = trades.entry(id).or_default();
                trade.sold.add(&sale.sku, sale.quantity, Some(sale.sequence), wanted.is_some());
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

async fn payments(services: &Services, wanted: Option<&BTreeSet<Uuid>>, trades: &mut Trades) -> Result<(), Failure> {
    let mut client = services.accounts().await?;
    let mut page_token = String::new();
    loop {
        let request =
            services.request(payment::ListPaymentsRequest { account: String::new(), page_size: PER_PAGE, page_token });
        let page = read(client.list_payments(request).await, "the payments")?;
        for payment in page.payments {
            let id = id_of(&payment.payment_id)?;
            let minor = |money: &Option<proto::google::r#type::Money>| {
                let amount = money.clone().unwrap_or_default();
                amount
                    .to_minor()
                    .map_err(|error| Failure::new(format!("the payment {id} has no proper amount: {error}")))
            };
            if is_wanted(wanted, id) {
                let trade = trades.entry(id).or_default();
                (trade.captured_minor, trade.refunded_minor) = (minor(&payment.captured)?, minor(&payment.refunded)?);
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

/// Takes off what orders are owed still, or will never get because they were cancelled before: that is not sold yet.
pub async fn take_off_owed(services: &Services, trades: &mut Trades) -> Result<(), Failure> {
    let mut client = services.backorders().await?;
    for (id, trade) in trades {
        let Some(order) = trade.order.as_mut().filter(|order| order.stands) else { continue };
        let request = services.request(stock::GetBackorderRequest { order_id: id.to_string() });
        for backorder in read(client.get_backorder(request).await, "what an order is owed")?.backorders {
            order.waits = true;
            order.lines.add(&backorder.sku, -backorder.owed, None, true);
        }
    }
    Ok(())
}

/// The participants of a transaction, if its record is still there.
pub async fn participants(services: &Services, id: Uuid) -> Result<Option<Vec<String>>, Failure> {
    let request = services.request(transaction::GetTransactionRequest { transaction_id: id.to_string() });
    match services.transactions().await?.get_transaction(request).await {
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        answer => Ok(read(answer, "the record")?.transaction.map(|record| record.participants)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trade(lines: &[(&str, i64)], total_minor: i64, stands: bool) -> Trade {
        let mut units = Units::default();
        lines.iter().for_each(|(sku, quantity)| units.add(sku, *quantity, None, true));
        let order = Ordered { state: "confirmed".to_owned(), stands, total_minor, lines: units, waits: false };
        Trade { order: Some(order), ..Trade::default() }
    }

    #[test]
    fn what_was_sold_is_what_was_ordered_whatever_the_lines() {
        let mut one = trade(&[("a", 2), ("b", 1), ("a", 1)], 300, true);
        assert!(one.differs());
        one.sold.add("b", 1, Some(4), true);
        one.sold.add("a", 3, Some(7), true);
        one.captured_minor = 300;
        assert!(!one.differs());
        one.refunded_minor = 100;
        assert!(!one.differs(), "what is paid back later was captured");
        // So many, but not of that.
        one.sold.add("a", -1, Some(8), true);
        one.sold.add("b", 1, Some(5), true);
        assert!(one.differs());
        let told: Vec<String> = one.sold_differences(Uuid::nil()).into_iter().map(|one| one.detail).collect();
        assert_eq!(told.len(), 2);
        assert!(told[0].starts_with("2 sold (movement 7, 8) and 3 ordered"), "{told:?}");
        assert_eq!(one.captured_difference(Uuid::nil()), None);
    }

    #[test]
    fn what_was_refused_has_undone_all() {
        let mut one = trade(&[("a", 2)], 300, false);
        assert!(!one.differs());
        (one.captured_minor, one.refunded_minor) = (300, 300);
        one.sold.add("a", 2, Some(1), true);
        one.sold.add("a", -2, Some(2), true);
        assert!(!one.differs());
        one.refunded_minor = 200;
        assert!(one.captured_difference(Uuid::nil()).is_some() && one.sold_differences(Uuid::nil()).is_empty());
        assert!(one.differs());
        let mut lost = Trade { captured_minor: 5, ..Trade::default() };
        lost.sold.add("a", 1, Some(9), true);
        let told = lost.sold_differences(Uuid::nil()).remove(0);
        assert_eq!(told.detail, "1 sold (movement 9) and 0 ordered: there is no order");
        assert!(lost.captured_difference(Uuid::nil()).is_some());
    }
}
