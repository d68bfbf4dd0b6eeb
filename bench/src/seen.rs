//! What was seen of the orders of a run.
use std::time::Duration;

use crate::latency::Latencies;
use crate::outcome::{Counts, Outcome};

/// What was seen in the time that was measured.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What became of the orders.
    pub counts: Counts,
    /// How long confirmations took.
    pub confirmed: Latencies,
    /// How long refusals took.
    pub refused: Latencies,
    /// How long it took to be told that the system has too much to do.
    pub overloaded: Latencies,
    /// How many of the confirmations came in that time, whenever their orders were due.
    pub confirmed_meanwhile: u64,
    /// How many of the confirmations and refusals came in that time.
    pub answered_meanwhile: u64,
    /// How many confirmations and refusals there were in all, before and after that time too.
    pub answered_in_all: u64,
    /// How long after they were due the orders were sent, in an open loop.
    pub sent_late: Latencies,
}

impl Seen {
    /// Takes down what became of an order, and how long it took.
    pub fn add(&mut self, outcome: Outcome, latency: Duration) {
        match outcome {
            Outcome::Confirmed => self.confirmed.record(latency),
            Outcome::Refused(_) => self.refused.record(latency),
            Outcome::Overloaded(_) => self.overloaded.record(latency),
            // These took as long as someone's patience, which is no latency of the system.
            Outcome::Aborted(_) | Outcome::Unknown(_) | Outcome::Failed(_) => {}
        }
        self.counts.add(outcome);
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: Seen) {
        self.counts.merge(other.counts);
        self.confirmed.merge(&other.confirmed);
        self.refused.merge(&other.refused);
        self.overloaded.merge(&other.overloaded);
        self.sent_late.merge(&other.sent_late);
        self.confirmed_meanwhile += other.confirmed_meanwhile;
        self.answered_meanwhile += other.answered_meanwhile;
        self.answered_in_all += other.answered_in_all;
    }

    /// Takes down that an answer came in the time that is measured.
    pub fn came(&mut self, outcome: &Outcome) {
        self.confirmed_meanwhile += u64::from(*outcome == Outcome::Confirmed);
        self.answered_meanwhile += u64::from(outcome.is_answer());
    }
}
