//! What is bought by whom: the names of a run, and the draw of an order.
use std::fmt;
use std::str::FromStr;

use proto::assent::order::v1::{OrderLine, PlaceOrderRequest};
use proto::google::r#type::Money;
use rand::Rng;
use rand::seq::index;
use serde::Serialize;

/// The run's currency.
pub const CURRENCY: &str = "GBP";
/// What one article costs, in pence.
const PRICE_MINOR: i64 = 100;
/// Names end in a number of this many digits at most, and must fit 64 characters.
const MAX_RUN_LENGTH: usize = 48;

/// Which articles are bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// Every article as often as any other.
    Uniform,
    /// The first article in every order, and the others beside it.
    Hot,
}

/// The name is not one of a workload's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no workload {0:?}")]
pub struct NoSuchWorkload(String);

impl Workload {
    /// The names of all workloads.
    pub const NAMES: [&str; 2] = ["uniform", "hot"];
}

impl FromStr for Workload {
    type Err = NoSuchWorkload;

    fn from_str(name: &str) -> Result<Self, NoSuchWorkload> {
        match name {
            "uniform" => Ok(Workload::Uniform),
            "hot" => Ok(Workload::Hot),
            other => Err(NoSuchWorkload(other.to_owned())),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Workload::Uniform => "uniform",
            Workload::Hot => "hot",
        })
    }
}

/// What makes a shop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The run's name, which the names of its accounts and articles begin with.
    pub run: String,
    /// Which articles are bought.
    pub workload: Workload,
    /// How many articles there are.
    pub skus: usize,
    /// How many accounts pay, by turns at random.
    pub accounts: usize,
    /// How many lines an order has, each of another article.
    pub lines: usize,
}

/// Why there can be no such shop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoShop {
    /// The services would not take the names.
    #[error("a run's name is 1 to 48 letters, digits and \"-_.\"")]
    Name,
    /// Nothing to buy, or nobody to pay.
    #[error("there must be at least one SKU, one account and one line")]
    Empty,
    /// An order's lines are of different articles.
    #[error("{lines} lines of different SKUs need more than {skus} SKUs")]
    TooFewSkus {
        /// Lines asked for.
        lines: usize,
        /// Articles there are.
        skus: usize,
    },
}

/// The articles and the accounts of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shop {
    workload: Workload,
    lines: usize,
    /// The articles' names.
    pub skus: Vec<String>,
    /// The accounts' names.
    pub accounts: Vec<String>,
}

impl Shop {
    /// The shop of this plan: always the same names.
    pub fn new(plan: &Plan) -> Result<Self, NoShop> {
        let Plan { run, workload, skus, accounts, lines } = plan;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=MAX_RUN_LENGTH).contains(&run.len()) || !run.bytes().all(allowed) {
            return Err(NoShop::Name);
        }
        if [skus, accounts, lines].contains(&&0) {
            return Err(NoShop::Empty);
        }
        if lines > skus {
            return Err(NoShop::TooFewSkus { lines: *lines, skus: *skus });
        }
        let numbered = |letter, count: usize| (0..count).map(|number| format!("{run}-{letter}{number:05}")).collect();
        Ok(Shop { workload: *workload, lines: *lines, skus: numbered('s', *skus), accounts: numbered('a', *accounts) })
    }

    /// Draws an order.
    pub fn order(&self, rng: &mut impl Rng, request_id: String) -> PlaceOrderRequest {
        let account = rng.random_range(0..self.accounts.len());
        let line = |place: usize| OrderLine {
            sku: self.skus[place].clone(),
            quantity: 1,
            unit_price: Some(Money::from_minor(CURRENCY, PRICE_MINOR)),
        };
        let lines = match self.workload {
            Workload::Uniform => index::sample(rng, self.skus.len(), self.lines).into_iter().map(line).collect(),
            Workload::Hot => {
                let beside = index::sample(rng, self.skus.len() - 1, self.lines - 1);
                std::iter::once(0).chain(beside.into_iter().map(|place| place + 1)).map(line).collect()
            }
        };
        PlaceOrderRequest {
            request_id,
            account: self.accounts[account].clone(),
            lines,
            timeout_ms: 0,
            reservation_ids: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn plan(workload: Workload, skus: usize, lines: usize) -> Plan {
        Plan { run: "r".to_owned(), workload, skus, accounts: 3, lines }
    }

    #[test]
    fn uniform_orders_reach_every_article_and_every_account() {
        let shop = Shop::new(&plan(Workload::Uniform, 10, 4)).unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let (mut skus, mut accounts) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..100 {
            let order = shop.order(&mut rng, "id".to_owned());
            let own: BTreeSet<String> = order.lines.into_iter().map(|line| line.sku).collect();
            assert_eq!(own.len(), 4, "each line is of another article");
            skus.extend(own);
            accounts.insert(order.account);
        }
        assert_eq!(skus, shop.skus.iter().cloned().collect());
        assert_eq!(accounts, shop.accounts.iter().cloned().collect());
    }

    #[test]
    fn every_hot_order_has_the_first_article() {
        let mut rng = StdRng::seed_from_u64(1);
        for lines in [1, 3, 10] {
            let shop = Shop::new(&plan(Workload::Hot, 10, lines)).unwrap();
            for _ in 0..20 {
                let order = shop.order(&mut rng, "id".to_owned());
                assert_eq!(order.lines[0].sku, "r-s00000");
                let own: BTreeSet<String> = order.lines.into_iter().map(|line| line.sku).collect();
                assert_eq!(own.len(), lines);
            }
        }
    }

    #[test]
    fn what_is_no_shop_is_said_so() {
        let uniform = plan(Workload::Uniform, 10, 1);
        let long = "r".repeat(49);
        for run in ["", "a b", "a/b", "é", long.as_str()] {
            assert_eq!(Shop::new(&Plan { run: run.to_owned(), ..uniform.clone() }), Err(NoShop::Name), "{run:?}");
        }
        assert_eq!(Shop::new(&Plan { accounts: 0, ..uniform.clone() }), Err(NoShop::Empty));
        assert_eq!(Shop::new(&Plan { lines: 11, ..uniform }), Err(NoShop::TooFewSkus { lines: 11, skus: 10 }));
    }

    #[test]
    fn a_workload_is_known_by_its_name() {
        for name in Workload::NAMES {
            assert_eq!(name.parse::<Workload>().unwrap().to_string(), name);
        }
        assert_eq!("cold".parse::<Workload>().unwrap_err().to_string(), "there is no workload \"cold\"");
    }
}
