//! What is compared.
use std::sync::Arc;
use std::time::Duration;

use bench::baskets::Baskets;
use bench::shop::{Plan, Workload};
use serde::Serialize;

use crate::mode::Mode;

/// What is bought: a workload, with or without refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Goods {
    /// Its name.
    pub name: &'static str,
    /// The workload.
    #[serde(skip)]
    pub workload: Workload,
    /// Of 100 orders, how many are to be refused.
    #[serde(skip)]
    pub refused_percent: u8,
    /// How orders are placed.
    #[serde(skip)]
    pub mode: Mode,
}

const fn goods(name: &'static str, workload: Workload, refused_percent: u8) -> Goods {
    Goods { name, workload, refused_percent, mode: Mode::Atomic }
}

/// One line of 1,000 SKUs.
pub const UNIFORM: Goods = goods("uniform", Workload::Uniform, 0);
/// One line of one SKU.
pub const HOT: Goods = goods("hot", Workload::Hot, 0);
/// One line, by Zipf's law.
pub const ZIPF: Goods = goods("zipf", Workload::Zipf, 0);
/// Orders of a real day.
pub const BASKETS: Goods = goods("baskets", Workload::Baskets, 0);
/// One line of 1,000 SKUs, and 10 % are to be refused.
pub const MIX: Goods = goods("mix", Workload::Uniform, 10);
/// One line of 1,000 SKUs, placed as sagas.
pub const SAGA: Goods = Goods { name: "saga", mode: Mode::Saga, ..UNIFORM };
/// Orders of a real day, placed as sagas.
pub const SAGA_BASKETS: Goods = Goods { name: "saga baskets", mode: Mode::Saga, ..BASKETS };

/// Clients of most figures.
pub const MANY_CLIENTS: usize = 256;

/// Clients of one SKU, besides: the baselines have the number that suits them best, so Assent has some to choose from.
const HOT_CLIENTS: [usize; 2] = [512, 1024];

/// How long, how often and what is measured.
#[derive(Debug, Clone)]
pub struct Plans {
    /// How often all of it is measured, in turn.
    pub repetitions: usize,
    /// How long orders are placed before any is counted.
    pub warm_up: Duration,
    /// How long orders are counted.
    pub measured: Duration,
    /// The baselines' numbers of clients, of which the best is taken.
    pub client_counts: Vec<usize>,
    /// How long each of these numbers is tried.
    pub probed: Duration,
    /// Assent's closed loops: what is bought, from how many clients.
    pub closed: Vec<(Goods, usize)>,
    /// What the baselines sell.
    pub baselines: Vec<Goods>,
    /// Whether each of Assent's measurements has a system of its own.
    pub fresh_each: bool,
    /// The real orders; none if no file was named.
    pub baskets: Arc<Baskets>,
}

impl Plans {
    /// Under three minutes: enough to see whether something is wrong, too little to compare by.
    pub fn quick(baskets: Arc<Baskets>) -> Self {
        Plans {
            repetitions: 1,
            warm_up: Duration::from_secs(1),
            measured: Duration::from_secs(3),
            client_counts: vec![4, 8, 32],
            probed: Duration::from_secs(1),
            closed: vec![
                (UNIFORM, 1),
                (UNIFORM, MANY_CLIENTS),
                (HOT, MANY_CLIENTS),
                (HOT, HOT_CLIENTS[0]),
                (BASKETS, MANY_CLIENTS),
                (MIX, MANY_CLIENTS),
            ],
            baselines: vec![UNIFORM, HOT, BASKETS],
            fresh_each: false,
            baskets,
        }
        .without_what_is_not_there()
    }

    /// Everything, several times in turn.
    pub fn full(baskets: Arc<Baskets>) -> Self {
        let closed = [UNIFORM, HOT, ZIPF, BASKETS, MIX, SAGA, SAGA_BASKETS].map(|goods| (goods, MANY_CLIENTS));
        let uniform = [1, 64, 1024].map(|clients| (UNIFORM, clients));
        let hot = HOT_CLIENTS.map(|clients| (HOT, clients));
        Plans {
            repetitions: 3,
            warm_up: Duration::from_secs(2),
            measured: Duration::from_secs(8),
            client_counts: vec![2, 4, 8, 16, 32, 64],
            probed: Duration::from_secs(3),
            closed: uniform.into_iter().chain(closed).chain(hot).collect(),
            baselines: vec![UNIFORM, HOT, ZIPF, BASKETS, MIX],
            fresh_each: true,
            baskets,
        }
        .without_what_is_not_there()
    }

    fn without_what_is_not_there(mut self) -> Self {
        if self.baskets.orders.is_empty() {
            self.closed.retain(|(goods, _)| goods.workload != Workload::Baskets);
            self.baselines.retain(|goods| *goods != BASKETS);
        }
        self
    }

    /// The shop that sells `goods`, in the run of this name.
    pub fn shop(&self, goods: Goods, run: String) -> Plan {
        Plan {
            run,
            workload: goods.workload,
            skus: 1_000,
            accounts: 256,
            lines: 1,
            refused_percent: goods.refused_percent,
            baskets: self.baskets.clone(),
            mode: goods.mode.into(),
        }
    }
}
