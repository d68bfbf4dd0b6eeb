//! `assent bench compare`: Assent and one database alone, in turn, on this machine, on fresh data; and what is wanted of
//! the figures.
mod cases;
mod figures;
mod page;
mod targets;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::baseline::{self, Measurement, Variant};
use bench::latency::Latencies;
use bench::report::{Load, Report, Setting};
use indicatif::ProgressBar;
use proto::assent::order::v1::GetOrderRequest;
use tonic::Code;

use super::bought::baskets;
use super::cluster::Running;
use super::local::Local;
use super::orders::made_up_name;
use super::overload::{self, Overload};
use super::system::System;
use super::{load, spinner};
use crate::client::Services;
use crate::failure::Failure;
use crate::output::Output;
use cases::{Goods, MANY_CLIENTS, Plans, UNIFORM};
use figures::{Comparison, DatabaseSettings, Repetition, Sold};

/// Connections to the coordinator.
const CONNECTIONS: usize = 2;
const ROUND_TRIPS: u32 = 300;
/// So much of the WAL that each server has at hand at first: more than it writes until it is stopped, or frees some itself.
const WAL_SEGMENTS: usize = 32;

/// Compare Assent with one Postgres alone, in turn, on fresh data, and hold it against what is wanted
#[derive(Debug, clap::Args)]
pub struct Compare {
    /// Under three minutes: enough to see that something is wrong, too little to compare by
    #[arg(long)]
    quick: bool,
    /// A file of real orders in the Online Retail format; more than one may be named
    #[arg(long, value_name = "FILE")]
    baskets: Vec<PathBuf>,
    /// How often everything is measured
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    repetitions: Option<u8>,
    /// How long orders are counted, each time
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u16).range(1..=3_600))]
    seconds: Option<u16>,
    /// A file for all figures, as JSON
    #[arg(long, value_name = "FILE", default_value = "target/bench/compare.json")]
    report: PathBuf,
    /// Where the databases are made, anew each time
    #[arg(long, value_name = "DIR", default_value = ".assent-bench")]
    data_dir: PathBuf,
    /// First port: as for `assent dev`; the baseline's database takes the twentieth after it
    #[arg(long, value_name = "PORT", default_value_t = 7470, value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    port_base: u16,
}

impl Compare {
    /// Runs the verb. Must be called on the thread that lives as long as the process.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let baskets = Arc::new(baskets(&self.baskets)?);
        let mut plans = if self.quick { Plans::quick(baskets) } else { Plans::full(baskets) };
        plans.repetitions = self.repetitions.map_or(plans.repetitions, usize::from);
        plans.measured = self.seconds.map_or(plans.measured, |seconds| Duration::from_secs(seconds.into()));
        if cfg!(debug_assertions) {
            eprintln!("these programs were not built for release: the figures say nothing");
        }
        let doing = spinner();
        let run = Run { options: &self, plans, services, doing: &doing };
        let compared = run.all().await;
        doing.finish_and_clear();
        let comparison = compared?;
        write(&self.report, &comparison)?;
        output.print(&comparison, page::page)?;
        eprintln!("all figures are in {}", self.report.display());
        Ok(())
    }
}

struct Run<'a> {
    options: &'a Compare,
    plans: Plans,
    services: &'a Services,
    doing: &'a ProgressBar,
}

/// A number of clients for each baseline.
type Best = Vec<(Goods, Variant, usize)>;

impl Run<'_> {
    async fn all(&self) -> Result<Comparison, Failure> {
        let (probes, baseline_settings) = self.probe().await?;
        let best = best(&probes);
        let mut settings = vec![baseline_settings];
        let mut repetitions = Vec::new();
        for number in 1..=self.plans.repetitions {
            let mut repetition = Repetition::default();
            self.assent(number, &mut repetition, &mut settings).await?;
            self.baselines(number, &best, &mut repetition).await?;
            repetitions.push(repetition);
        }
        let targets = targets::check(&repetitions);
        Ok(Comparison {
            built_for_release: !cfg!(debug_assertions),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            settings,
            probes,
            repetitions,
            targets,
        })
    }

    /// Tries each number of clients.
    async fn probe(&self) -> Result<(Vec<Sold<Measurement>>, DatabaseSettings), Failure> {
        let cluster = self.cluster().await?;
        let probed = async {
            let mut probes = Vec::new();
            for goods in &self.plans.baselines {
                for variant in Variant::ALL {
                    for clients in &self.plans.client_counts {
                        self.tell(format!("{}, {} from {clients} clients", goods.name, variant.name()));
                        let measured = self.baseline(&cluster, *goods, variant, *clients, self.plans.probed).await?;
                        probes.push(Sold { goods: *goods, clients: *clients, measured });
                    }
                }
            }
            Ok((probes, settings_of(&cluster.server).await?))
        };
        let probed = probed.await;
        cluster.stop().await?;
        probed
    }

    async fn baselines(&self, number: usize, best: &Best, repetition: &mut Repetition) -> Result<(), Failure> {
        let cluster = self.cluster().await?;
        let measured = async {
            for (goods, variant, clients) in best {
                self.tell(format!("repetition {number}: {}, {} from {clients} clients", goods.name, variant.name()));
                let measured = self.baseline(&cluster, *goods, *variant, *clients, self.plans.measured).await?;
                repetition.baselines.push(Sold { goods: *goods, clients: *clients, measured });
            }
            self.tell(format!("repetition {number}: {} from 1 client", Variant::LocalTransaction.name()));
            let single = self.baseline(&cluster, UNIFORM, Variant::LocalTransaction, 1, self.plans.measured).await?;
            repetition.single_client = Some(single);
            Ok(())
        };
        let measured = measured.await;
        cluster.stop().await?;
        measured
    }

    async fn cluster(&self) -> Result<Running, Failure> {
        self.tell("making a database".to_owned());
        let cluster =
            Running::start(&self.options.data_dir.join("baseline"), "baseline", self.options.port_base + 20).await?;
        cluster.server.reuse_wal(WAL_SEGMENTS).await.map_err(Failure::new)?;
        Ok(cluster)
    }

    async fn baseline(
        &self,
        cluster: &Running,
        goods: Goods,
        variant: Variant,
        clients: usize,
        measured: Duration,
    ) -> Result<Measurement, Failure> {
        settle().await;
        let plan = self.plans.shop(goods, "baseline".to_owned());
        let settings = baseline::Settings { variant, plan, clients, warm_up: self.plans.warm_up, measured };
        baseline::measure(&cluster.server, &cluster.folder, &settings).await.map_err(Failure::new)
    }

    /// All of Assent's measurements, each on a system of its own or all on one.
    async fn assent(
        &self,
        number: usize,
        repetition: &mut Repetition,
        settings: &mut Vec<DatabaseSettings>,
    ) -> Result<(), Failure> {
        let mut left = self.plans.closed.iter().peekable();
        while left.peek().is_some() {
            let system = self.system().await?;
            let measured = async {
                let local = Local::find(&system.data_dir, &system.services.coordinator).await.map_err(Failure::new)?;
                for server in &local.servers {
                    let own = settings_of(server).await?;
                    if !settings.contains(&own) {
                        settings.push(own);
                    }
                }
                repetition.round_trip_us = round_trip_us(&system.services).await?;
                for (goods, clients) in left.by_ref() {
                    self.tell(format!("repetition {number}: {}, Assent from {clients} clients", goods.name));
                    let measured = self.closed(&system, &local, *goods, *clients).await?;
                    repetition.assent.push(Sold { goods: *goods, clients: *clients, measured });
                    if self.plans.fresh_each {
                        break;
                    }
                }
                if left.peek().is_none() && !self.plans.fresh_each {
                    repetition.overload = Some(self.overload(number, &system, &local).await?);
                }
                self.diagnose(&system).await
            };
            let measured = measured.await;
            system.stop().await?;
            measured?;
        }
        if self.plans.fresh_each {
            let system = self.system().await?;
            let measured = async {
                let local = Local::find(&system.data_dir, &system.services.coordinator).await.map_err(Failure::new)?;
                repetition.overload = Some(self.overload(number, &system, &local).await?);
                self.diagnose(&system).await
            };
            let measured = measured.await;
            system.stop().await?;
            measured?;
        }
        Ok(())
    }

    async fn system(&self) -> Result<System, Failure> {
        self.tell("starting a system".to_owned());
        let system =
            System::start(&self.options.data_dir.join("system"), self.options.port_base, self.services).await?;
        let local = Local::find(&system.data_dir, &system.services.coordinator).await.map_err(Failure::new)?;
        let reused = local.servers.iter().map(|server| server.reuse_wal(WAL_SEGMENTS));
        futures::future::try_join_all(reused).await.map_err(Failure::new)?;
        Ok(system)
    }

    async fn closed(&self, system: &System, local: &Local, goods: Goods, clients: usize) -> Result<Report, Failure> {
        let setting = Setting {
            load: Load::Closed { clients },
            connections: CONNECTIONS,
            warm_up: self.plans.warm_up,
            measured: self.plans.measured,
        };
        settle().await;
        let plan = self.plans.shop(goods, made_up_name());
        load::run(&system.services, Some(local), &plan, &setting, |_| {}).await
    }

    /// What is most is measured at once before, on the same system: a rate of minutes ago may be another one by now.
    async fn overload(&self, number: usize, system: &System, local: &Local) -> Result<Overload, Failure> {
        self.tell(format!("repetition {number}: Assent, asked for more than it can do"));
        let most = self.closed(system, local, UNIFORM, MANY_CLIENTS).await?.confirmed_per_second;
        let plan = self.plans.shop(UNIFORM, made_up_name());
        overload::run(&system.services, Some(local), &plan, CONNECTIONS, most, self.plans.measured).await
    }

    async fn diagnose(&self, system: &System) -> Result<(), Failure> {
        self.tell("asking the doctor".to_owned());
        match system.is_healthy().await? {
            true => Ok(()),
            false => Err(Failure::new("an invariant does not hold after the load; its figures are worth nothing")),
        }
    }

    fn tell(&self, what: String) {
        if self.doing.is_hidden() {
            eprintln!("{what}");
        }
        self.doing.set_message(what);
    }
}

/// For each baseline the number of clients that did most.
fn best(probes: &[Sold<Measurement>]) -> Best {
    let mut best: Vec<(Goods, Variant, usize, f64)> = Vec::new();
    for Sold { goods, clients, measured } in probes {
        let rate = measured.orders_per_second;
        match best.iter_mut().find(|(known, variant, ..)| known == goods && *variant == measured.variant) {
            Some(known) if known.3 < rate => (known.2, known.3) = (*clients, rate),
            Some(_) => {}
            None => best.push((*goods, measured.variant, *clients, rate)),
        }
    }
    best.into_iter().map(|(goods, variant, clients, _)| (goods, variant, clients)).collect()
}

async fn settings_of(server: &bench::store::Server) -> Result<DatabaseSettings, Failure> {
    let settings = server.durability().await.map_err(Failure::new)?;
    Ok(DatabaseSettings { database: server.name.clone(), settings })
}

/// Has the kernel write what came before, which it would do half a minute later: while something else is measured.
async fn settle() {
    let _ = tokio::task::spawn_blocking(nix::unistd::sync).await;
}

/// What a call takes that touches no database: an order's id that is none is refused at once.
async fn round_trip_us(services: &Services) -> Result<Option<u64>, Failure> {
    let mut orders = services.orders().await?;
    let mut latencies = Latencies::default();
    for _ in 0..ROUND_TRIPS {
        let request = services.request(GetOrderRequest { order_id: "none".to_owned() });
        let begun = Instant::now();
        let answer = orders.get_order(request).await;
        if answer.is_err_and(|status| status.code() == Code::InvalidArgument) {
            latencies.record(begun.elapsed());
        }
    }
    Ok(latencies.summary().map(|summary| summary.p50_us))
}

fn write(path: &Path, comparison: &Comparison) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("cannot write {}: {error}", path.display()));
    let text = serde_json::to_vec_pretty(comparison).map_err(|error| failed(&error))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    }
    std::fs::write(path, text).map_err(|error| failed(&error))
}
