//! What the gateway says by itself. It is a hint that something has happened to a payment: its calls are made again at once,
//! and what they answer counts. So a webhook that comes twice, late, or out of order does no harm, nor one that lies.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use participant::{Pool, clock};
use serde::Deserialize;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{Gateway, signature};
use crate::Payments;
use crate::store::calls;

const MAX_BODY_BYTES: usize = 64 * 1024;

#[derive(Debug, Deserialize)]
struct Event {
    /// What we named the payment when we asked for it.
    reference: String,
}

#[derive(Clone)]
struct Hook {
    secret: Arc<str>,
    pool: Pool,
    payments: Arc<Payments<Gateway>>,
}

/// Listens for webhooks, forever. Without them all goes on, only later: so a port that is taken stops nothing.
pub async fn serve(listen: SocketAddr, secret: String, pool: Pool, payments: Arc<Payments<Gateway>>) {
    let hook = Hook { secret: secret.into(), pool, payments };
    let routes =
        Router::new().route("/webhooks", post(receive)).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(hook);
    loop {
        let ended = match TcpListener::bind(listen).await {
            Ok(listener) => axum::serve(listener, routes.clone()).await,
            Err(error) => Err(error),
        };
        tracing::error!(%listen, error = ?ended.err(), "webhooks of the gateway can't be listened for; trying again");
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

async fn receive(State(hook): State<Hook>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signed = headers.get("gateway-signature").and_then(|header| header.to_str().ok()).unwrap_or_default();
    if !signature::is_valid(&hook.secret, signed, &body, clock::now_unix_ms() / 1_000) {
        tracing::warn!("a webhook is not signed by the gateway, or long ago; see --gateway-webhook-secret");
        return StatusCode::UNAUTHORIZED;
    }
    let event: Option<Event> = serde_json::from_slice(&body).ok();
    let Some(payment_id) = event.and_then(|event| Uuid::try_parse(&event.reference).ok()) else {
        return StatusCode::BAD_REQUEST;
    };
    hook.payments.provider.tell(payment_id);
    match calls::hasten(&hook.pool, payment_id).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(error) => {
            tracing::debug!(%error, "a webhook can't be followed now");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}
