//! `assent bench endurance`: whether a system does as much after many minutes as in the first, and what its databases' tables
//! have become meanwhile.
//!
//! Autovacuum, checkpoints and the services' own garbage collection are at work as users have them. Collection begins once the
//! watermark has passed the first orders: ten minutes after them, unless the environment says otherwise.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bench::plot::{Plot, Scale};
use bench::report::{Load, Report, Setting};
use bench::shop::{Plan, Workload};
use bench::steadiness::{LEAST_SHARE, Sample, Steadiness};
use bench::store::tables::{Checkpoints, Table};
use serde::Serialize;

use super::load::{self, Stocked};
use super::local::Local;
use super::orders::{self, made_up_name};
use super::system::System;
use super::whole::{self, DOCTOR_UP_TO};
use super::{ms, spinner};
use crate::client::Services;
use crate::failure::Failure;
use crate::mode::Mode;
use crate::output::{Output, fields, table, thousands};

/// Over how many HTTP/2 connections.
const CONNECTIONS: usize = 2;
/// Tables of which fewer rows were changed are left out where people read; JSON has all.
const SHOWN_FROM: u64 = 1_000;

/// Place orders on a system of its own for many minutes, and see whether it becomes slower or stops at times
#[derive(Debug, clap::Args)]
pub struct EnduranceVerb {
    /// How long orders are counted
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    minutes: u64,
    /// The same in seconds
    #[arg(long, value_name = "S", conflicts_with = "minutes", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    seconds: Option<u64>,
    /// How long orders are placed before any is counted
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    warm_up_seconds: u64,
    /// How often the rate is looked at
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    sample_seconds: u64,
    /// How many clients
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// How many SKUs there are
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    skus: u32,
    /// Of how many orders at most the doctor is asked, who reads all of them into memory; of more, the totals must agree
    #[arg(long, value_name = "N", default_value_t = DOCTOR_UP_TO)]
    doctor_up_to: u32,
    /// Where the picture and the figures (endurance.json) go
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    folder: PathBuf,
    /// Where the databases are made, anew, and removed at the end; an order takes some 2 kB
    #[arg(long, value_name = "DIR", default_value = ".assent-bench")]
    data_dir: PathBuf,
    /// First port, as for `assent dev`
    #[arg(long, value_name = "PORT", default_value_t = 7470, value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    port_base: u16,
}

/// What was seen.
#[derive(Debug, Serialize)]
struct Endurance {
    /// How even the rate was.
    steadiness: Option<Steadiness>,
    /// Whether no sample was too far below the median.
    is_met: bool,
    collected: Collected,
    databases: Vec<Database>,
    samples: Vec<Sample>,
    report: Report,
}

/// What garbage collection has deleted meanwhile.
#[derive(Debug, Clone, Copy, Serialize)]
struct Collected {
    records: u64,
    log_rows: u64,
}

/// What became of a database.
#[derive(Debug, Serialize)]
struct Database {
    name: String,
    checkpoints: Checkpoints,
    tables: Vec<Table>,
}

impl EnduranceVerb {
    /// Runs the verb. Must be called on the thread that lives as long as the process.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        if cfg!(debug_assertions) {
            eprintln!("these programs were not built for release: the figures say nothing");
        }
        let doing = spinner();
        let system = System::start(&self.data_dir.join("system"), self.port_base, services).await?;
        let seen = async {
            let local = Local::find(&system.data_dir, &system.services.coordinator).await.map_err(Failure::new)?;
            let seen = self.measure(&system, &local, |what| doing.set_message(what)).await?;
            // What took so long is kept, whatever is found now.
            self.write(&seen)?;
            doing.set_message("looking whether it is whole");
            whole::check(&system, &local, seen.report.orders.confirmed, self.doctor_up_to).await?;
            Ok(seen)
        };
        let seen = seen.await;
        system.remove().await?;
        doing.finish_and_clear();
        output.print(&seen?, page)?;
        eprintln!("the picture and all figures are in {}", self.folder.display());
        Ok(())
    }

    async fn measure(&self, system: &System, local: &Local, now: impl Fn(String)) -> Result<Endurance, Failure> {
        let setting = Setting {
            load: Load::Closed { clients: usize::from(self.clients) },
            connections: CONNECTIONS,
            warm_up: Duration::from_secs(self.warm_up_seconds),
            measured: Duration::from_secs(self.seconds.unwrap_or(self.minutes * 60)),
        };
        let plan = Plan {
            run: made_up_name(),
            workload: Workload::Uniform,
            skus: self.skus as usize,
            accounts: 256,
            lines: 1,
            refused_percent: 0,
            baskets: Arc::default(),
            mode: Mode::Atomic.into(),
        };
        let stocked = Stocked::new(&system.services, &[], &plan, CONNECTIONS, &now).await?;
        now(format!("placing orders for {} s", (setting.warm_up + setting.measured).as_secs()));
        let every = Duration::from_secs(self.sample_seconds);
        let (report, samples) = load::run_stocked(&stocked, Some(local), &plan, &setting, every).await?;
        let mut databases = Vec::new();
        for server in &local.servers {
            databases.push(Database {
                name: server.name.clone(),
                checkpoints: server.checkpoints().await.map_err(Failure::new)?,
                tables: server.tables().await.map_err(Failure::new)?,
            });
        }
        let steadiness = Steadiness::of(&samples);
        let is_met = steadiness.is_some_and(|steadiness| steadiness.is_met());
        let collected =
            Collected { records: deleted(&databases, "record"), log_rows: deleted(&databases, "branch_log") };
        Ok(Endurance { steadiness, is_met, collected, databases, samples, report })
    }

    fn write(&self, seen: &Endurance) -> Result<(), Failure> {
        let failed =
            |error: &dyn std::fmt::Display| Failure::new(format!("cannot write to {}: {error}", self.folder.display()));
        std::fs::create_dir_all(&self.folder).map_err(|error| failed(&error))?;
        let text = serde_json::to_vec_pretty(seen).map_err(|error| failed(&error))?;
        std::fs::write(self.folder.join("endurance.json"), text).map_err(|error| failed(&error))?;
        let points: Vec<(f64, f64)> =
            seen.samples.iter().map(|sample| (sample.until_seconds / 60.0, sample.orders_per_second)).collect();
        let marks: Vec<(f64, &str)> = match seen.steadiness {
            Some(Steadiness { median, .. }) => vec![(median * LEAST_SHARE, "80 % of the median")],
            None => Vec::new(),
        };
        let title = format!("{} clients, a sample every {} s", self.clients, self.sample_seconds);
        let plot =
            Plot { title: &title, x: "minutes", scale: Scale::Even, y: "orders/s", points: &points, marks: &marks };
        match plot.svg() {
            Some(svg) => std::fs::write(self.folder.join("endurance.svg"), svg).map_err(|error| failed(&error)),
            None => Ok(()),
        }
    }
}

/// Rows deleted from all tables of this name.
fn deleted(databases: &[Database], name: &str) -> u64 {
    let tables = databases.iter().flat_map(|database| &database.tables);
    tables.filter(|table| table.name == name).map(|table| table.deleted).sum()
}

fn page(seen: &Endurance) -> String {
    let Endurance { steadiness, is_met, collected, databases, samples, report } = seen;
    let whole = |figure: f64| thousands(figure.round() as u64);
    let mut rows = vec![("orders", thousands(report.orders.confirmed)), ("orders/s", whole(report.orders_per_second))];
    if let Some(steadiness) = steadiness {
        let Steadiness { median, lowest, lowest_until_seconds, lowest_share, first_quarter, last_quarter } = steadiness;
        let verdict = if *is_met { "met" } else { "missed" };
        rows.extend([
            ("samples", format!("{}, the median {} orders/s", samples.len(), whole(*median))),
            (
                "lowest",
                format!(
                    "{} orders/s, {:.0} % of the median, {lowest_until_seconds:.0} s after the beginning (at least {:.0} %: {verdict})",
                    whole(*lowest),
                    lowest_share * 100.0,
                    LEAST_SHARE * 100.0
                ),
            ),
            ("from, to", format!("{} orders/s in the first quarter, {} in the last", whole(*first_quarter), whole(*last_quarter))),
        ]);
    }
    if let Some(latency) = report.confirmed_latency {
        rows.push(("p50, p99", format!("{} ms, {} ms", ms(latency.p50_us), ms(latency.p99_us))));
    }
    if let Some(worst) = samples.iter().filter_map(|sample| sample.p99_us).max() {
        rows.push(("worst p99", format!("{} ms, of one sample", ms(worst))));
    }
    let Collected { records, log_rows } = collected;
    rows.push(("collected", format!("{} log rows, {} records", thousands(*log_rows), thousands(*records))));
    format!("{}\n\n{}\n\n{}\n\n{}", fields(&rows), orders::cpu(report), tables(databases), checkpoints(databases))
}

fn tables(databases: &[Database]) -> String {
    let changed = |table: &&Table| table.inserted + table.updated + table.deleted >= SHOWN_FROM;
    let row = |database: &Database, table: &Table| {
        let megabytes = |bytes: u64| thousands(bytes >> 20);
        vec![
            format!("{}: {}", database.name, table.name),
            thousands(table.live),
            thousands(table.dead),
            thousands(table.deleted),
            table.autovacuums.to_string(),
            table.autoanalyzes.to_string(),
            megabytes(table.table_bytes),
            megabytes(table.index_bytes),
        ]
    };
    let rows = databases
        .iter()
        .flat_map(|database| database.tables.iter().filter(changed).map(|table| row(database, table)))
        .collect();
    let headers = ["table", "rows", "dead", "deleted", "autovacuum", "autoanalyze", "table MiB", "indexes MiB"];
    table(&headers, &[1, 2, 3, 4, 5, 6, 7], rows)
}

fn checkpoints(databases: &[Database]) -> String {
    let row = |Database { name, checkpoints, .. }: &Database| {
        let Checkpoints { timed, requested, write_ms } = checkpoints;
        vec![name.clone(), timed.to_string(), requested.to_string(), format!("{:.1}", *write_ms as f64 / 1_000.0)]
    };
    table(&["checkpoints", "timed", "by WAL", "writing s"], &[1, 2, 3], databases.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_collected_is_told_by_table() {
        let table = |name: &str, deleted| Table {
            name: name.to_owned(),
            live: 0,
            dead: 0,
            inserted: 0,
            updated: 0,
            updated_on_page: 0,
            deleted,
            autovacuums: 0,
            autoanalyzes: 0,
            table_bytes: 0,
            index_bytes: 0,
        };
        let database = |tables| Database {
            name: "x".to_owned(),
            checkpoints: Checkpoints { timed: 0, requested: 0, write_ms: 0 },
            tables,
        };
        let databases = [
            database(vec![table("branch_log", 3), table("branch_batch", 50)]),
            database(vec![table("branch_log", 4), table("record", 5), table("record_batch", 60)]),
        ];
        assert_eq!((deleted(&databases, "branch_log"), deleted(&databases, "record")), (7, 5));
    }
}
