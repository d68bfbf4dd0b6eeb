//! A participant's process, from its flags to its end.
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use proto::assent::transaction::v1::participant_service_server::ParticipantServiceServer;
use sqlx::migrate::Migrator;
use tonic::service::Routes;

use crate::log::Log;
use crate::sweeper::Sweeper;
use crate::writers::Writers;
use crate::{ParticipantArgs, Pool, Resource, collector, grpc, metrics, postgres, server, telemetry};

/// Connections for reads and for a service's own writes.
const CONNECTIONS: u32 = 8;

/// What a service's own gRPC face is built from.
#[derive(Clone)]
pub struct Context<R> {
    /// The service.
    pub resource: Arc<R>,
    /// Connections to its database, for reads and for writes outside transactions of the protocol.
    pub pool: Pool,
}

/// ParticipantService of a service that coordinators know by this name, on its log and its log's writers.
pub(crate) fn participant_service<R: Resource>(
    resource: Arc<R>,
    name: String,
    writers: Writers<R>,
    log: Log,
) -> ParticipantServiceServer<grpc::Participant<R>> {
    ParticipantServiceServer::new(grpc::Participant::new(resource, name, writers, log))
        .max_decoding_message_size(server::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(server::MAX_MESSAGE_BYTES)
}

/// Runs a participant until it is told to stop: migrates its database, then serves ParticipantService, what
/// `own_services` adds, health and reflection, and sweeps and collects in the background.
///
/// `own_names` are the full names of the services that `own_services` adds.
pub async fn run<R: Resource>(
    listen: SocketAddr,
    args: ParticipantArgs,
    resource: R,
    migrator: Migrator,
    own_services: impl FnOnce(&Context<R>, Routes) -> Routes,
    own_names: &[&str],
) -> anyhow::Result<()> {
    telemetry::init(args.service.log_format);
    let (url, name) = (args.service.database_url.clone(), resource.name());
    let pool = postgres::connect_pool(&url, name, CONNECTIONS, args.service.database_wait())
        .await
        .context("can't connect to the service's Postgres; see --database-url")?;
    Log::migrate(&pool).await.context("can't bring the log's schema up to date")?;
    postgres::migrate(&pool, migrator, "_service_migrations")
        .await
        .context("can't bring the service's schema up to date")?;
    let (resource, log) = (Arc::new(resource), Log::new(pool.clone()));
    // Before the first row comes, so that it is in one.
    collector::make_partitions(&args, &log).await;
    let writers = Writers::start(&resource, &postgres::connect_options(&url, name)?);
    if let Some(listen) = args.service.metrics {
        let log = log.clone();
        let in_doubt = move || {
            let log = log.clone();
            async move { log.in_doubt().await }
        };
        tokio::spawn(metrics::serve(listen, in_doubt));
    }
    tokio::spawn(Sweeper::new(&args, log.clone(), writers.clone())?.sweep());
    let own_name = args.participant_name.clone().unwrap_or_else(|| name.to_owned());
    tokio::spawn(collector::collect(args, log.clone(), pool.clone()));
    let participant = participant_service(resource.clone(), own_name, writers, log);
    let routes = own_services(&Context { resource, pool }, Routes::default());
    let names: Vec<&str> = own_names.iter().copied().chain([grpc::SERVICE]).collect();
    Ok(server::serve(listen, participant, routes, &names).await?)
}
