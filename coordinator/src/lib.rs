//! The coordinator: drives orders across their participants, and finishes what others left in doubt.
mod admission;
mod change;
mod collect;
mod config;
mod content;
mod coordinator;
mod crash;
mod domain;
mod grpc;
mod owner;
mod participants;
mod recover;
mod rounds;
mod saga;
mod store;
#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use participant::{metrics, postgres, server, telemetry};
use uuid::Uuid;

pub use config::Args;
pub use coordinator::Coordinator;
pub use domain::{Line as OrderLine, Order};
pub use grpc::{order_service, other_services, read_lines};
pub use participants::{Participants, branches};
pub use store::Store;

/// Connections for reads.
const READERS: u32 = 8;
/// How long a graceful stop waits for attempts and recoveries under way.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Runs the coordinator by the command line of its process, until it is told to stop.
pub async fn run() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("--list-crash-points") {
        crash::all().for_each(|name| println!("{name}"));
        return Ok(());
    }
    let args = Args::parse();
    telemetry::init(args.service.log_format);
    let coordinator = start(args).await?;
    let superseded = {
        let coordinator = coordinator.clone();
        async move {
            recover::keep_lease(coordinator.clone()).await;
            anyhow::bail!(
                "another process has taken the name {:?}; give each coordinator a --name of its own",
                coordinator.args.name
            )
        }
    };
    tokio::spawn(recover::take_over(coordinator.clone()));
    tokio::spawn(saga::take_over(coordinator.clone()));
    tokio::spawn(collect::collect(coordinator.clone()));
    if let Some(listen) = coordinator.args.service.metrics {
        let store = coordinator.store.clone();
        let in_doubt = move || {
            let store = store.clone();
            async move { store.in_doubt().await }
        };
        tokio::spawn(metrics::serve(listen, in_doubt));
    }
    let (orders, others) = (grpc::order_service(&coordinator), grpc::other_services(&coordinator));
    let serving = server::serve(coordinator.args.listen, orders, others, grpc::SERVICES);
    let ended = tokio::select! {
        served = serving => served.map_err(anyhow::Error::from),
        superseded = superseded => superseded,
    };
    stop(&coordinator).await;
    ended
}

/// Connects, migrates, takes the lease.
async fn start(args: Args) -> anyhow::Result<Arc<Coordinator>> {
    let owner_id = Uuid::now_v7().to_string();
    let url = &args.service.database_url;
    let pool = postgres::connect_pool(url, &args.name, READERS, args.service.database_wait())
        .await
        .context("can't connect to the coordinator's Postgres; see --database-url")?;
    Store::migrate(&pool).await.context("can't bring the coordinator's database up to date")?;
    let participants = Participants::start(&args.participants)?;
    let store = Store::start(pool, postgres::connect_options(url, &args.name)?);
    let wait = args.service.database_wait();
    let coordinator = Coordinator::new(args, &owner_id, store, participants);
    recover::take_lease(&coordinator, wait).await.context("can't take the lease")?;
    tracing::info!(name = coordinator.args.name, owner_id = &*coordinator.owner_id, "coordinator");
    Ok(coordinator)
}

/// Lets what is under way come to its end, for a while; recovery does the rest.
async fn stop(coordinator: &Coordinator) {
    coordinator.tasks.close();
    coordinator.sagas.stop();
    if tokio::time::timeout(STOP_WITHIN, coordinator.tasks.wait()).await.is_err() {
        tracing::warn!(left = coordinator.tasks.len(), "stopping with work under way; it will be recovered");
    }
    if let Err(error) = coordinator.store.end_lease(&coordinator.args.name, &coordinator.owner_id).await {
        tracing::debug!(%error, "the lease was not given up; it runs out by itself");
    }
}
