//! The gRPC server that every service runs: its own services, health, and reflection.
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

use crate::front::Front;

/// Largest message that is read: a batch of large orders.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// How long calls under way may keep a server that was told to stop; a client that keeps a stream open must not keep the
/// process.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// Why a server could not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}; is another process using the port?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Serving failed.
    #[error("serving failed: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// Reflection could not be built from the descriptors.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Signals can't be listened for.
    #[error("signals: {0}")]
    Signal(#[from] std::io::Error),
}

/// Serves until SIGTERM or SIGINT. `front` is the service that most calls are for; `services` names it and those in `routes`, for
/// the health service.
pub async fn serve<S>(address: SocketAddr, front: S, routes: Routes, services: &[&str]) -> Result<(), ServeError>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + NamedService,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in services {
        health.set_service_status(*service, tonic_health::ServingStatus::Serving).await;
    }
    let names: Vec<String> = services.iter().map(|name| (*name).to_owned()).collect();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = routes
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stopping, stop) = tokio::sync::oneshot::channel();
    let stopped = async move {
        tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () }
        for service in names.iter().map(String::as_str).chain([""]) {
            health.set_service_status(service, tonic_health::ServingStatus::NotServing).await;
        }
        // The receiver is dropped only when the server has ended by itself.
        let _ = stopping.send(());
    };
    tracing::info!(%address, "serving");
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .layer(tower::util::MapResponseLayer::new(crate::explained::explain))
        .layer(Front(front))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stopped);
    let overdue = async {
        match stop.await {
            Ok(()) => tokio::time::sleep(STOP_WITHIN).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        served = server => Ok(served?),
        () = overdue => Ok(()),
    }
}
