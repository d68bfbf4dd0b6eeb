//! A participant's process, from its flags to its end.
use std::net::SocketAddr;
use std::sync::Arc;

use sqlx::PgPool;
use sqlx::migrate::Migrator;
use tonic::service::Routes;

use crate::{ParticipantArgs, Resource};

/// What a service's own gRPC face is built from.
#[derive(Clone)]
pub struct Context<R> {
    /// The service.
    pub resource: Arc<R>,
    /// Connections to its database, for reads and for writes outside transactions of the protocol.
    pub pool: PgPool,
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
    let _ = (listen, args, resource, migrator, own_services, own_names);
    anyhow::bail!("not written yet")
}
