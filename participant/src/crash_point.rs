//! Named places at which a process can be told to die or to freeze, so that recovery is tested where it matters.
//!
//! `ASSENT_CRASH_POINT=name` or `name#N` makes the process kill itself with SIGKILL when it passes the place for the
//! first or the N-th time. With `:stop` behind it freezes itself there instead, until somebody lets it go on: its
//! database can die meanwhile, or both. They are compiled in always, because what ships should be what is tested; unset,
//! a place costs one load of a static.
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{Signal, raise};

/// The places that every service has; each service may name more.
pub const SHARED: &[&str] = &[
    "batch.before_begin",
    "batch.before_sql",
    "batch.before_commit",
    "batch.after_commit",
    "batch.after_reply",
    "watermark.advanced",
    "collect.before",
    "collect.after",
];

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
    "end.received",
    "end.before_reply",
    "confirm_horizon.received",
    "confirm_horizon.before_reply",
    "end_horizon.received",
    "end_horizon.before_reply",
    "execute.received",
    "execute.before_reply",
    "compensate.received",
    "compensate.before_reply",
];

struct Armed {
    name: String,
    hit: u64,
    signal: Signal,
    passed: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

impl Armed {
    fn read(value: &str) -> Self {
        let (place, signal) = match value.strip_suffix(":stop") {
            Some(place) => (place, Signal::SIGSTOP),
            None => (value, Signal::SIGKILL),
        };
        let (name, hit) = match place.rsplit_once('#') {
            Some((name, hit)) => (name, hit.parse().unwrap_or(1)),
            None => (place, 1),
        };
        Armed { name: name.to_owned(), hit, signal, passed: AtomicU64::new(0) }
    }
}

fn armed() -> Option<&'static Armed> {
    let read = || {
        let value = std::env::var("ASSENT_CRASH_POINT").ok().filter(|value| !value.is_empty())?;
        Some(Armed::read(&value))
    };
    ARMED.get_or_init(read).as_ref()
}

/// Passes the place `name`: returns, or kills or freezes the process if it was told to do that here.
pub fn pass(name: &str) {
    let Some(armed) = armed() else { return };
    if armed.name == name && armed.passed.fetch_add(1, Ordering::Relaxed) + 1 == armed.hit {
        eprintln!("crash point {name}");
        // If the signal could not be raised the test would see that its point did not fire.
        let _ = raise(armed.signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_told_with_its_pass_and_whether_to_die_or_to_freeze() {
        let read = |value| {
            let armed = Armed::read(value);
            (armed.name, armed.hit, armed.signal)
        };
        assert_eq!(read("stage.after"), ("stage.after".to_owned(), 1, Signal::SIGKILL));
        assert_eq!(read("stage.after#5"), ("stage.after".to_owned(), 5, Signal::SIGKILL));
        assert_eq!(read("stage.after:stop"), ("stage.after".to_owned(), 1, Signal::SIGSTOP));
        assert_eq!(read("stage.after#5:stop"), ("stage.after".to_owned(), 5, Signal::SIGSTOP));
    }
}
