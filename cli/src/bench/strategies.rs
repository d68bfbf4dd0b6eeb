//! `assent bench strategies`: the ways of holding stock against each other, each in a development system of its own.
mod locks;
mod system;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bench::ask::PlaceOrder;
use bench::cpu::Watch;
use bench::latency::Summary;
use bench::shop::{Plan, Shop, Workload};
use bench::{Caller, closed_loop, setup};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use proto::assent::inventory::v1::GetStrategyRequest;
use proto::assent::order::v1::OrderMode;
use serde::Serialize;

use super::{load, ms, spinner};
use crate::client::Services;
use crate::dev::STRATEGIES;
use crate::failure::{Call, Failure};
use crate::output::{Output, table, thousands};

/// What they differ in: whether orders want the same.
const WORKLOADS: [&str; 2] = ["uniform", "hot"];

/// Place the same orders under each strategy of holding stock, uniform and on one hot SKU
#[derive(Debug, clap::Args)]
pub struct Strategies {
    /// Which strategies
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', default_values = STRATEGIES,
          value_parser = PossibleValuesParser::new(STRATEGIES))]
    strategies: Vec<String>,
    /// Which workloads: all SKUs alike, or one of them in every order
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', default_values = WORKLOADS,
          value_parser = PossibleValuesParser::new(WORKLOADS).try_map(|name| name.parse::<Workload>()))]
    workloads: Vec<Workload>,
    /// How many clients
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// How long orders are counted, for each strategy and workload
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How long orders are placed before any is counted
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    warm_up_seconds: u64,
    /// How many SKUs there are
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    skus: u32,
    /// How many orders the inventory holds side by side, under every strategy but escrow
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    writers: u16,
    /// Where the systems are made, each anew
    #[arg(long, value_name = "DIR", default_value = ".assent-strategies")]
    data_dir: PathBuf,
    /// First port of the systems: they take it and the next 13; the lock servers take the 20th and 21st after it
    #[arg(long, value_name = "PORT", default_value_t = 7500, value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    port_base: u16,
}

#[derive(Debug, Serialize)]
struct Report {
    clients: u16,
    measured_seconds: u64,
    measurements: Vec<Measurement>,
    /// Which strategies were left out, and why.
    skipped: Vec<String>,
}

/// One strategy under one workload.
#[derive(Debug, Serialize)]
struct Measurement {
    strategy: String,
    workload: String,
    orders_per_second: f64,
    /// Of those that were confirmed; none if none was.
    latency: Option<Summary>,
    /// Given up or in doubt.
    not_placed: u64,
    /// How often stock was read, or a lock asked for, once more, for each order that was confirmed.
    retries_per_order: f64,
    /// How often a lock was lost.
    fenced: i64,
}

impl Strategies {
    /// Runs the verb.
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        let doing = spinner();
        let mut report = Report {
            clients: self.clients,
            measured_seconds: self.seconds,
            measurements: Vec::new(),
            skipped: Vec::new(),
        };
        for strategy in &self.strategies {
            doing.set_message(format!("{strategy}: starting a system"));
            let locks = match locks::start(strategy, self.port_base + 20, &self.data_dir).await {
                Ok(locks) => locks,
                Err(failure) => {
                    report.skipped.push(format!("{strategy}: {}", failure.message));
                    continue;
                }
            };
            let folder = self.data_dir.join(strategy);
            let system = system::start(strategy, self.writers, &locks.flags, &folder, self.port_base).await?;
            for workload in &self.workloads {
                doing.set_message(format!("{strategy}, {workload}"));
                let measured = self.measure(strategy, *workload, &system.services).await;
                match measured {
                    Ok(measurement) => report.measurements.push(measurement),
                    Err(failure) => {
                        system.stop().await?;
                        return Err(failure);
                    }
                }
            }
            system.stop().await?;
        }
        doing.finish_and_clear();
        output.print(&report, page)
    }

    async fn measure(&self, strategy: &str, workload: Workload, services: &Services) -> Result<Measurement, Failure> {
        let plan = Plan {
            run: format!("bench-{workload}"),
            workload,
            skus: self.skus as usize,
            accounts: 256,
            lines: 1,
            refused_percent: 0,
            baskets: Arc::default(),
            mode: OrderMode::Atomic,
        };
        let shop = Arc::new(Shop::new(&plan).map_err(Failure::usage)?);
        let caller =
            Caller { client_id: services.client_id.clone(), timeout: Duration::from_millis(services.timeout_ms) };
        let ready = setup::run(services.stock().await?, services.accounts().await?, &caller, &shop).await;
        ready.map_err(|failed| Failure {
            message: failed.to_string(),
            ..Failure::of_status(&failed.status, Call::Write)
        })?;
        let coordinator = &services.coordinator;
        let connections = [load::connect(coordinator, &caller).await?, load::connect(coordinator, &caller).await?];
        let asks = PlaceOrder::over(&connections, &shop);
        let warm_up = closed_loop::Settings {
            clients: usize::from(self.clients),
            warm_up: Duration::ZERO,
            measured: Duration::from_secs(self.warm_up_seconds),
        };
        closed_loop::run(&asks, warm_up, &Watch(Vec::new())).await;
        let before = counters(services).await?;
        let settings = closed_loop::Settings { measured: Duration::from_secs(self.seconds), ..warm_up };
        let (seen, _) = closed_loop::run(&asks, settings, &Watch(Vec::new())).await;
        let after = counters(services).await?;
        let counts = &seen.counts;
        let sum = |reasons: &bench::outcome::Reasons| reasons.values().sum::<u64>();
        Ok(Measurement {
            strategy: strategy.to_owned(),
            workload: workload.to_string(),
            orders_per_second: counts.confirmed as f64 / self.seconds as f64,
            latency: seen.confirmed.summary(),
            not_placed: sum(&counts.refused) + sum(&counts.aborted) + sum(&counts.unknown) + sum(&counts.failed),
            retries_per_order: (after.0 - before.0) as f64 / counts.confirmed.max(1) as f64,
            fenced: after.1 - before.1,
        })
    }
}

/// Retries, and locks that were lost.
async fn counters(services: &Services) -> Result<(i64, i64), Failure> {
    let request = services.request(GetStrategyRequest {});
    let told = services.stock().await?.get_strategy(request).await;
    let told = told.map_err(|status| Failure::of_status(&status, Call::Read))?.into_inner();
    Ok((told.retry_count, told.fenced_count))
}

fn page(report: &Report) -> String {
    let row = |one: &Measurement| {
        let latency = |pick: fn(&Summary) -> u64| one.latency.as_ref().map_or("-".to_owned(), |all| ms(pick(all)));
        vec![
            one.strategy.clone(),
            one.workload.clone(),
            thousands(one.orders_per_second.round() as u64),
            latency(|all| all.p50_us),
            latency(|all| all.p99_us),
            format!("{:.2}", one.retries_per_order),
            thousands(one.not_placed),
        ]
    };
    let headers = ["strategy", "workload", "orders/s", "p50 ms", "p99 ms", "retries/order", "not placed"];
    let mut text = table(&headers, &[2, 3, 4, 5, 6], report.measurements.iter().map(row).collect());
    text += &format!("\n\n{} clients, closed loop, {} s each", report.clients, report.measured_seconds);
    for skipped in &report.skipped {
        text += &format!("\nleft out: {skipped}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_said() {
        let measurement = Measurement {
            strategy: "escrow".to_owned(),
            workload: "hot".to_owned(),
            orders_per_second: 1_234.4,
            latency: None,
            not_placed: 0,
            retries_per_order: 0.5,
            fenced: 0,
        };
        let skipped = vec!["redis-lock: no redis-server is installed here".to_owned()];
        let report = Report { clients: 4, measured_seconds: 1, measurements: vec![measurement], skipped };
        let page = page(&report);
        assert!(page.contains("1,234") && page.contains("0.50") && page.contains("left out: redis-lock"), "{page}");
    }
}
