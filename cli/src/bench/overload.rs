//! `assent bench overload`: what becomes of a system when more is asked of it than it can do, and afterwards.
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bench::latency::Summary;
use bench::memory::resident_bytes;
use bench::open_loop::{self, Arrivals, Phase};
use bench::report::{Load, Report, Setting};
use bench::shop::Plan;
use serde::Serialize;

use super::bought::Bought;
use super::load::{self, MAX_UNDER_WAY, Stocked};
use super::local::{self, Local};
use super::orders::made_up_name;
use super::{ms, spinner};
use crate::client::Services;
use crate::failure::Failure;
use crate::mode::Mode;
use crate::output::{Output, table, thousands};

/// Find out the most that a system can do, ask for half as much again, and see how it recovers
#[derive(Debug, clap::Args)]
pub struct OverloadVerb {
    /// From how many clients the most is found out
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// Over how many HTTP/2 connections
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    connections: u16,
    /// How long each part lasts
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    #[command(flatten)]
    bought: Bought,
    /// How orders are placed
    #[arg(long, default_value = "atomic")]
    mode: Mode,
    /// The data-dir of the `assent dev` that runs the system, to tell how much memory its services have
    #[arg(long, env = "ASSENT_DATA_DIR", value_name = "DIR", default_value = ".assent")]
    data_dir: PathBuf,
}

impl OverloadVerb {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let local = Local::find(&self.data_dir, &services.coordinator).await.ok();
        let setting = Setting {
            load: Load::Closed { clients: usize::from(self.clients) },
            connections: usize::from(self.connections),
            warm_up: Duration::from_secs(1),
            measured: Duration::from_secs(self.seconds),
        };
        let doing = spinner();
        let plan = self.bought.plan(made_up_name(), self.mode)?;
        let closed = load::run(services, local.as_ref(), &plan, &setting, |what| doing.set_message(what)).await?;
        doing.set_message("asking for more than it can do");
        let most = closed.confirmed_per_second;
        let plan = self.bought.plan(made_up_name(), self.mode)?;
        let ran = run(services, local.as_ref(), &plan, setting.connections, most, setting.measured).await;
        doing.finish_and_clear();
        output.print(&ran?, page)
    }
}

fn page(overload: &Overload) -> String {
    let Overload { max_orders_per_second, before, meanwhile, just_after, after } = overload;
    let parts = [("70 %", before), ("150 %", meanwhile), ("70 %, the first second", just_after), ("70 %, then", after)];
    let row = |(name, During { report, services_bytes, .. }): (&str, &During)| {
        let whole = |figure: f64| thousands(figure.round() as u64);
        let turned_away = report.orders.overloaded.values().sum::<u64>() as f64 / report.measured_seconds;
        let other = [&report.orders.aborted, &report.orders.unknown, &report.orders.failed];
        let other: u64 = other.into_iter().flat_map(|reasons| reasons.values()).sum();
        let latency = |summary: Option<Summary>, figure: fn(Summary) -> u64| {
            summary.map_or("-".to_owned(), |summary| ms(figure(summary)))
        };
        vec![
            name.to_owned(),
            whole(report.confirmed_per_second),
            latency(report.confirmed_latency, |it| it.p50_us),
            latency(report.confirmed_latency, |it| it.p99_us),
            whole(turned_away),
            latency(report.overloaded_latency, |it| it.p50_us),
            latency(report.overloaded_latency, |it| it.p99_us),
            thousands(other),
            services_bytes.map_or("?".to_owned(), |bytes| thousands(bytes >> 20)),
            latency(report.sent_late, |it| it.p99_us),
        ]
    };
    let headers = [
        "asked for",
        "confirmed/s",
        "p50 ms",
        "p99 ms",
        "turned away/s",
        "p50 ms",
        "p99 ms",
        "otherwise",
        "services MiB",
        "sent late p99 ms",
    ];
    let rows = parts.into_iter().map(row).collect();
    let most = thousands(max_orders_per_second.round() as u64);
    format!("the most: {most} orders/s\n\n{}", table(&headers, &[1, 2, 3, 4, 5, 6, 7, 8, 9], rows))
}

/// Of the most that was reached in a closed loop, what is asked for before and afterwards.
pub const USUAL: f64 = 0.7;
/// And what is asked for meanwhile.
pub const TOO_MUCH: f64 = 1.5;
/// How long it may take until all is as before.
const JUST_AFTER: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What was seen.
#[derive(Debug, Clone, Serialize)]
pub struct Overload {
    /// The most that was reached in a closed loop.
    pub max_orders_per_second: f64,
    /// At the usual rate.
    pub before: During,
    /// While too much was asked for.
    pub meanwhile: During,
    /// In the first second at the usual rate.
    pub just_after: During,
    /// Then.
    pub after: During,
}

/// What was seen in one part.
#[derive(Debug, Clone, Serialize)]
pub struct During {
    /// The orders.
    #[serde(flatten)]
    pub report: Report,
    /// Bytes in memory of the services together, at most.
    pub services_bytes: Option<u64>,
    /// How many times as many they were in its second half as in its first, at most: 1 where memory does not grow.
    pub services_growth: Option<f64>,
}

/// Asks for too much.
pub async fn run(
    services: &Services,
    local: Option<&Local>,
    plan: &Plan,
    connections: usize,
    max_orders_per_second: f64,
    lasts: Duration,
) -> Result<Overload, Failure> {
    let stocked = Stocked::new(services, &[], plan, connections, |_| {}).await?;
    let parts = [(USUAL, JUST_AFTER * 2), (USUAL, lasts), (TOO_MUCH, lasts), (USUAL, JUST_AFTER), (USUAL, lasts)];
    let phases: Vec<Phase> = parts
        .iter()
        .map(|(share, lasts)| Phase { orders_per_second: share * max_orders_per_second, lasts: *lasts })
        .collect();
    let settings =
        open_loop::Settings { arrivals: Arrivals::Poisson, phases: phases.clone(), max_under_way: MAX_UNDER_WAY };
    let looks = Looks::start(local);
    let begun = Instant::now();
    let watch = local::watch(local);
    let Stocked { shop, connections: clients } = &stocked;
    let seen = open_loop::run(clients, shop, &settings, &watch).await;
    let looks = looks.stop();

    let mut from = begun;
    let mut during = Vec::new();
    for (Phase { orders_per_second, lasts }, (seen, usage)) in phases.into_iter().zip(seen) {
        let setting = Setting {
            load: Load::Open { orders_per_second, arrivals: Arrivals::Poisson },
            connections,
            warm_up: Duration::ZERO,
            measured: lasts,
        };
        let window = from..from + lasts;
        from = window.end;
        let most =
            |window: Range<Instant>| looks.iter().filter(|(at, _)| window.contains(at)).map(|(_, bytes)| *bytes).max();
        let half = window.start + lasts / 2;
        let services_growth =
            most(half..window.end).zip(most(window.start..half)).map(|(later, earlier)| later as f64 / earlier as f64);
        let services_bytes = most(window);
        during.push(During { report: Report::new(plan, &setting, &seen, &usage), services_bytes, services_growth });
    }
    let mut during = during.into_iter().skip(1);
    let mut next = || during.next().ok_or_else(|| Failure::new("a part of the overload was not measured"));
    Ok(Overload { max_orders_per_second, before: next()?, meanwhile: next()?, just_after: next()?, after: next()? })
}

/// Looks at the services' memory, now and then.
struct Looks {
    task: tokio::task::JoinHandle<()>,
    looks: Arc<Mutex<Vec<(Instant, u64)>>>,
}

impl Looks {
    fn start(local: Option<&Local>) -> Self {
        let groups = local.map(|local| local.groups.as_slice()).unwrap_or_default();
        let pids: Vec<u32> = groups.iter().filter(|group| !group.with_children).map(|group| group.pid).collect();
        let looks = Arc::new(Mutex::new(Vec::new()));
        let own = looks.clone();
        let task = tokio::spawn(async move {
            loop {
                let bytes: Option<Vec<u64>> = pids.iter().map(|pid| resident_bytes(*pid)).collect();
                if let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) {
                    let look = (Instant::now(), bytes.iter().sum());
                    own.lock().unwrap_or_else(PoisonError::into_inner).push(look);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Looks { task, looks }
    }

    fn stop(self) -> Vec<(Instant, u64)> {
        self.task.abort();
        std::mem::take(&mut *self.looks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
