//! What one Postgres alone makes of the same orders, without anything to agree on: the figures to hold ours against.
//!
//! pgbench places the orders, as fast as its clients can, on tables with the rows and indexes that an order leaves in
//! all services together (see `baseline/schema.sql` for what is left out, and why).
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::cpu::{Group, Watch};
use crate::latency::{Latencies, Summary};
use crate::report::{CpuRow, busy_share, cpu_rows, ratio};
use crate::shop::Workload;

const SCHEMA: &str = include_str!("../baseline/schema.sql");
/// Without these, Postgres forgets what it has answered.
const DURABLE: [&str; 3] = ["fsync", "synchronous_commit", "full_page_writes"];

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

    fn script(self) -> &'static str {
        match self {
            Variant::LocalTransaction => include_str!("../baseline/local-transaction.sql"),
            Variant::OneStatement => include_str!("../baseline/one-statement.sql"),
        }
    }
}

/// A Postgres server of our own, and its programs.
#[derive(Debug, Clone)]
pub struct Server {
    /// The folder of `psql` and `pgbench`; what is not there is looked for on PATH.
    pub bin: PathBuf,
    /// Where it listens, on the loopback interface.
    pub port: u16,
    /// Whom to connect as.
    pub role: String,
    /// With which password.
    pub password: String,
    /// To which database; a schema in it is made anew for every measurement.
    pub database: String,
    /// The server's process.
    pub pid: u32,
    /// A folder for pgbench's logs.
    pub logs: PathBuf,
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How an order is written.
    pub variant: Variant,
    /// Which articles are bought.
    pub workload: Workload,
    /// How many articles there are.
    pub skus: usize,
    /// How many accounts pay.
    pub accounts: usize,
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
    /// How many clients there were.
    pub clients: usize,
    /// Orders per second.
    pub orders_per_second: f64,
    /// How long they took; unset if there were none.
    pub latency: Option<Summary>,
    /// CPU time by process, warm-up included.
    pub cpu: Vec<CpuRow>,
    /// Part of the processors' time that someone used, from 0 to 1.
    pub busy_share: Option<f64>,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// A program of Postgres is not there, or does not run.
    #[error("{tool} does not run: {error}")]
    NotRun {
        /// Which.
        tool: &'static str,
        /// Why.
        error: io::Error,
    },
    /// A program of Postgres failed.
    #[error("{tool} failed: {said}")]
    Tool {
        /// Which.
        tool: &'static str,
        /// What it says.
        said: String,
    },
    /// pgbench's logs are not as expected.
    #[error("pgbench's logs: {0}")]
    Logs(io::Error),
    /// The server is not durable, so its figures are worth nothing.
    #[error("{0} is not on")]
    NotDurable(String),
}

impl Server {
    /// The durability settings, as the server tells them; fails unless all are on.
    pub async fn durability(&self) -> Result<Vec<(String, String)>, Failed> {
        let shows = DURABLE.map(|name| format!("SHOW {name}"));
        let told =
            self.run("psql", ["-XqAt"].into_iter().chain(shows.iter().flat_map(|show| ["-c", show])), "").await?;
        let settings: Vec<(String, String)> =
            DURABLE.into_iter().zip(told.lines()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        match settings.iter().find(|(_, value)| value != "on") {
            Some((name, _)) => Err(Failed::NotDurable(name.clone())),
            None => Ok(settings),
        }
    }

    /// Makes the tables anew, and measures.
    pub async fn measure(&self, settings: &Settings) -> Result<Measurement, Failed> {
        let (skus, accounts) = (format!("skus={}", settings.skus), format!("accounts={}", settings.accounts));
        let fill = ["-Xq", "-v", "ON_ERROR_STOP=1", "-v", &skus, "-v", &accounts, "-f", "-"];
        self.run("psql", fill, SCHEMA).await?;
        self.empty_logs().map_err(Failed::Logs)?;

        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let bought = match settings.workload {
            Workload::Uniform => skus,
            Workload::Hot => "skus=1".to_owned(),
        };
        let (clients, threads) = (settings.clients.to_string(), settings.clients.min(processors).to_string());
        let all_seconds = (settings.warm_up + settings.measured).as_secs().max(1);
        let seconds = all_seconds.to_string();
        let prefix = format!("--log-prefix={}", self.logs.join(LOG_PREFIX).display());
        let mut arguments = vec!["--no-vacuum", "--protocol=prepared", "-f", "-", "-c", &clients, "-j", &threads];
        arguments.extend(["-T", &seconds, "-D", "n=0", "-D", &bought, "-D", &accounts, "--log", &prefix]);
        let group = |name: &str, pid| Group { name: name.to_owned(), pid, with_children: true };
        let watch = Watch(vec![group("postgres", self.pid), group("pgbench", std::process::id())]);
        let before = watch.look();
        self.run("pgbench", arguments, settings.variant.script()).await?;
        let usage = watch.look().since(&before);

        let orders = self.read_logs().map_err(Failed::Logs)?;
        let latencies = within(&orders, settings.warm_up, settings.measured);
        let latency = latencies.summary();
        let counted = latency.map_or(0, |summary| summary.count);
        Ok(Measurement {
            variant: settings.variant,
            workload: settings.workload,
            clients: settings.clients,
            orders_per_second: ratio(counted as f64, settings.measured.as_secs_f64()).unwrap_or(0.0),
            latency,
            cpu: cpu_rows(&usage, orders.len() as u64),
            busy_share: busy_share(&usage, Duration::from_secs(all_seconds)),
        })
    }

    /// Runs one of Postgres' programs, with `input` on its stdin; answers what it printed.
    async fn run<A: AsRef<OsStr>>(
        &self,
        tool: &'static str,
        arguments: impl IntoIterator<Item = A>,
        input: &str,
    ) -> Result<String, Failed> {
        let not_run = |error| Failed::NotRun { tool, error };
        // Clients may be installed elsewhere than the server.
        let beside = self.bin.join(tool);
        let mut command = Command::new(if beside.is_file() { beside } else { tool.into() });
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        command.env("PGPASSWORD", &self.password).env("PGDATABASE", &self.database);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", &self.role]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(not_run)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await.map_err(not_run)?;
        }
        let output = child.wait_with_output().await.map_err(not_run)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let error = said.lines().find(|line| line.to_lowercase().contains("error"));
        let why = error.or_else(|| said.lines().next_back()).unwrap_or("it does not say why");
        Err(Failed::Tool { tool, said: why.to_owned() })
    }

    fn empty_logs(&self) -> io::Result<()> {
        self.log_files()?.iter().try_for_each(std::fs::remove_file)
    }

    fn log_files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(&self.logs)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        let is_log = |path: &Path| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(LOG_PREFIX.as_bytes()))
        };
        Ok(entries.into_iter().filter(|path| is_log(path)).collect())
    }

    fn read_logs(&self) -> io::Result<Vec<Logged>> {
        let mut orders = Vec::new();
        for file in self.log_files()? {
            for line in std::fs::read_to_string(file)?.lines() {
                orders.push(Logged::parse(line).ok_or_else(|| io::Error::other(format!("a line {line:?}")))?);
            }
        }
        Ok(orders)
    }
}

const LOG_PREFIX: &str = "pgbench";

/// A line of pgbench's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Logged {
    end_unix_us: u64,
    latency_us: u64,
}

impl Logged {
    /// Client, number, latency, script, second and microsecond of its end.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<u64> = line.split(' ').map(|field| field.parse().ok()).collect::<Option<_>>()?;
        let [_, _, latency_us, _, second, microsecond, ..] = fields[..] else { return None };
        Some(Logged { end_unix_us: second * 1_000_000 + microsecond, latency_us })
    }
}

/// Latencies of the orders that ended in the measured time after the warm-up.
fn within(orders: &[Logged], warm_up: Duration, measured: Duration) -> Latencies {
    let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let first = orders.iter().map(|order| order.end_unix_us).min().unwrap_or_default();
    let begin = first.saturating_add(us(warm_up));
    let window = begin..begin.saturating_add(us(measured));
    let mut latencies = Latencies::default();
    for order in orders.iter().filter(|order| window.contains(&order.end_unix_us)) {
        latencies.record_us(order.latency_us);
    }
    latencies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_orders_that_end_in_the_measured_time_count() {
        let lines = ["0 1 900 0 100 500000", "1 1 800 0 101 499999", "0 2 700 0 101 500000", "1 2 600 0 103 499999"];
        let mut orders: Vec<Logged> = lines.iter().map(|line| Logged::parse(line).unwrap()).collect();
        assert_eq!(orders[0], Logged { end_unix_us: 100_500_000, latency_us: 900 });
        orders.push(Logged { end_unix_us: 103_500_000, latency_us: 1 });
        let summary = within(&orders, Duration::from_secs(1), Duration::from_secs(2)).summary().unwrap();
        assert_eq!((summary.count, summary.max_us), (2, 700));
        assert_eq!(within(&[], Duration::ZERO, Duration::from_secs(1)).summary(), None);
    }

    #[test]
    fn another_line_is_no_order() {
        for line in ["", "0 1 900 0 100", "progress: 1 s", "0 1 skipped 0 100 5"] {
            assert_eq!(Logged::parse(line), None, "{line:?}");
        }
    }
}
