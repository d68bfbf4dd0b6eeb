//! ParticipantService as a service serves it, but cut off: its writers have stopped and its database is closed. What is
//! valid is answered with UNAVAILABLE, and what is not with what is wrong about it, so fuzzers can call it as fast as
//! they like.
use std::sync::Arc;

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::runtime::Runtime;
use tonic::service::Routes;

use crate::log::Log;
use crate::run::{Context, participant_service};
use crate::writers::Writers;
use crate::{Pool, Resource};

/// A pool that answers every use at once with an error.
pub fn closed_pool() -> Pool {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let pool = PgPool::connect_lazy_with(PgConnectOptions::new());
        pool.close().await;
        Pool::from(pool)
    })
}

/// The routes of a participant that is cut off.
pub fn face<R: Resource>(resource: R, own_services: impl FnOnce(&Context<R>, Routes) -> Routes) -> Routes {
    let (resource, pool) = (Arc::new(resource), closed_pool());
    // Their tasks end with this runtime, and then they take nothing any more.
    let runtime = Runtime::new().unwrap();
    let writers = runtime.block_on(async { Writers::start(&resource, &PgConnectOptions::new()) });
    drop(runtime);
    let participant =
        participant_service(resource.clone(), resource.name().to_owned(), writers, Log::new(pool.clone()));
    own_services(&Context { resource, pool }, Routes::new(participant))
}
