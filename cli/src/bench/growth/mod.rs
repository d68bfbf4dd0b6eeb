//! `assent bench growth`: how a system bears more lines, more SKUs, more coordinators, more participants, more past orders.
mod members;
mod orders;
mod participants;
mod past;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bench::plot::{Plot, Scale};
use bench::report::{CpuRow, Load, Report, Setting};
use bench::shop::{Plan, Workload};
use serde::Serialize;

use super::orders::made_up_name;
use super::whole::DOCTOR_UP_TO;
use super::{ms, spinner};
use crate::client::Services;
use crate::failure::Failure;
use crate::mode::Mode;
use crate::output::{Output, table, thousands};
use orders::Size;

/// Measure systems of its own as one thing grows at a time
#[derive(Debug, clap::Args)]
pub struct Growth {
    /// What grows, one after the other; all if not given
    #[arg(long, value_name = "WHAT,...", value_delimiter = ',')]
    only: Vec<Thing>,
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
    /// How many participants a transaction has, each an inventory with a database of its own
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "3,4,5,6,7,8",
          value_parser = clap::value_parser!(u16).range(1..=9))]
    participants: Vec<u16>,
    /// How many past orders there are in every database; ten million take some minutes to write, and 27 GB of disk
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1000,100000,10000000",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    rows: Vec<u32>,
    /// Of how many orders at most the doctor is asked, who reads all of them into memory; of more, the totals must agree
    #[arg(long, value_name = "N", default_value_t = DOCTOR_UP_TO)]
    doctor_up_to: u32,
    /// How many clients
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// How long orders are counted, each time
    #[arg(long, value_name = "S", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Where the pictures and the figures (growth.json) go
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    folder: PathBuf,
    /// Where the databases are made, anew each time, and removed at the end
    #[arg(long, value_name = "DIR", default_value = ".assent-bench")]
    data_dir: PathBuf,
    /// First port, as for `assent dev`
    #[arg(long, value_name = "PORT", default_value_t = 7470, value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    port_base: u16,
}

/// What can grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Thing {
    /// Lines of an order.
    Lines,
    /// SKUs that are bought.
    Skus,
    /// Coordinators.
    Coordinators,
    /// Participants of a transaction.
    Participants,
    /// Past orders in the databases.
    Rows,
}

impl Thing {
    const ALL: [Thing; 5] = [Thing::Lines, Thing::Skus, Thing::Coordinators, Thing::Participants, Thing::Rows];

    fn name(self) -> &'static str {
        match self {
            Thing::Lines => "lines",
            Thing::Skus => "skus",
            Thing::Coordinators => "coordinators",
            Thing::Participants => "participants",
            Thing::Rows => "rows",
        }
    }
}

/// One thing that grew.
#[derive(Debug, Serialize)]
struct Grown {
    what: Thing,
    measured: Vec<Point>,
}

#[derive(Debug, Serialize)]
struct Point {
    count: u32,
    /// Of participants: an order is a transaction, and a line its branch at one of them.
    report: Report,
}

impl Growth {
    /// Runs the verb. Must be called on the thread that lives as long as the process.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        if cfg!(debug_assertions) {
            eprintln!("these programs were not built for release: the figures say nothing");
        }
        let things = if self.only.is_empty() { Thing::ALL.to_vec() } else { self.only.clone() };
        let doing = spinner();
        let mut grown = Vec::new();
        for what in things {
            let mut measured = Vec::new();
            for count in self.counts(what) {
                doing.set_message(format!("{}: {}", what.name(), thousands(count.into())));
                if what == Thing::Rows
                    && let Err(lacking) = past::check_room(&self.data_dir, count)
                {
                    eprintln!("left out: {}", lacking.message);
                    continue;
                }
                measured.push(Point { count, report: self.measure(services, what, count).await? });
            }
            grown.push(Grown { what, measured });
            // What was measured is kept, whatever becomes of the rest.
            self.write(&grown)?;
        }
        doing.finish_and_clear();
        output.print(&grown, |grown| page(grown))?;
        eprintln!("pictures and all figures are in {}", self.folder.display());
        Ok(())
    }

    fn counts(&self, what: Thing) -> Vec<u32> {
        let counts = match what {
            Thing::Lines => &self.lines,
            Thing::Skus => return self.skus.clone(),
            Thing::Rows => return self.rows.clone(),
            Thing::Coordinators => &self.coordinators,
            Thing::Participants => &self.participants,
        };
        counts.iter().copied().map(u32::from).collect()
    }

    async fn measure(&self, services: &Services, what: Thing, count: u32) -> Result<Report, Failure> {
        let few = u16::try_from(count).unwrap_or(u16::MAX);
        let size = match what {
            Thing::Lines => Size { lines: few, ..Size::USUAL },
            Thing::Skus => Size { skus: count, ..Size::USUAL },
            Thing::Coordinators => Size { coordinators: few, ..Size::USUAL },
            Thing::Participants => Size::USUAL,
            Thing::Rows => Size { past: count, ..Size::USUAL },
        };
        let plan = Plan {
            run: made_up_name(),
            workload: Workload::Uniform,
            skus: size.skus as usize,
            accounts: 256,
            lines: usize::from(size.lines),
            refused_percent: 0,
            baskets: Arc::default(),
            mode: Mode::Atomic.into(),
        };
        let clients = usize::from(self.clients);
        let setting = Setting {
            load: Load::Closed { clients },
            connections: 2 * usize::from(size.coordinators),
            warm_up: Duration::from_secs(2),
            measured: Duration::from_secs(self.seconds),
        };
        match what {
            Thing::Participants => {
                let folder = self.data_dir.join("members");
                participants::measure(&folder, self.port_base, services, few, plan, &setting, clients).await
            }
            _ => {
                let folder = self.data_dir.join("system");
                orders::measure(&folder, self.port_base, services, size, &plan, &setting, self.doctor_up_to).await
            }
        }
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
            let y = if *what == Thing::Participants { "transactions/s" } else { "orders/s" };
            let plot = Plot { title: &title, x: what.name(), scale: Scale::Factors, y, points: &points, marks: &[] };
            if let Some(svg) = plot.svg() {
                let file = self.folder.join(format!("growth-{}.svg", what.name()));
                std::fs::write(file, svg).map_err(|error| failed(&error))?;
            }
        }
        Ok(())
    }
}

fn page(grown: &[Grown]) -> String {
    let points = || grown.iter().flat_map(|grown| grown.measured.iter().map(|point| (grown.what, point)));
    let named = |what: Thing, count: u32| vec![what.name().to_owned(), thousands(count.into())];
    let rates = points().map(|(what, Point { count, report })| {
        let latency = report.confirmed_latency.map(|summary| [summary.p50_us, summary.p99_us].map(ms));
        let lines_per_second = report.orders_per_second * report.lines as f64;
        let rates = [report.orders_per_second, lines_per_second].map(|rate| thousands(rate.round() as u64));
        let latency = latency.unwrap_or_else(|| ["-"; 2].map(str::to_owned));
        named(what, *count).into_iter().chain(rates).chain(latency).collect()
    });
    let cpu = points().map(|(what, Point { count, report })| {
        let busy = report.busy_share.map_or("?".to_owned(), |share| format!("{:.0}", share * 100.0));
        named(what, *count).into_iter().chain(Cpu::of(&report.cpu).figures()).chain([busy]).collect()
    });
    let rates = table(&["growing", "to", "orders/s", "lines/s", "p50 ms", "p99 ms"], &[1, 2, 3, 4, 5], rates.collect());
    let headers = [
        "cpu us an order",
        "to",
        "coordinator",
        "database",
        "participants",
        "databases",
        "clients",
        "others",
        "busy %",
    ];
    let mut text = format!("{rates}\n\n{}", table(&headers, &[1, 2, 3, 4, 5, 6, 7, 8], cpu.collect()));
    if grown.iter().any(|grown| grown.what == Thing::Participants) {
        text += "\n\nof participants, orders are transactions, and lines are their branches";
    }
    text
}

/// CPU microseconds an order, by who used them; unset where that can't be told.
#[derive(Debug, Default, PartialEq)]
struct Cpu {
    coordinator: Option<f64>,
    coordinator_database: Option<f64>,
    participants: Option<f64>,
    databases: Option<f64>,
    clients: Option<f64>,
    others: Option<f64>,
}

impl Cpu {
    fn of(rows: &[CpuRow]) -> Self {
        let sum = |is_of: &dyn Fn(&str) -> bool| {
            let of: Vec<Option<f64>> = rows.iter().filter(|row| is_of(&row.name)).map(|row| row.us_per_order).collect();
            if of.is_empty() { None } else { of.into_iter().sum() }
        };
        let is_other = |name: &str| name == bench::report::OTHERS || name == super::local::LOAD_GENERATOR;
        let is_coordinators = |name: &str| name.starts_with("coordinator");
        Cpu {
            coordinator: sum(&|name| name == "coordinator"),
            coordinator_database: sum(&|name| name == "coordinator-db"),
            participants: sum(&|name| !name.ends_with("-db") && !is_coordinators(name) && !is_other(name)),
            databases: sum(&|name| name.ends_with("-db") && !is_coordinators(name)),
            clients: sum(&|name| name == super::local::LOAD_GENERATOR),
            others: sum(&|name| name == bench::report::OTHERS),
        }
    }

    fn figures(&self) -> [String; 6] {
        let all =
            [self.coordinator, self.coordinator_database, self.participants, self.databases, self.clients, self.others];
        all.map(|figure| figure.map_or("?".to_owned(), |figure| format!("{figure:.1}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_told_by_who_used_it() {
        let row =
            |(name, us_per_order): (&str, Option<f64>)| CpuRow { name: name.to_owned(), seconds: None, us_per_order };
        let rows = [
            ("coordinator", Some(1.0)),
            ("coordinator-db", Some(2.0)),
            ("inventory-1", Some(3.0)),
            ("inventory-2", Some(4.0)),
            ("inventory-1-db", Some(5.0)),
            ("inventory-2-db", None),
            ("load generator", Some(6.0)),
        ];
        let expected = Cpu {
            coordinator: Some(1.0),
            coordinator_database: Some(2.0),
            participants: Some(7.0),
            clients: Some(6.0),
            ..Cpu::default()
        };
        assert_eq!(Cpu::of(&rows.map(row)), expected);
    }
}
