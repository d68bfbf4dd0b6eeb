//! The `assent` command: starts a system, places orders, and looks into it. It talks gRPC only.
mod account;
mod backorder;
mod bench;
mod client;
mod dev;
mod doctor;
mod failure;
mod health;
mod mode;
pub mod money;
mod order;
mod output;
mod participant;
mod payment;
mod reconcile;
mod replay;
mod reservation;
mod stock;
mod tx;
mod waitlist;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use client::Services;
use failure::Failure;
use output::Output;

pub use order::Line as OrderLine;
pub use replay::Plan as ReplayPlan;

/// Atomic orders over inventory, order and payment services
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 outcome unknown.
#[derive(Debug, Parser)]
#[command(name = "assent", version, max_term_width = 100)]
struct Cli {
    /// The form of the data on stdout
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    services: Services,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Dev(dev::Dev),
    #[command(name = dev::child::VERB)]
    DevChild(dev::child::Child),
    #[command(subcommand)]
    Order(order::Order),
    #[command(subcommand)]
    Stock(stock::Stock),
    #[command(subcommand)]
    Reservation(reservation::Reservation),
    #[command(subcommand)]
    Backorder(backorder::Backorder),
    #[command(subcommand)]
    Waitlist(waitlist::Waitlist),
    #[command(subcommand)]
    Account(account::Account),
    #[command(subcommand)]
    Payment(payment::Payment),
    #[command(subcommand)]
    Tx(tx::Tx),
    #[command(subcommand)]
    Participant(participant::Participant),
    Doctor(doctor::Doctor),
    Reconcile(reconcile::Reconcile),
    Replay(replay::Replay),
    #[command(subcommand)]
    Bench(bench::Bench),
    Health(health::Health),
}

/// Carries out the command line of the process.
pub fn run() -> ExitCode {
    match parse().and_then(carry_out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.line());
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// The command line; help and the like end the process here.
fn parse() -> Result<Cli, Failure> {
    Cli::try_parse().map_err(|error| match error.kind() {
        _ if !error.use_stderr() => error.exit(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        _ => usage(&error.render().to_string()),
    })
}

/// What clap says in paragraphs, in one line.
fn usage(said: &str) -> Failure {
    let told = said.split("\n\n").filter(|part| !part.starts_with("Usage:") && !part.starts_with("For more"));
    let told: Vec<&str> = told.map(str::trim).collect();
    let message = told.join("; ");
    Failure::usage(message.trim_start_matches("error: ")).hint("--help explains it")
}

fn carry_out(cli: Cli) -> Result<(), Failure> {
    let Cli { output, services, verb } = cli;
    if let Verb::DevChild(child) = verb {
        return child.run();
    }
    let runtime = match verb {
        // Dev: the kernel ties the children to the thread that starts them. Bench: one thread makes load enough, and
        // leaves the other processors to what is measured.
        Verb::Dev(_) | Verb::Bench(_) => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        _ => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
    };
    let runtime = runtime.map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        match verb {
            Verb::Order(verb) => verb.run(&services, output).await,
            Verb::Stock(verb) => verb.run(&services, output).await,
            Verb::Reservation(verb) => verb.run(&services, output).await,
            Verb::Backorder(verb) => verb.run(&services, output).await,
            Verb::Waitlist(verb) => verb.run(&services, output).await,
            Verb::Account(verb) => verb.run(&services, output).await,
            Verb::Payment(verb) => verb.run(&services, output).await,
            Verb::Tx(verb) => verb.run(&services, output).await,
            Verb::Participant(verb) => verb.run(&services, output).await,
            Verb::Doctor(verb) => verb.run(&services, output).await,
            Verb::Reconcile(verb) => verb.run(&services, output).await,
            Verb::Replay(verb) => verb.run(&services, output).await,
            Verb::Health(verb) => verb.run(output, services.timeout_ms).await,
            Verb::Bench(verb) => verb.run(&services, output).await,
            Verb::Dev(dev) => dev.run(output).await,
            Verb::DevChild(_) => Ok(()), // done above
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_wrong_command_line_is_one_line() {
        let said = |line: &str| {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            usage(&error.render().to_string()).line()
        };
        let line = said("assent order place --account a");
        assert!(line.contains("--line <SKU:QTY@PRICE>") && !line.contains('\n'), "{line}");
        let line = said("assent order place --account a --line X:0@1");
        assert!(line.contains("the quantity 0 is not at least 1") && !line.contains("Usage"), "{line}");
        assert!(said("assent stock gett X").contains("get"));
    }
}
