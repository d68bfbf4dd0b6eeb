//! Named places at which a process can be told to die, so that recovery is tested where it matters.
//!
//! `ASSENT_CRASH_POINT=name` or `name#N` makes the process kill itself with SIGKILL when it passes the place for the
//! first or the N-th time. They are compiled in always, because what ships should be what is tested; unset, a place
//! costs one load of a static.
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{Signal, raise};

/// The places that every service has; each service may name more.
pub const SHARED: &[&str] =
    &["batch.before_begin", "batch.before_sql", "batch.before_commit", "batch.after_commit", "batch.after_reply"];

/// The places in a participant's gRPC face, besides [`SHARED`].
pub const PARTICIPANT: &[&str] = &[
    "prepare.received",
    "prepare.before_reply",
    "commit.received",
    "commit.before_reply",
    "abort.received",
    "abort.before_reply",
    "fence.received",
    "fence.before_reply",
];

struct Armed {
    name: String,
    hit: u64,
    passed: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

fn armed() -> Option<&'static Armed> {
    ARMED
        .get_or_init(|| {
            let value = std::env::var("ASSENT_CRASH_POINT").ok().filter(|value| !value.is_empty())?;
            let (name, hit) = match value.rsplit_once('#') {
                Some((name, hit)) => (name.to_owned(), hit.parse().unwrap_or(1)),
                None => (value, 1),
            };
            Some(Armed { name, hit, passed: AtomicU64::new(0) })
        })
        .as_ref()
}

/// Passes the place `name`: returns, or kills the process if it was told to die here.
pub fn pass(name: &str) {
    let Some(armed) = armed() else { return };
    if armed.name == name && armed.passed.fetch_add(1, Ordering::Relaxed) + 1 == armed.hit {
        eprintln!("crash point {name}");
        // If the signal could not be raised the test would see that its point did not fire.
        let _ = raise(Signal::SIGKILL);
    }
}
