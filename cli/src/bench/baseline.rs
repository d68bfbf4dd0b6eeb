//! `assent bench baseline`: the same orders in one Postgres, on a cluster of its own.
use std::path::PathBuf;
use std::time::Duration;

use bench::baseline::{self, Measurement, Settings, Variant};
use bench::shop::Plan;
use bench::store::statistics::Written;
use serde::Serialize;

use super::bought::Bought;
use super::cluster::Running;
use super::{ms, spinner};
use crate::failure::Failure;
use crate::mode::Mode;
use crate::output::{Output, table, thousands};

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
    #[command(flatten)]
    bought: Bought,
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
        let plan = self.bought.plan("baseline".to_owned(), Mode::Atomic)?;
        let doing = spinner();
        doing.set_message("making a database");
        let cluster = Running::start(&self.data_dir, "baseline", self.port).await?;
        let measured = self.measure(&cluster, &plan, |what| doing.set_message(what)).await;
        doing.finish_and_clear();
        cluster.stop().await?;
        output.print(&measured?, page)
    }

    async fn measure(&self, cluster: &Running, plan: &Plan, now: impl Fn(String)) -> Result<Report, Failure> {
        let settings = cluster.server.durability().await.map_err(Failure::new)?;
        let mut measurements = Vec::new();
        for clients in &self.clients {
            for variant in Variant::ALL {
                now(format!("{}, {clients} clients", variant.name()));
                let settings = Settings {
                    variant,
                    plan: plan.clone(),
                    clients: usize::from(*clients),
                    warm_up: Duration::from_secs(self.warm_up_seconds),
                    measured: Duration::from_secs(self.seconds),
                };
                let measured = baseline::measure(&cluster.server, &cluster.folder, &settings).await;
                measurements.push(measured.map_err(Failure::new)?);
            }
        }
        Ok(Report { settings, measurements })
    }
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
        let written = |digits: usize, figure: fn(&Written) -> Option<f64>| {
            one.written.as_ref().and_then(figure).map_or("?".to_owned(), |figure| format!("{figure:.digits$}"))
        };
        let wal = written(0, |written| Some(written.wal_bytes_per_order));
        let syncs = written(2, |written| written.syncs_per_order);
        let figures = [p50, p99, max, cpu("postgres"), cpu("pgbench"), wal, syncs];
        let name = vec![one.variant.name().to_owned(), one.workload.to_string(), one.clients.to_string()];
        let rate = thousands(one.orders_per_second.round() as u64);
        name.into_iter().chain([rate]).chain(figures).collect()
    };
    let headers = [
        "baseline",
        "workload",
        "clients",
        "orders/s",
        "p50 ms",
        "p99 ms",
        "max ms",
        "postgres us",
        "pgbench us",
        "wal bytes",
        "syncs",
    ];
    let rows = report.measurements.iter().map(row).collect();
    format!("{}\n\n{}", settings.join(", "), table(&headers, &[2, 3, 4, 5, 6, 7, 8, 9, 10], rows))
}
