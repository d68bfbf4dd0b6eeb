//! The HTTP face: what a shop calls, and what tests and people tell the gateway.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::book::{Answer, Book, Call, Payment};
use crate::misbehaviour::{Fate, Misbehaviour, happens};
use crate::webhooks::Webhooks;

/// An answer that is lost: nobody waits so long.
const NEVER: Duration = Duration::from_secs(30);

/// The gateway; clones share it.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// What it did.
    pub book: Arc<Mutex<Book>>,
    /// How it misbehaves now.
    pub misbehaviour: Arc<Mutex<Misbehaviour>>,
    /// Where it tells what it did.
    pub webhooks: Option<Arc<Webhooks>>,
}

/// All routes.
pub fn routes(gateway: Gateway) -> Router {
    Router::new()
        .route("/v1/payments", post(authorise))
        .route("/v1/payments/{id}/{operation}", post(operate))
        .route("/admin/misbehaviour", put(misbehave))
        .route("/admin/payments", get(payments))
        .with_state(gateway)
}

type Answered = (StatusCode, Json<Value>);

#[derive(Debug, Deserialize)]
struct NewPayment {
    reference: String,
    source: String,
    amount_minor: i64,
    currency: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Amount {
    amount_minor: i64,
}

async fn authorise(State(gateway): State<Gateway>, headers: HeaderMap, Json(new): Json<NewPayment>) -> Answered {
    let NewPayment { reference, source, amount_minor, currency } = new;
    let is_declined = source.starts_with("declined") || happens(lock(&gateway.misbehaviour).declined_percent);
    gateway.call(&headers, Call::Authorise { reference, source, amount_minor, currency }, is_declined).await
}

async fn operate(
    State(gateway): State<Gateway>,
    Path((id, operation)): Path<(String, String)>,
    headers: HeaderMap,
    Json(Amount { amount_minor }): Json<Amount>,
) -> Answered {
    let call = match operation.as_str() {
        "capture" => Call::Capture { id, amount_minor },
        "void" => Call::Void { id },
        "refund" => Call::Refund { id, amount_minor },
        _ => return failed(StatusCode::NOT_FOUND, "unknown_operation"),
    };
    gateway.call(&headers, call, false).await
}

async fn misbehave(State(gateway): State<Gateway>, Json(misbehaviour): Json<Misbehaviour>) -> Json<Misbehaviour> {
    *lock(&gateway.misbehaviour) = misbehaviour;
    Json(misbehaviour)
}

async fn payments(State(gateway): State<Gateway>) -> Json<Vec<Payment>> {
    Json(lock(&gateway.book).payments().cloned().collect())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(status: StatusCode, code: &str) -> Answered {
    (status, Json(json!({"error": {"code": code, "message": code.replace('_', " ")}})))
}

impl Gateway {
    async fn call(&self, headers: &HeaderMap, call: Call, is_declined: bool) -> Answered {
        let Some(key) = headers.get("idempotency-key").and_then(|key| key.to_str().ok()) else {
            return failed(StatusCode::BAD_REQUEST, "no_idempotency_key");
        };
        let misbehaviour = *lock(&self.misbehaviour);
        let fate = misbehaviour.fate();
        match fate {
            Fate::Down => return failed(StatusCode::SERVICE_UNAVAILABLE, "down"),
            Fate::Error => return failed(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
            Fate::Well | Fate::ErrorAfter | Fate::Lost | Fate::Unknown => (),
        }
        // Slow before it is done, or after it.
        let (before, after) = match happens(50) {
            true => (misbehaviour.pause(), Duration::ZERO),
            false => (Duration::ZERO, misbehaviour.pause()),
        };
        tokio::time::sleep(before).await;
        let done = lock(&self.book).carry_out(key, call, is_declined);
        let Ok((Answer { status, body }, changed)) = done else {
            return failed(StatusCode::INTERNAL_SERVER_ERROR, "store_failed");
        };
        if let (Some(payment), Some(webhooks)) = (changed, &self.webhooks) {
            webhooks.clone().tell(payment, misbehaviour);
        }
        tokio::time::sleep(after).await;
        match fate {
            Fate::ErrorAfter => failed(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
            Fate::Lost => {
                tokio::time::sleep(NEVER).await;
                failed(StatusCode::GATEWAY_TIMEOUT, "lost")
            }
            Fate::Unknown => (StatusCode::ACCEPTED, Json(json!({"status": "unknown"}))),
            Fate::Well | Fate::Down | Fate::Error => {
                (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(body))
            }
        }
    }
}
