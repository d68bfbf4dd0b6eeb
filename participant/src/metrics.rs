//! Figures of a process for Prometheus, as text at `GET /metrics`: what its writers did, how it voted, and what is in doubt.
//!
//! What happens all the time is counted in plain atomics, a batch or a vote at a time: nobody waits for a lock or allocates. What
//! is in doubt is read from the database when somebody asks.
use std::fmt::Write as _;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

/// Something that is counted.
pub struct Counter {
    name: &'static str,
    labels: &'static str,
    help: &'static str,
    value: AtomicU64,
}

impl Counter {
    const fn new(name: &'static str, labels: &'static str, help: &'static str) -> Self {
        Counter { name, labels, help, value: AtomicU64::new(0) }
    }

    /// Counts so many.
    pub fn add(&self, count: u64) {
        self.value.fetch_add(count, Ordering::Relaxed);
    }
}

const VOTES: &str = "PREPAREs and FENCEs answered, by vote";

/// Batches that were committed.
pub static BATCHES: Counter = Counter::new("assent_batches_total", "", "Batches that were committed");
/// Entries in them.
pub static ENTRIES: Counter = Counter::new("assent_batch_entries_total", "", "Entries of batches that were committed");
/// How long they took together.
pub static BATCH_MICROS: Counter =
    Counter::new("assent_batch_microseconds_total", "", "Time that committed batches took, from BEGIN to COMMIT");
/// Entries that were answered as doubt.
pub static DOUBTS: Counter = Counter::new(
    "assent_entries_in_doubt_total",
    "",
    "Entries answered as doubt: the database was lost, or refused them",
);
/// Votes of yes.
pub static YES: Counter = Counter::new("assent_votes_total", "{vote=\"yes\"}", VOTES);
/// Votes of no.
pub static NO: Counter = Counter::new("assent_votes_total", "{vote=\"no\"}", VOTES);
/// Votes of unknown.
pub static UNKNOWN: Counter = Counter::new("assent_votes_total", "{vote=\"unknown\"}", VOTES);
/// Votes of forgotten.
pub static FORGOTTEN: Counter = Counter::new("assent_votes_total", "{vote=\"forgotten\"}", VOTES);

static ALL: [&Counter; 8] = [&BATCHES, &ENTRIES, &BATCH_MICROS, &DOUBTS, &YES, &NO, &UNKNOWN, &FORGOTTEN];

/// What is in doubt now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InDoubt {
    /// So many transactions.
    pub count: i64,
    /// For how long the oldest has been.
    pub oldest_seconds: f64,
}

/// Serves the figures, forever; `in_doubt` reads what is in doubt. A port that is taken stops nothing else.
pub async fn serve<F>(listen: SocketAddr, in_doubt: impl Fn() -> F + Send + Sync + 'static)
where
    F: Future<Output = Result<InDoubt, sqlx::Error>> + Send + 'static,
{
    let in_doubt = Arc::new(in_doubt);
    let answer = move || {
        let in_doubt = in_doubt.clone();
        async move {
            let read = in_doubt().await;
            ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text(read.ok()))
        }
    };
    let routes = Router::new().route("/metrics", get(answer));
    loop {
        let ended = match TcpListener::bind(listen).await {
            Ok(listener) => axum::serve(listener, routes.clone()).await,
            Err(error) => Err(error),
        };
        tracing::error!(%listen, error = ?ended.err(), "metrics can't be served; trying again");
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// The figures as text; without what is in doubt the database does not answer.
fn text(in_doubt: Option<InDoubt>) -> String {
    let mut text = String::new();
    let mut last = "";
    for Counter { name, labels, help, value } in ALL {
        if *name != last {
            // Writing to a String can't fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
            last = name;
        }
        let _ = writeln!(text, "{name}{labels} {}", value.load(Ordering::Relaxed));
    }
    let mut gauge = |name: &str, help: &str, value: f64| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    };
    gauge("assent_database_up", "Whether the process's database answers", f64::from(u8::from(in_doubt.is_some())));
    if let Some(InDoubt { count, oldest_seconds }) = in_doubt {
        gauge("assent_in_doubt", "Transactions that are not decided here", count as f64);
        gauge("assent_in_doubt_oldest_seconds", "For how long the oldest of them has not been", oldest_seconds);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_explained_once_and_a_lost_database_is_told() {
        let shown = text(Some(InDoubt { count: 2, oldest_seconds: 1.5 }));
        for line in ["assent_in_doubt 2", "assent_in_doubt_oldest_seconds 1.5", "assent_database_up 1"] {
            assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
        }
        assert_eq!(shown.matches("# TYPE assent_votes_total counter").count(), 1);
        assert_eq!(shown.matches("assent_votes_total{").count(), 4);
        let shown = text(None);
        assert!(shown.contains("assent_database_up 0") && !shown.contains("assent_in_doubt "), "{shown}");
    }
}
