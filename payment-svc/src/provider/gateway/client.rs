//! The gateway's HTTP API, in the style of today's: JSON, an `Idempotency-Key` with every call, so that a repeat is told what
//! the first one did.
//!
//! | Call | Answers |
//! |---|---|
//! | `POST /v1/payments` `{reference, source, amount_minor, currency}` | 200 `{id}`; 402 `{error: {code, message}}`: declined |
//! | `POST /v1/payments/ID/capture` or `/refund` `{amount_minor}`, `/void` `{}` | 200; 4xx `{error}` |
//!
//! Anything else (202, 5xx, no answer in time) is not known, and is asked again with the same key.
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prost::bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::domain::Authorisation;
use crate::domain::call::Call;

/// What the gateway says of an authorisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorised {
    /// Given, under this name.
    Yes(String),
    /// Not given: why, for machines and for people.
    No {
        /// UPPER_SNAKE_CASE.
        code: String,
        /// One sentence.
        message: String,
    },
}

/// It is not known what the gateway did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Why.
    pub cause: String,
    /// Whether anything may have reached it.
    pub sent: bool,
}

/// A client of the gateway; connections are kept.
#[derive(Debug, Clone)]
pub struct Client {
    http: Http<HttpConnector, Full<Bytes>>,
    url: String,
    key: String,
    within: Duration,
}

/// Of an answer, at most.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

impl Client {
    /// The gateway at this address (`http://host:port`), with the key that it knows us by; a call takes at most so long.
    pub fn new(url: &str, key: &str, within: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(within));
        let http = Http::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Client { http, url: url.trim_end_matches('/').to_owned(), key: key.to_owned(), within }
    }

    /// Asks for an authorisation.
    pub async fn authorise(
        &self,
        idempotency_key: &str,
        reference: &str,
        wanted: &Authorisation,
    ) -> Result<Authorised, Unknown> {
        let Authorisation { account, currency, amount_minor } = wanted;
        let body =
            json!({"reference": reference, "source": account, "amount_minor": amount_minor, "currency": currency});
        let (status, answer) = self.post("/v1/payments", idempotency_key, &body).await?;
        match (status, answer.get("id").and_then(Value::as_str)) {
            (StatusCode::OK | StatusCode::CREATED, Some(id)) => Ok(Authorised::Yes(id.to_owned())),
            (status, _) if is_definite(status) => {
                let (code, message) = error_of(status, &answer);
                Ok(Authorised::No { code, message })
            }
            (status, _) => Err(Unknown { cause: told(status, &answer), sent: true }),
        }
    }

    /// Captures, voids or refunds, as the call says.
    pub async fn carry_out(&self, idempotency_key: &str, call: &Call) -> Result<(), Unknown> {
        let Some(id) = &call.gateway_id else {
            return Err(Unknown { cause: "the authorisation has no name at the gateway".to_owned(), sent: false });
        };
        let body = match call.operation.as_str() {
            "void" => json!({}),
            _ => json!({"amount_minor": call.amount_minor}),
        };
        let path = format!("/v1/payments/{id}/{}", call.operation);
        match self.post(&path, idempotency_key, &body).await? {
            (StatusCode::OK | StatusCode::CREATED, _) => Ok(()),
            (status, answer) => Err(Unknown { cause: told(status, &answer), sent: true }),
        }
    }

    async fn post(&self, path: &str, idempotency_key: &str, body: &Value) -> Result<(StatusCode, Value), Unknown> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.url))
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, format!("Bearer {}", self.key))
            .header("idempotency-key", idempotency_key)
            .body(Full::new(Bytes::from(body.to_string())));
        let request = request.map_err(|error| Unknown { cause: error.to_string(), sent: false })?;
        let answered = async {
            let answer = self.http.request(request).await.map_err(|error| {
                let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                Unknown { cause, sent: !error.is_connect() }
            })?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| Unknown { cause: error.to_string(), sent: true })?.to_bytes();
            Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
        };
        let silent = || Unknown { cause: format!("no answer within {} ms", self.within.as_millis()), sent: true };
        timeout(self.within, answered).await.unwrap_or_else(|_| Err(silent()))
    }
}

/// Whether this says that nothing was done, and that asking again won't change it.
fn is_definite(status: StatusCode) -> bool {
    let passing = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::CONFLICT,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    status.is_client_error() && !passing.contains(&status)
}

fn error_of(status: StatusCode, answer: &Value) -> (String, String) {
    let text = |key: &str| answer.get("error").and_then(|error| error.get(key)).and_then(Value::as_str);
    let code: String = text("code").unwrap_or("declined").chars().take(64).collect();
    let message: String = text("message")
        .map_or_else(|| format!("the gateway answered {status}"), |text| text.chars().take(500).collect());
    (code.to_uppercase(), message)
}

fn told(status: StatusCode, answer: &Value) -> String {
    let (code, message) = error_of(status, answer);
    match answer.get("error") {
        Some(_) => format!("the gateway answered {}: {code}: {message}", status.as_u16()),
        None => format!("the gateway answered {status}"),
    }
}
