//! One run of load on a system: stocked, placed, looked at.
use std::sync::Arc;
use std::time::Duration;

use bench::ask::PlaceOrder;
use bench::closed_loop::Ran;
use bench::open_loop::Phase;
use bench::orders::Orders;
use bench::report::{Load, Report, Setting};
use bench::shop::{Plan, Shop};
use bench::steadiness::Sample;
use bench::{Caller, closed_loop, open_loop, setup};
use rand::SeedableRng;
use rand::rngs::StdRng;
use uuid::Uuid;

use super::local::{self, Local};
use crate::client::Services;
use crate::failure::{Call, Failure};

/// More orders than this are never under way in an open loop.
pub const MAX_UNDER_WAY: usize = 20_000;
/// A session of Postgres reports what it wrote at the end of a local transaction, but not sooner than this after the last
/// time.
const STATISTICS_REST: Duration = Duration::from_millis(1_200);

/// A shop that is stocked, and the way to it.
pub struct Stocked {
    /// The shop.
    pub shop: Arc<Shop>,
    /// The connections to the coordinator.
    pub connections: Vec<Orders>,
}

impl Stocked {
    /// Stocks the shop of this plan, whose orders are placed at `services` and at `more` coordinators; `now` is told what is
    /// being done.
    pub async fn new(
        services: &Services,
        more: &[String],
        plan: &Plan,
        connections: usize,
        now: impl Fn(String),
    ) -> Result<Self, Failure> {
        let shop = Arc::new(Shop::new(plan).map_err(Failure::usage)?);
        let caller =
            Caller { client_id: services.client_id.clone(), timeout: Duration::from_millis(services.timeout_ms) };
        let mut clients = Vec::new();
        for number in 0..connections {
            // By turns to this coordinator and to the others.
            let coordinator = match number.checked_rem(more.len() + 1) {
                Some(place @ 1..) => &more[place - 1],
                _ => &services.coordinator,
            };
            clients.push(connect(coordinator, &caller).await?);
        }
        now(format!("stocking {} SKUs, opening {} accounts", shop.skus.len(), shop.accounts.len()));
        let ready = setup::run(services.stock().await?, services.accounts().await?, &caller, &shop).await;
        ready.map_err(|failed| Failure {
            message: failed.to_string(),
            ..Failure::of_status(&failed.status, Call::Write).hint("repeat the same command")
        })?;
        Ok(Stocked { shop, connections: clients })
    }

    /// Waits until the databases have told what they wrote. One more order makes their sessions tell it.
    pub async fn settle_statistics(&self) {
        tokio::time::sleep(STATISTICS_REST).await;
        if let Some(orders) = self.connections.first() {
            let order = self.shop.order(&mut StdRng::seed_from_u64(0), Uuid::now_v7().to_string());
            // Whatever its answer: it is not counted.
            orders.place(&order).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// One more connection to a coordinator.
pub async fn connect(coordinator: &str, caller: &Caller) -> Result<Orders, Failure> {
    Orders::connect(coordinator, caller).await.map_err(|_| {
        Failure::new(format!("no coordinator answers at {coordinator}"))
            .hint("start one with `assent dev`, or set ASSENT_COORDINATOR to its address")
    })
}

/// Runs load on the system at `services`; `local` if it can be looked into.
pub async fn run(
    services: &Services,
    local: Option<&Local>,
    plan: &Plan,
    setting: &Setting,
    now: impl Fn(String),
) -> Result<Report, Failure> {
    run_at(services, &[], local, plan, setting, now).await
}

/// The same, by turns at its coordinator and at `more`.
pub async fn run_at(
    services: &Services,
    more: &[String],
    local: Option<&Local>,
    plan: &Plan,
    setting: &Setting,
    now: impl Fn(String),
) -> Result<Report, Failure> {
    let stocked = Stocked::new(services, more, plan, setting.connections, &now).await?;
    now(format!("placing orders for {} s", (setting.warm_up + setting.measured).as_secs()));
    let (report, _) = run_stocked(&stocked, local, plan, setting, setting.measured).await?;
    Ok(report)
}

/// The same, where it is stocked already; in a closed loop with a sample `every` so often.
pub async fn run_stocked(
    stocked: &Stocked,
    local: Option<&Local>,
    plan: &Plan,
    setting: &Setting,
    every: Duration,
) -> Result<(Report, Vec<Sample>), Failure> {
    let before = match local {
        Some(local) => Some((local, local.looks().await?)),
        None => None,
    };
    let (Ran { seen, usage, samples }, answered) = placed(stocked, local, setting, every).await;
    let mut report = Report::new(plan, setting, &seen, &usage);
    if let Some((local, before)) = before {
        stocked.settle_statistics().await;
        report.written = local.written_since(&before, answered).await?;
    }
    Ok((report, samples))
}

/// What was seen in the measured time, and how many orders were answered in all.
async fn placed(stocked: &Stocked, local: Option<&Local>, setting: &Setting, every: Duration) -> (Ran, u64) {
    let Stocked { shop, connections } = stocked;
    let watch = local::watch(local);
    let Setting { warm_up, measured, .. } = *setting;
    match setting.load {
        Load::Closed { clients } => {
            let settings = closed_loop::Settings { clients, warm_up, measured };
            let asks = PlaceOrder::over(connections, shop);
            let ran = closed_loop::sampled(&asks, settings, &watch, every).await;
            let answered = ran.seen.answered_in_all;
            (ran, answered)
        }
        Load::Open { orders_per_second, arrivals } => {
            let phases = [warm_up, measured].map(|lasts| Phase { orders_per_second, lasts });
            let settings = open_loop::Settings { arrivals, phases: phases.to_vec(), max_under_way: MAX_UNDER_WAY };
            let mut phases = open_loop::run(connections, shop, &settings, &watch).await;
            let answered = phases.iter().map(|(seen, _)| seen.answered_in_all).sum();
            let (seen, usage) = phases.pop().unwrap_or_default();
            (Ran { seen, usage, samples: Vec::new() }, answered)
        }
    }
}
