//! What one Postgres alone makes of the same orders, without anything to agree on: the figures to hold ours against.
//!
//! pgbench places the orders, as fast as its clients can, on tables with the rows and indexes that an order leaves in
//! all services together (see `baseline/schema.sql` for what is left out, and why).
mod log;
mod scripts;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::cpu::{Group, Watch};
use crate::latency::Summary;
use crate::report::{CpuRow, busy_share, cpu_rows, ratio};
use crate::shop::{Plan, SOLD_OUT, Workload};
use crate::store::statistics::Written;
use crate::store::{Failed, Server};
use log::{Logs, within};
use scripts::Scripts;

const SCHEMA: &str = include_str!("../../baseline/schema.sql");

/// How an order is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// As an application does: one local transaction of ordinary prepared statements.
    LocalTransaction,
    /// As an expert does: one data-modifying statement.
    OneStatement,
}

impl Variant {
    /// Both.
    pub const ALL: [Variant; 2] = [Variant::LocalTransaction, Variant::OneStatement];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Variant::LocalTransaction => "local transaction",
            Variant::OneStatement => "one statement",
        }
    }
}

/// What is measured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How an order is written.
    pub variant: Variant,
    /// What is bought by whom.
    pub plan: Plan,
    /// How many clients there are.
    pub clients: usize,
    /// How long orders are placed before any is counted.
    pub warm_up: Duration,
    /// How long orders are counted.
    pub measured: Duration,
}

/// A measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// How an order was written.
    pub variant: Variant,
    /// Which articles were bought.
    pub workload: Workload,
    /// Of 100 orders, how many asked for what was sold out.
    pub refused_percent: u8,
    /// How many clients there were.
    pub clients: usize,
    /// Orders that were answered per second.
    pub orders_per_second: f64,
    /// How long they took; unset if there were none.
    pub latency: Option<Summary>,
    /// CPU time by process, warm-up included.
    pub cpu: Vec<CpuRow>,
    /// Part of the processors' time that someone used, from 0 to 1.
    pub busy_share: Option<f64>,
    /// What the database wrote for each order.
    pub written: Option<Written>,
}

/// Makes the tables anew on a server of our own, and measures. `folder` is for pgbench's files.
pub async fn measure(server: &Server, folder: &Path, settings: &Settings) -> Result<Measurement, Failed> {
    let Settings { variant, plan, warm_up, measured, .. } = settings;
    let scripts = Scripts::new(*variant, plan)?;
    let (logs, accounts) = (Logs(folder.to_owned()), format!("accounts={}", plan.accounts));
    let skus = format!("skus={}", plan.sku_count());
    let sold_out = format!("sold_out={}", if plan.refused_percent > 0 { SOLD_OUT } else { 0 });
    let fill = ["-Xq", "-v", "ON_ERROR_STOP=1", "-v", &skus, "-v", &sold_out, "-v", &accounts, "-f", "-"];
    server.run("psql", fill, SCHEMA).await?;
    logs.empty().map_err(Failed::Files)?;
    let mut files = Vec::new();
    for (number, (script, weight)) in scripts.scripts.iter().enumerate() {
        let file = folder.join(format!("script-{number}.sql"));
        std::fs::write(&file, script).map_err(Failed::Files)?;
        files.push(format!("{}@{weight}", file.display()));
    }

    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let (clients, threads) = (settings.clients.to_string(), settings.clients.min(processors).to_string());
    let all_seconds = (*warm_up + *measured).as_secs().max(1);
    let (seconds, prefix) = (all_seconds.to_string(), logs.argument());
    let mut arguments = vec!["--no-vacuum", scripts.protocol, "-c", &clients, "-j", &threads, "-T", &seconds];
    arguments.extend(files.iter().flat_map(|file| ["-f", file]));
    arguments.extend(["-D", "n=0", "-D", "is_prepared=0", "-D", &accounts, "--log", &prefix]);
    let group = |name: &str, pid| Group { name: name.to_owned(), pid, with_children: true };
    let watch = Watch(vec![group("postgres", server.pid), group("pgbench", std::process::id())]);
    let (before, wrote_before) = (watch.look(), server.look().await?);
    server.run("pgbench", arguments, "").await?;
    let (usage, wrote) = (watch.look().since(&before), server.look().await?);

    let orders = logs.read().map_err(Failed::Files)?;
    let latency = within(&orders, *warm_up, *measured).summary();
    let counted = latency.map_or(0, |summary| summary.count);
    Ok(Measurement {
        variant: *variant,
        workload: plan.workload,
        refused_percent: plan.refused_percent,
        clients: settings.clients,
        orders_per_second: ratio(counted as f64, measured.as_secs_f64()).unwrap_or(0.0),
        latency,
        cpu: cpu_rows(&usage, orders.len() as u64),
        busy_share: busy_share(&usage, Duration::from_secs(all_seconds)),
        written: wrote.since(&wrote_before, &server.name, orders.len() as u64),
    })
}
