//! `assent bench growth`: how a system bears more lines, more SKUs, more coordinators.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bench::plot::Plot;
use bench::report::{Load, Report, Setting};
use bench::shop::{Plan, Workload};
use serde::Serialize;

use super::local::Local;
use super::orders::made_up_name;
use super::system::System;
use super::{load, ms, spinner};
use crate::client::Services;
use crate::failure::Failure;
use crate::mode::Mode;
use crate::output::{Output, table, thousands};

/// Measure systems of its own as one thing grows at a time: lines of an order, SKUs, coordinators
#[derive(Debug, clap::Args)]
pub struct Growth {
    /// How many lines an order has
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,2,5,10,20,50,100,200",
          value_parser = clap::value_parser!(u16).range(1..=1_000))]
    lines: Vec<u16>,
    /// How many SKUs there are; 100,000 take about a minute to stock
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1000,10000,100000",
          value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    skus: Vec<u32>,
    /// How many coordinators there are, all on one database
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,2,3",
          value_parser = clap::value_parser!(u16).range(1..=5))]
    coordinators: Vec<u16>,
    /// How many clients
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// How long orders are counted, each time
    #[arg(long, value_name = "S", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Where the pictures and the figures (growth.json) go
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    folder: PathBuf,
    /// Where the databases are made, anew each time
    #[arg(long, value_name = "DIR", default_value = ".assent-bench")]
    data_dir: PathBuf,
    /// First port, as for `assent dev`
    #[arg(long, value_name = "PORT", default_value_t = 7470, value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    port_base: u16,
}

/// One thing that grows.
#[derive(Debug, Serialize)]
struct Grown {
    what: &'static str,
    measured: Vec<Point>,
}

#[derive(Debug, Serialize)]
struct Point {
    count: u32,
    report: Report,
}

/// What a system has in one measurement.
#[derive(Debug, Clone, Copy)]
struct Size {
    lines: usize,
    skus: usize,
    coordinators: u16,
}

const USUAL: Size = Size { lines: 1, skus: 1_000, coordinators: 1 };

impl Growth {
    /// Runs the verb. Must be called on the thread that lives as long as the process.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        if cfg!(debug_assertions) {
            eprintln!("these programs were not built for release: the figures say nothing");
        }
        let lines = self.lines.iter().map(|count| (u32::from(*count), Size { lines: usize::from(*count), ..USUAL }));
        let skus = self.skus.iter().map(|count| (*count, Size { skus: *count as usize, ..USUAL }));
        let coordinators = self.coordinators.iter();
        let coordinators = coordinators.map(|count| (u32::from(*count), Size { coordinators: *count, ..USUAL }));
        let things: [(&'static str, Vec<(u32, Size)>); 3] =
            [("lines", lines.collect()), ("skus", skus.collect()), ("coordinators", coordinators.collect())];
        let doing = spinner();
        let mut grown = Vec::new();
        for (what, sizes) in things {
            let mut measured = Vec::new();
            for (count, size) in sizes {
                doing.set_message(format!("{what}: {count}"));
                measured.push(Point { count, report: self.measure(services, size).await? });
            }
            grown.push(Grown { what, measured });
        }
        doing.finish_and_clear();
        self.write(&grown)?;
        output.print(&grown, |grown| page(grown))?;
        eprintln!("pictures and all figures are in {}", self.folder.display());
        Ok(())
    }

    async fn measure(&self, services: &Services, size: Size) -> Result<Report, Failure> {
        let mut system = System::start(&self.data_dir.join("system"), self.port_base, services).await?;
        let measured = async {
            let more = system.add_coordinators(self.port_base + 30, size.coordinators - 1).await?;
            let local = Local::find(&system.data_dir, &system.services.coordinator).await.map_err(Failure::new)?;
            let setting = Setting {
                load: Load::Closed { clients: usize::from(self.clients) },
                connections: 2 * usize::from(size.coordinators),
                warm_up: Duration::from_secs(2),
                measured: Duration::from_secs(self.seconds),
            };
            let plan = Plan {
                run: made_up_name(),
                workload: Workload::Uniform,
                skus: size.skus,
                accounts: 256,
                lines: size.lines,
                refused_percent: 0,
                baskets: Arc::default(),
                mode: Mode::Atomic.into(),
            };
            let report = load::run_at(&system.services, &more, Some(&local), &plan, &setting, |_| {}).await?;
            match system.is_healthy().await? {
                true => Ok(report),
                false => Err(Failure::new("an invariant does not hold after the load; its figures are worth nothing")),
            }
        };
        let measured = measured.await;
        system.stop().await?;
        measured
    }

    fn write(&self, grown: &[Grown]) -> Result<(), Failure> {
        let failed =
            |error: &dyn std::fmt::Display| Failure::new(format!("cannot write to {}: {error}", self.folder.display()));
        std::fs::create_dir_all(&self.folder).map_err(|error| failed(&error))?;
        let text = serde_json::to_vec_pretty(grown).map_err(|error| failed(&error))?;
        std::fs::write(self.folder.join("growth.json"), text).map_err(|error| failed(&error))?;
        for Grown { what, measured } in grown {
            let points: Vec<(f64, f64)> =
                measured.iter().map(|point| (point.count.into(), point.report.orders_per_second)).collect();
            let title = format!("{} clients", self.clients);
            let plot = Plot { title: &title, x: what, y: "orders/s", points: &points };
            if let Some(svg) = plot.svg() {
                std::fs::write(self.folder.join(format!("growth-{what}.svg")), svg).map_err(|error| failed(&error))?;
            }
        }
        Ok(())
    }
}

fn page(grown: &[Grown]) -> String {
    let rows = grown.iter().flat_map(|Grown { what, measured }| {
        measured.iter().map(|Point { count, report }| {
            let latency = report.confirmed_latency.map(|summary| [summary.p50_us, summary.p99_us].map(ms));
            let [p50, p99] = latency.unwrap_or_else(|| ["-"; 2].map(str::to_owned));
            let lines_per_second = report.orders_per_second * report.lines as f64;
            let rates = [report.orders_per_second, lines_per_second].map(|rate| thousands(rate.round() as u64));
            let [orders, lines] = rates;
            vec![(*what).to_owned(), thousands((*count).into()), orders, lines, p50, p99]
        })
    });
    table(&["growing", "to", "orders/s", "lines/s", "p50 ms", "p99 ms"], &[1, 2, 3, 4, 5], rows.collect())
}
