//! The inventory service: stock with holds, as a participant of orders.
mod changes;
mod config;
mod courier;
mod domain;
mod feed;
mod grpc;
mod reads;
mod resource;
mod store;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser;
use participant::{Context, crash_point};

use crate::config::Args;

pub use grpc::add_services;
pub use resource::Inventory;

/// Runs the service by the command line of its process, until it is told to stop.
pub async fn run() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--list-crash-points") {
        crash_point::SHARED.iter().chain(crash_point::PARTICIPANT).for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    match serve(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inventory-svc: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let strategy = store::strategy::of(args.strategy, &args.locks.into())?;
    let waitlist = args.waitlist.defaults(&args.reservations);
    let feed = feed::Feed::new(args.feed.settings());
    let database = participant::postgres::connect_options(&args.participant.service.database_url, "inventory feed")?;
    let inventory = Inventory {
        strategy,
        writers: args.writers.into(),
        reservations: args.reservations.into(),
        waitlist,
        feed: feed.clone(),
        reads: args.reads.settings()?,
    };
    let coordinators = args.participant.coordinators.clone();
    let add_services = |context: &Context<Inventory>, routes| {
        tokio::spawn(store::reservations::expire_all(context.pool.clone()));
        tokio::spawn(courier::deliver_all(context.pool.clone(), coordinators));
        if let Err(error) = feed.start(args.listen.to_string(), database) {
            tracing::error!(%error, "the feed can't be started");
        }
        grpc::add_services(context, routes)
    };
    participant::run(args.listen, args.participant, inventory, store::migrator(), add_services, grpc::SERVICES).await
}
