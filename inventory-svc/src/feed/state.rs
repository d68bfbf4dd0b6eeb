//! What the feed of this process does, for operators.
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// What it does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Condition {
    /// Nothing: it leads nowhere.
    #[default]
    Off,
    /// It waits: another process passes on.
    StandingBy,
    /// It passes on.
    Relaying,
    /// It can't, for this reason; it tries again and again.
    Failing(String),
}

/// A condition, and since when.
#[derive(Debug, Default)]
pub struct State(Mutex<Option<(Condition, SystemTime)>>);

impl State {
    /// The condition now, and since when.
    pub fn now(&self) -> (Condition, Option<SystemTime>) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        state.map_or((Condition::Off, None), |(condition, since)| (condition, Some(since)))
    }

    /// Notes a condition, and logs it if it is new.
    pub fn becomes(&self, condition: Condition) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.as_ref().is_some_and(|(now, _)| *now == condition) {
            return;
        }
        match &condition {
            Condition::Off => (),
            Condition::StandingBy => tracing::info!("another process passes the ledger on; this one stands by"),
            Condition::Relaying => tracing::info!("passing the ledger on"),
            Condition::Failing(problem) => tracing::warn!(%problem, "the ledger is not passed on; trying again"),
        }
        *state = Some((condition, SystemTime::now()));
    }
}
