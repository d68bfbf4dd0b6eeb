//! `assent bench`: figures of a running system under load, and of one database alone to hold them against.
mod baseline;
mod bought;
mod cluster;
mod compare;
mod endurance;
mod growth;
mod load;
mod local;
mod orders;
mod overload;
mod recovery;
mod strategies;
mod system;
mod whole;

use std::time::Duration;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use crate::client::Services;
use crate::failure::Failure;
use crate::output::Output;

/// Measure a running system under load, and one database alone
#[derive(Debug, Subcommand)]
pub enum Bench {
    Orders(orders::Orders),
    Baseline(baseline::Baseline),
    Overload(overload::OverloadVerb),
    Compare(compare::Compare),
    Strategies(strategies::Strategies),
    Growth(growth::Growth),
    Endurance(endurance::EnduranceVerb),
    Recovery(recovery::Recovery),
}

impl Bench {
    /// Runs the verb. Must be called on the thread that lives as long as the process (see [`crate::dev::spawn::bound`]).
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        match self {
            Bench::Orders(orders) => orders.run(services, output).await,
            Bench::Baseline(baseline) => baseline.run(output).await,
            Bench::Overload(overload) => overload.run(services, output).await,
            Bench::Compare(compare) => compare.run(services, output).await,
            Bench::Strategies(strategies) => strategies.run(output).await,
            Bench::Growth(growth) => growth.run(services, output).await,
            Bench::Endurance(endurance) => endurance.run(services, output).await,
            Bench::Recovery(recovery) => recovery.run(services, output).await,
        }
    }
}

/// What goes on, on stderr, if that is a terminal.
fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::new_spinner().with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A latency in milliseconds, as printed.
fn ms(us: u64) -> String {
    format!("{:.2}", us as f64 / 1_000.0)
}
