//! A card gateway over HTTP. Nothing is asked of it inside a local transaction:
//!
//! - *PREPARE* writes down that an authorisation is about to be asked for (forced), asks with a key of the transaction's,
//!   again with the same key while the answer is not known, and then votes in the local transaction that writes down the
//!   answer. Not known in time: the vote is unknown, and the call is given up after a while, found out and voided
//!   ([`worker`]). Once it is given up, a late vote is no, so an authorisation is never both voided and voted yes on.
//! - *COMMIT* and *ABORT* write down what is to be done (capture, void, refund), in their own local transaction; the worker
//!   does it, again and again until the gateway has confirmed it. A capture of an authorisation that stands can be promised.
//! - What the gateway says by itself ([`webhook`]) is a hint to ask it, never more.
mod client;
mod signature;
mod webhook;
mod worker;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use participant::audit::{Check, Violation};
use participant::{Pool, PreparedBranch, Refusal, Writing, crash_point};
use sqlx::PgConnection;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::{Done, Hold, Provider};
use crate::Payments;
use crate::domain::call::{Asked, State, idempotency_key};
use crate::domain::{Authorisation, Branch};
use crate::store::{audit, calls};

pub use client::{Authorised, Client, Unknown};

/// Where the gateway is and how it is asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its address, `http://host:port`.
    pub url: String,
    /// The key that it knows us by.
    pub key: String,
    /// How long one call may take.
    pub call_within: Duration,
    /// How long is asked for an authorisation before the vote is unknown.
    pub authorise_within: Duration,
    /// How many are asked for side by side.
    pub writers: usize,
    /// Where its webhooks are listened for, and the secret that they are signed with.
    pub webhooks: Option<(SocketAddr, String)>,
}

/// How long after it was last possible to vote on it an authorisation is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(2);
/// Between one time of asking for an authorisation and the next.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Places at which a process with a gateway can be told to die, besides those of every participant.
pub const CRASH_POINTS: [&str; 4] =
    ["gateway.before_ask", "gateway.after_ask", "gateway.before_call", "gateway.after_call"];
/// A call that has waited for longer is told to operators.
pub const STUCK_AFTER_MS: i64 = 30_000;

/// The gateway, for payment-svc.
#[derive(Debug)]
pub struct Gateway {
    settings: Settings,
    client: Client,
    pool: OnceLock<Pool>,
    /// What it has answered to those who are about to vote.
    answers: Mutex<HashMap<Uuid, (Asked, Authorised)>>,
    /// Those who wait for it, to be told that there is news.
    waiting: Mutex<HashMap<Uuid, Arc<Notify>>>,
}

impl Gateway {
    /// A gateway that is not asked anything yet.
    pub fn new(settings: Settings) -> Self {
        let client = Client::new(&settings.url, &settings.key, settings.call_within);
        Gateway { settings, client, pool: OnceLock::new(), answers: Mutex::default(), waiting: Mutex::default() }
    }

    /// Asks until it is known, or the time is over; whether anything was sent, if it is not.
    async fn authorise(&self, payment_id: Uuid, wanted: &Authorisation, asked: Asked) -> Result<Authorised, Unknown> {
        let until = Instant::now() + self.settings.authorise_within;
        let key = idempotency_key(&calls::authorise_id(payment_id), asked.generation);
        let news = Arc::new(Notify::new());
        lock(&self.waiting).insert(payment_id, news.clone());
        let reference = payment_id.to_string();
        let mut sent = false;
        let answer = loop {
            let answer = tokio::select! {
                answer = timeout_at(until, self.client.authorise(&key, &reference, wanted)) => answer,
                // It knows the answer, whatever became of our call: that one is given up for a new one.
                () = news.notified() => { sent = true; continue; }
            };
            let unknown = match answer {
                Ok(Ok(answer)) => break Ok(answer),
                Ok(Err(unknown)) => Unknown { sent: sent || unknown.sent, ..unknown },
                Err(_) => break Err(Unknown { cause: "the gateway has not answered in time".to_owned(), sent: true }),
            };
            sent = unknown.sent;
            if Instant::now() + AGAIN_AFTER >= until {
                break Err(unknown);
            }
            sleep(AGAIN_AFTER).await;
        };
        lock(&self.waiting).remove(&payment_id);
        answer
    }

    /// Says that there is news of a payment.
    fn tell(&self, payment_id: Uuid) {
        if let Some(waiting) = lock(&self.waiting).get(&payment_id) {
            waiting.notify_one();
        }
    }

    /// How long after it was begun to be asked for an authorisation without a vote is given up.
    fn given_up_after_ms(&self) -> i64 {
        i64::try_from((self.settings.authorise_within + GIVEN_UP_AFTER).as_millis()).unwrap_or(i64::MAX)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Provider for Gateway {
    const CHARGES_ARE_PLAIN: bool = false;

    fn writing(&self) -> Writing {
        Writing::Alone { writers: self.settings.writers }
    }

    fn start(&self, pool: &Pool, payments: &Arc<Payments<Self>>) {
        let _ = self.pool.set(pool.clone());
        tokio::spawn(worker::work(pool.clone(), payments.clone()));
        if let Some((listen, secret)) = &self.settings.webhooks {
            tokio::spawn(webhook::serve(*listen, secret.clone(), pool.clone(), payments.clone()));
        }
    }

    async fn enter(&self, transaction_id: Uuid, wanted: &Authorisation, again: bool) -> Result<(), String> {
        if wanted.amount_minor == 0 {
            return Ok(());
        }
        let pool = self.pool.get().ok_or("the gateway is not asked yet")?;
        let asked = calls::ask(pool, transaction_id, wanted, again).await;
        let asked = asked.map_err(|error| format!("it can't be written down that the gateway is asked: {error}"))?;
        match asked.state {
            State::Asking => (),
            State::GivenUp if again => return Err("it is being found out what the gateway did before".to_owned()),
            // Decided already: the log's row says so, or the vote will be no.
            _ => return Ok(()),
        }
        crash_point::pass("gateway.before_ask");
        let answer = self.authorise(transaction_id, wanted, asked).await;
        crash_point::pass("gateway.after_ask");
        match answer {
            Ok(answer) => {
                lock(&self.answers).insert(transaction_id, (asked, answer));
                Ok(())
            }
            Err(Unknown { cause, sent }) => {
                // Else it is given up in a while, and found out.
                if !sent && let Err(error) = calls::never_sent(pool, transaction_id, &asked, &cause).await {
                    tracing::debug!(%error, "it can't be written down that the gateway was not reached");
                }
                Err(format!("the gateway: {cause}"))
            }
        }
    }

    fn leave(&self, transaction_id: Uuid) {
        lock(&self.answers).remove(&transaction_id);
    }

    async fn hold(
        &self,
        connection: &mut PgConnection,
        holds: &[Hold<'_>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        let mut votes = Vec::with_capacity(holds.len());
        for Hold { transaction_id, authorisation, .. } in holds {
            if authorisation.amount_minor == 0 {
                votes.push(Ok(()));
                continue;
            }
            let answer = lock(&self.answers).get(transaction_id).cloned();
            let Some((Asked { generation, .. }, answer)) = answer else {
                votes.push(Err(given_up(*transaction_id, authorisation)));
                continue;
            };
            let (gateway_id, vote) = match answer {
                Authorised::Yes(gateway_id) => (Some(gateway_id), Ok(())),
                Authorised::No { code, message } => {
                    (None, Err(Refusal::new(code, message).with("account", &authorisation.account)))
                }
            };
            let why_not = vote.as_ref().err().map(Refusal::to_json).unwrap_or_default();
            let stands =
                calls::answered(connection, *transaction_id, generation, gateway_id.as_deref(), &why_not).await?;
            votes.push(if stands { vote } else { Err(given_up(*transaction_id, authorisation)) });
        }
        Ok(votes)
    }

    async fn carry_out(&self, connection: &mut PgConnection, done: Vec<Done>) -> Result<(), sqlx::Error> {
        calls::want(connection, &done).await
    }

    async fn audit(
        &self,
        connection: &mut PgConnection,
        prepared: &[PreparedBranch<Branch>],
    ) -> Result<Vec<Check>, sqlx::Error> {
        let checked_count = calls::count(&mut *connection).await?;
        let ids: Vec<Uuid> = prepared.iter().map(|branch| branch.transaction_id).collect();
        let orphan = |id: Uuid| Violation {
            transaction_id: id.to_string(),
            subject: id.to_string(),
            detail: "the gateway has authorised it, and no transaction or payment speaks for it".to_owned(),
        };
        let mut orphans: Vec<Violation> =
            calls::orphans(&mut *connection, &ids).await?.into_iter().map(orphan).collect();
        orphans.extend(audit::orphan_promises(&mut *connection, prepared).await?);
        let wrong = |(id, captured, refunded, sum, back): (Uuid, i64, i64, String, String)| Violation {
            subject: id.to_string(),
            detail: format!(
                "this payment says {captured} minor units captured and {refunded} refunded, but the calls of the \
                 gateway sum to {sum} and {back}"
            ),
            ..Violation::default()
        };
        let wrong = calls::wrong_payments(connection).await?.into_iter().map(wrong).collect();
        Ok(vec![
            Check { invariant: "no-orphan-holds", checked_count, violations: orphans },
            Check { invariant: "money-conserved", checked_count, violations: wrong },
        ])
    }
}

fn given_up(transaction_id: Uuid, wanted: &Authorisation) -> Refusal {
    let message = "the gateway was asked for too long, and what it authorised is voided; authorise anew".to_owned();
    let refusal = Refusal::new("AUTHORISATION_GIVEN_UP", message).with("account", &wanted.account);
    refusal.with("payment_id", transaction_id)
}
