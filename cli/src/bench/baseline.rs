//! `assent bench baseline`: the same orders in one Postgres, on a cluster of its own.
use std::path::PathBuf;
use std::time::Duration;

use bench::baseline::{Measurement, Server, Settings, Variant};
use bench::shop::Workload;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::process::Child;

use super::{ms, spinner};
use crate::dev::data_dir::DataDir;
use crate::dev::postgres::{Cluster, Postgres, ROLE};
use crate::failure::Failure;
use crate::output::{Output, table, thousands};

const NAME: &str = "baseline-db";
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Place the same orders in one Postgres alone: as one local transaction of ordinary statements, and as one statement
#[derive(Debug, clap::Args)]
pub struct Baseline {
    /// How many clients, one figure for each measurement
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,8,32,64",
          value_parser = clap::value_parser!(u16).range(1..=80))]
    clients: Vec<u16>,
    /// How long orders are counted
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How long orders are placed before any is counted
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    warm_up_seconds: u64,
    /// Which SKUs are bought: all alike, or one of them in every order
    #[arg(long, default_value = "uniform",
          value_parser = PossibleValuesParser::new(Workload::NAMES).try_map(|name| name.parse::<Workload>()))]
    workload: Workload,
    /// How many SKUs there are
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    skus: u32,
    /// How many accounts pay
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    accounts: u32,
    /// Where its cluster is made, anew each time
    #[arg(long, value_name = "DIR", default_value = ".assent-baseline")]
    data_dir: PathBuf,
    /// The cluster's port
    #[arg(long, value_name = "PORT", default_value_t = 7490, value_parser = clap::value_parser!(u16).range(1024..))]
    port: u16,
}

#[derive(Serialize)]
struct Report {
    settings: Vec<(String, String)>,
    measurements: Vec<Measurement>,
}

impl Baseline {
    /// Runs the verb.
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        let postgres = Postgres::find().await?;
        let data_dir = DataDir::open(&self.data_dir, true)?;
        let password = data_dir.password()?;
        let clusters = data_dir.clusters(postgres.run_as.as_ref())?;
        let cluster = Cluster {
            name: NAME.to_owned(),
            database: "baseline".to_owned(),
            port: self.port,
            folder: clusters.join(NAME),
        };
        let doing = spinner();
        doing.set_message("making a database");
        postgres.make(&cluster, &password).await?;
        let mut child = start(&postgres, &cluster, &data_dir).await?;
        let server = Server {
            bin: postgres.bin().to_owned(),
            port: self.port,
            role: ROLE.to_owned(),
            password,
            database: cluster.database.clone(),
            pid: child.id().unwrap_or_default(),
            logs: data_dir.path().join("logs"),
        };
        let measured = self.measure(&server, |what| doing.set_message(what)).await;
        doing.finish_and_clear();
        stop(&mut child).await?;
        output.print(&measured?, page)
    }

    async fn measure(&self, server: &Server, now: impl Fn(String)) -> Result<Report, Failure> {
        let settings = server.durability().await.map_err(Failure::new)?;
        let mut measurements = Vec::new();
        for clients in &self.clients {
            for variant in Variant::ALL {
                now(format!("{}, {clients} clients", variant.name()));
                let settings = Settings {
                    variant,
                    workload: self.workload,
                    skus: self.skus as usize,
                    accounts: self.accounts as usize,
                    clients: usize::from(*clients),
                    warm_up: Duration::from_secs(self.warm_up_seconds),
                    measured: Duration::from_secs(self.seconds),
                };
                measurements.push(server.measure(&settings).await.map_err(Failure::new)?);
            }
        }
        Ok(Report { settings, measurements })
    }
}

/// Starts the server and waits until it accepts connections.
async fn start(postgres: &Postgres, cluster: &Cluster, data_dir: &DataDir) -> Result<Child, Failure> {
    let log = data_dir.log(NAME);
    let failed = |error: std::io::Error| Failure::new(format!("cannot start a database: {error}"));
    let out = std::fs::File::create(&log).map_err(failed)?;
    let err = out.try_clone().map_err(failed)?;
    let mut command = postgres.server(cluster);
    let mut child = command.stdin(std::process::Stdio::null()).stdout(out).stderr(err).spawn().map_err(failed)?;
    let ready = async {
        while !cluster.is_ready() {
            if let Some(status) = child.try_wait().map_err(failed)? {
                let failure = Failure::new(format!("the database does not come up: {status}"));
                return Err(failure.hint(format!("see {}", log.display())));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    let late = |_| Failure::new("the database does not become ready").hint(format!("see {}", log.display()));
    tokio::time::timeout(READY_WITHIN, ready).await.map_err(late)??;
    Ok(child)
}

/// A fast shutdown.
async fn stop(child: &mut Child) -> Result<(), Failure> {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGINT); // gone already is as good
    }
    child.wait().await.map(drop).map_err(|error| Failure::new(format!("cannot stop the database: {error}")))
}

fn page(report: &Report) -> String {
    let settings: Vec<String> = report.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let row = |one: &Measurement| {
        let latency = one.latency.map(|summary| [summary.p50_us, summary.p99_us, summary.max_us].map(ms));
        let [p50, p99, max] = latency.unwrap_or_else(|| ["-"; 3].map(str::to_owned));
        let cpu = |name: &str| {
            let row = one.cpu.iter().find(|row| row.name == name).and_then(|row| row.us_per_order);
            row.map_or("?".to_owned(), |us| format!("{us:.1}"))
        };
        let figures = [p50, p99, max, cpu("postgres"), cpu("pgbench")];
        let name = vec![one.variant.name().to_owned(), one.workload.to_string(), one.clients.to_string()];
        let rate = thousands(one.orders_per_second.round() as u64);
        name.into_iter().chain([rate]).chain(figures).collect()
    };
    let headers =
        ["baseline", "workload", "clients", "orders/s", "p50 ms", "p99 ms", "max ms", "postgres us", "pgbench us"];
    let rows = report.measurements.iter().map(row).collect();
    format!("{}\n\n{}", settings.join(", "), table(&headers, &[2, 3, 4, 5, 6, 7, 8], rows))
}
