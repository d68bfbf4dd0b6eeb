//! Webhooks: each thing that was done is told to the shop, signed, and again until it is taken.
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request};
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use sha2::Sha256;

use crate::book::Payment;
use crate::misbehaviour::{Misbehaviour, happens};

/// How often a webhook is tried that is not taken.
const TRIES: u32 = 5;
/// How long one try may take.
const WITHIN: Duration = Duration::from_secs(2);

/// Where the shop listens.
#[derive(Debug)]
pub struct Webhooks {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    secret: String,
}

impl Webhooks {
    /// To this address, signed with this secret.
    pub fn new(url: &str, secret: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Webhooks { client, url: url.to_owned(), secret: secret.to_owned() }
    }

    /// Tells what a payment is now, as late and as often as misbehaviour has it.
    pub fn tell(self: Arc<Self>, payment: Payment, misbehaviour: Misbehaviour) {
        if happens(misbehaviour.webhook_lost_percent) {
            return;
        }
        let body = json!({"type": "payment.changed", "reference": payment.reference, "payment": payment}).to_string();
        for _ in 0..=misbehaviour.webhook_duplicates {
            let late = Duration::from_millis(rand::random_range(0..=misbehaviour.webhook_late_ms));
            let (webhooks, body) = (self.clone(), body.clone());
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                for pause in 1..=TRIES {
                    if webhooks.send(&body).await {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(100) * pause).await;
                }
            });
        }
    }

    async fn send(&self, body: &str) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header("gateway-signature", self.sign(now, body))
            .body(Full::new(Bytes::from(body.to_owned())));
        let Ok(request) = request else { return false };
        let answer = tokio::time::timeout(WITHIN, self.client.request(request)).await;
        answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status().is_success()))
    }

    fn sign(&self, at: u64, body: &str) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()) else { return String::new() };
        mac.update(format!("{at}.{body}").as_bytes());
        let code = mac.finalize().into_bytes();
        format!("t={at},v1={}", code.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}
