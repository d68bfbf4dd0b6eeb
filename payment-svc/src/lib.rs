//! The payment service: accounts with a double-entry ledger, as a participant of orders.
mod config;
mod domain;
mod grpc;
mod provider;
mod resource;
mod store;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser;
use participant::{Context, crash_point};

use crate::config::{Args, ProviderName};
use crate::provider::Provider;
use crate::provider::gateway::Gateway;
use crate::provider::ledger::Ledger;

pub use domain::Authorisation;
pub use grpc::add_services;
pub use resource::Payments;

/// Runs the service by the command line of its process, until it is told to stop.
pub async fn run() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--list-crash-points") {
        crash_point::SHARED.iter().chain(crash_point::PARTICIPANT).for_each(|name| println!("{name}"));
        // Those of a process with a gateway; another one never passes them.
        if std::env::var("ASSENT_PROVIDER").as_deref() == Ok("gateway") {
            provider::gateway::CRASH_POINTS.iter().for_each(|name| println!("{name}"));
        }
        return ExitCode::SUCCESS;
    }
    match serve(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("payment-svc: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: Args) -> anyhow::Result<()> {
    match args.provider.provider {
        ProviderName::Ledger => serve_with(args, Ledger).await,
        ProviderName::Gateway => {
            let gateway = Gateway::new(args.provider.clone().into());
            serve_with(args, gateway).await
        }
    }
}

async fn serve_with<P: Provider>(args: Args, provider: P) -> anyhow::Result<()> {
    let payments = Payments { validity_ms: args.authorisation_validity_ms, provider };
    let add_services = |context: &Context<Payments<P>>, routes| {
        tokio::spawn(store::expiry::expire_all(context.pool.clone(), context.resource.clone()));
        context.resource.provider.start(&context.pool, &context.resource);
        grpc::add_services(context, routes)
    };
    participant::run(args.listen, args.participant, payments, store::migrator(), add_services, grpc::SERVICES).await
}
