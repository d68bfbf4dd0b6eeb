//! What must be true when a fault is over and everything is up again.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::books::Books;
use crate::client::Client;
use crate::doctor;
use crate::load::Request;
use crate::system::System;

/// Everything must be out of doubt so soon after everything is up again.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);
/// And so soon after the last answer, where clients went on longer than that.
const LAST_ORDERS_SETTLE_WITHIN: Duration = Duration::from_secs(1);

/// How a fault ended.
#[derive(Debug, Default)]
pub struct Aftermath {
    /// Requests by their first answer.
    pub answers: BTreeMap<&'static str, usize>,
    /// The slowest answer.
    pub slowest: Duration,
    /// What that was, and to which request.
    pub slowest_was: String,
    /// From everything being up again to nothing being in doubt.
    pub settled: Duration,
    /// What is wrong.
    pub violations: Vec<String>,
}

impl Aftermath {
    /// Waits, from when everything was `up` again, until nothing is in doubt, which must be soon; has clients repeat what
    /// they don't know the outcome of; then holds all answers against the databases, and runs the doctor.
    pub async fn see(system: &System, client: &Client, books: &mut Books, requests: Vec<Request>, up: Instant) -> Self {
        Self::see_later(system, client, books, requests, up, SETTLED_WITHIN).await
    }

    /// The same after a fault that may keep something in doubt for longer, but no longer than `within`.
    pub async fn see_later(
        system: &System,
        client: &Client,
        books: &mut Books,
        mut requests: Vec<Request>,
        up: Instant,
        within: Duration,
    ) -> Self {
        let answers = Books::kinds(&requests);
        let slowest_request = requests.iter().max_by_key(|request| request.slowest());
        let slowest = slowest_request.map(Request::slowest).unwrap_or_default();
        let slowest_was = slowest_request.map(|it| format!("{} {:?}", it.request_id, it.answers)).unwrap_or_default();
        // Orders that were placed when all was well again are no longer the fault's, but they take their moment too.
        client.settled(within.saturating_sub(up.elapsed()).max(LAST_ORDERS_SETTLE_WITHIN)).await;
        let settled = up.elapsed();
        Books::resolve(client, &mut requests).await;
        client.settled(SETTLED_WITHIN).await;
        let mut violations = books.check(system, client, requests).await;
        let report = doctor::examine(system, &[]).await;
        violations.extend(report.wrong().into_iter().map(|invariant| format!("{invariant:?}")));
        Aftermath { answers, slowest, slowest_was, settled, violations }
    }

    /// How many requests were given up, or not known at first.
    pub fn hurt(&self) -> usize {
        ["aborted", "unknown"].iter().filter_map(|kind| self.answers.get(kind)).sum()
    }

    /// Insists that nothing is wrong; says how it went.
    pub fn is_sound(&self, fault: &str) {
        let Aftermath { answers, slowest, settled, violations, .. } = self;
        println!(
            "{fault}: {answers:?}, slowest answer {} ms, settled {} ms after it was over",
            slowest.as_millis(),
            settled.as_millis()
        );
        assert!(violations.is_empty(), "{fault}: {violations:#?}");
    }
}
