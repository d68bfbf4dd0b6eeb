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
use crate::resource::Orders;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// One thread: the work is moving messages between queues, and a second thread costs more than it brings.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
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
