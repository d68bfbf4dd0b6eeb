//! What is bought by whom: the names of a run, and the draw of an order.
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use proto::assent::order::v1::{OrderLine, OrderMode, PlaceOrderRequest};
use proto::google::r#type::Money;
use rand::Rng;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::seq::index;
use serde::Serialize;

use crate::baskets::{Baskets, Line};

/// The run's currency.
pub const CURRENCY: &str = "GBP";
/// What one article costs, in pence.
pub const PRICE_MINOR: i64 = 100;
/// How many articles there are of which nothing is left, where orders are to be refused.
pub const SOLD_OUT: usize = 10;
/// The exponent of Zipf's law: the smallest that pgbench draws by, too.
pub const ZIPF_EXPONENT: f64 = 1.001;
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
    /// The first article most often, the second half as often, the third a third as often, and so on.
    Zipf,
    /// The orders of a real shop, each as often as any other.
    Baskets,
}

/// The name is not one of a workload's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no workload {0:?}")]
pub struct NoSuchWorkload(String);

impl Workload {
    /// The names of all workloads.
    pub const NAMES: [&str; 4] = ["uniform", "hot", "zipf", "baskets"];
}

impl FromStr for Workload {
    type Err = NoSuchWorkload;

    fn from_str(name: &str) -> Result<Self, NoSuchWorkload> {
        match name {
            "uniform" => Ok(Workload::Uniform),
            "hot" => Ok(Workload::Hot),
            "zipf" => Ok(Workload::Zipf),
            "baskets" => Ok(Workload::Baskets),
            other => Err(NoSuchWorkload(other.to_owned())),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Workload::Uniform => "uniform",
            Workload::Hot => "hot",
            Workload::Zipf => "zipf",
            Workload::Baskets => "baskets",
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
    /// How many articles there are; baskets bring their own.
    pub skus: usize,
    /// How many accounts pay, by turns at random.
    pub accounts: usize,
    /// How many lines an order has, each of another article; baskets bring their own.
    pub lines: usize,
    /// Of 100 orders, how many ask for an article of which nothing is left.
    pub refused_percent: u8,
    /// The orders of the workload of that name; empty for others.
    pub baskets: Arc<Baskets>,
    /// How orders are placed.
    pub mode: OrderMode,
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
    /// Zipf's law is drawn one article at a time.
    #[error("orders by Zipf's law have one line")]
    ZipfOfManyLines,
    /// No file of orders, or none with an order in it.
    #[error("the workload \"baskets\" needs a file of orders")]
    NoBaskets,
}

/// The articles and the accounts of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Shop {
    workload: Workload,
    lines: usize,
    refused_percent: u8,
    mode: OrderMode,
    zipf: Option<WeightedIndex<f64>>,
    baskets: Arc<Baskets>,
    /// The articles' names.
    pub skus: Vec<String>,
    /// The names of articles of which nothing is left.
    pub sold_out: Vec<String>,
    /// The accounts' names.
    pub accounts: Vec<String>,
}

impl Shop {
    /// The shop of this plan: always the same names.
    pub fn new(plan: &Plan) -> Result<Self, NoShop> {
        let Plan { run, workload, accounts, lines, refused_percent, baskets, .. } = plan;
        let skus = plan.sku_count();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=MAX_RUN_LENGTH).contains(&run.len()) || !run.bytes().all(allowed) {
            return Err(NoShop::Name);
        }
        if *workload == Workload::Baskets && baskets.orders.is_empty() {
            return Err(NoShop::NoBaskets);
        }
        if [skus, *accounts, *lines].contains(&0) {
            return Err(NoShop::Empty);
        }
        if *lines > skus {
            return Err(NoShop::TooFewSkus { lines: *lines, skus });
        }
        let zipf = match workload {
            Workload::Zipf if *lines > 1 => return Err(NoShop::ZipfOfManyLines),
            // Weights that are positive and finite are accepted.
            Workload::Zipf => WeightedIndex::new((1..=skus).map(|rank| (rank as f64).powf(-ZIPF_EXPONENT))).ok(),
            _ => None,
        };
        let numbered = |letter, from: usize, count: usize| {
            (from..from + count).map(|number| format!("{run}-{letter}{number:05}")).collect::<Vec<_>>()
        };
        Ok(Shop {
            workload: *workload,
            lines: *lines,
            refused_percent: *refused_percent,
            mode: plan.mode,
            zipf,
            baskets: baskets.clone(),
            skus: numbered('s', 0, skus),
            sold_out: if *refused_percent > 0 { numbered('s', skus, SOLD_OUT) } else { Vec::new() },
            accounts: numbered('a', 0, *accounts),
        })
    }

    /// Draws an order.
    pub fn order(&self, rng: &mut impl Rng, request_id: String) -> PlaceOrderRequest {
        let account = rng.random_range(0..self.accounts.len());
        let mut lines: Vec<OrderLine> = match self.workload {
            Workload::Uniform => self.one_of_each(index::sample(rng, self.skus.len(), self.lines).into_iter()),
            Workload::Hot => {
                let beside = index::sample(rng, self.skus.len() - 1, self.lines - 1);
                self.one_of_each(std::iter::once(0).chain(beside.into_iter().map(|place| place + 1)))
            }
            Workload::Zipf => self.one_of_each(self.zipf.iter().map(|zipf| zipf.sample(rng))),
            Workload::Baskets => {
                let basket = &self.baskets.orders[rng.random_range(0..self.baskets.orders.len())];
                basket.iter().map(|line| self.line(*line)).collect()
            }
        };
        if rng.random_range(0..100) < self.refused_percent
            && let Some(last) = lines.last_mut()
        {
            last.sku.clone_from(&self.sold_out[rng.random_range(0..self.sold_out.len())]);
        }
        let (account, mode) = (self.accounts[account].clone(), self.mode.into());
        PlaceOrderRequest { request_id, account, lines, timeout_ms: 0, mode, ..PlaceOrderRequest::default() }
    }

    fn one_of_each(&self, skus: impl Iterator<Item = usize>) -> Vec<OrderLine> {
        skus.map(|sku| self.line(Line { sku, quantity: 1, unit_price_minor: PRICE_MINOR })).collect()
    }

    fn line(&self, Line { sku, quantity, unit_price_minor }: Line) -> OrderLine {
        let unit_price = Some(Money::from_minor(CURRENCY, unit_price_minor));
        OrderLine { sku: self.skus[sku].clone(), quantity, unit_price, ..OrderLine::default() }
    }
}

impl Plan {
    /// Ten articles, two accounts.
    #[cfg(test)]
    pub(crate) fn of_test(workload: Workload) -> Self {
        Plan {
            run: "r".to_owned(),
            workload,
            skus: 10,
            accounts: 2,
            lines: 1,
            refused_percent: 0,
            baskets: Arc::default(),
            mode: OrderMode::Atomic,
        }
    }

    /// How many articles there are.
    pub fn sku_count(&self) -> usize {
        match self.workload {
            Workload::Baskets => self.baskets.sku_count,
            _ => self.skus,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn plan(workload: Workload, skus: usize, lines: usize) -> Plan {
        Plan { skus, accounts: 3, lines, ..Plan::of_test(workload) }
    }

    #[test]
    fn by_zipfs_law_the_first_article_is_bought_twice_as_often_as_the_second() {
        let shop = Shop::new(&plan(Workload::Zipf, 100, 1)).unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let mut counts: BTreeMap<String, f64> = BTreeMap::new();
        for _ in 0..20_000 {
            *counts.entry(shop.order(&mut rng, "id".to_owned()).lines[0].sku.clone()).or_default() += 1.0;
        }
        let of = |number: usize| counts[&shop.skus[number]];
        assert!((1.8..2.2).contains(&(of(0) / of(1))), "{counts:?}");
        assert!((8.0..12.5).contains(&(of(0) / of(9))), "{counts:?}");
    }

    #[test]
    fn so_many_of_a_hundred_orders_ask_for_what_is_sold_out() {
        let baskets = Baskets::new([vec![("A".to_owned(), 2, 150), ("B".to_owned(), 1, 99)]]);
        let plan = Plan { refused_percent: 10, baskets: Arc::new(baskets), ..plan(Workload::Baskets, 9, 1) };
        let shop = Shop::new(&plan).unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let mut refused = 0;
        for _ in 0..2_000 {
            let order = shop.order(&mut rng, "id".to_owned());
            assert_eq!((order.lines.len(), order.lines[0].sku.as_str(), order.lines[0].quantity), (2, "r-s00000", 2));
            match order.lines[1].sku.as_str() {
                "r-s00001" => {}
                other => {
                    assert!(shop.sold_out.iter().any(|sold_out| sold_out == other), "{other}");
                    refused += 1;
                }
            }
        }
        assert!((140..260).contains(&refused), "{refused} of 2,000");
        assert_eq!(Shop::new(&Plan { baskets: Arc::default(), ..plan }), Err(NoShop::NoBaskets));
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
        let two_by_zipf = Plan { workload: Workload::Zipf, lines: 2, ..uniform.clone() };
        assert_eq!(Shop::new(&two_by_zipf), Err(NoShop::ZipfOfManyLines));
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
