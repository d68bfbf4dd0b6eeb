//! The order service: orders and their lines, as a participant of the transactions that place them.
mod config;
mod domain;
mod grpc;
mod resource;
mod store;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser;
use participant::crash_point;

use crate::config::Args;

pub use domain::{Branch, Line};
pub use grpc::add_services;
pub use resource::Orders;
pub use store::lines;

/// Runs the service by the command line of its process, until it is told to stop.
pub async fn run() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--list-crash-points") {
        crash_point::SHARED.iter().chain(crash_point::PARTICIPANT).for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let Args { listen, participant, .. } = Args::parse();
    let ended =
        participant::run(listen, participant, Orders, store::migrator(), grpc::add_services, grpc::SERVICES).await;
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("order-svc: {error:#}");
            ExitCode::FAILURE
        }
    }
}
