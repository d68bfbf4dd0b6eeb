//! An open loop: orders come at a rate, whether those before them have been answered or not.
//!
//! That is how a shop's customers come. An order is due at a time of its own, drawn beforehand, and its latency counts from
//! then: what it waits for because the system, or this program, is behind is part of it.
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto::assent::order::v1::PlaceOrderRequest;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::cpu::{Usage, Watch};
use crate::orders::Orders;
use crate::outcome::Outcome;
use crate::seen::Seen;
use crate::shop::Shop;

/// The reason of an order that was not sent, because too many were under way.
pub const NOT_SENT: &str = "NOT_SENT";

/// When orders come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Independently of each other, as customers do: a Poisson process.
    Poisson,
    /// One as long after the other.
    Steady,
}

/// So many orders for so long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phase {
    /// How many orders come in a second.
    pub orders_per_second: f64,
    /// For how long.
    pub lasts: Duration,
}

/// How the loop is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// When orders come.
    pub arrivals: Arrivals,
    /// One after the other, without a pause.
    pub phases: Vec<Phase>,
    /// More than so many are never under way; what comes then is not sent, and counted as failed.
    pub max_under_way: usize,
}

/// Runs all phases; answers for each of them what was seen of the orders that were due in it, and what the watched
/// processes used meanwhile.
pub async fn run(connections: &[Orders], shop: &Arc<Shop>, settings: &Settings, watch: &Watch) -> Vec<(Seen, Usage)> {
    let mut rng = StdRng::seed_from_u64(0);
    let mut connections = connections.iter().cycle();
    let books = Arc::new(Books::new(Instant::now(), &settings.phases));
    let (mut sent, mut usages) = (JoinSet::new(), Vec::new());
    for (number, phase) in settings.phases.iter().enumerate() {
        let window = books.window(number);
        let before = watch.look();
        let mut due = window.start + gap(settings.arrivals, phase.orders_per_second, &mut rng);
        while due < window.end {
            tokio::time::sleep_until(due.into()).await;
            while sent.try_join_next().is_some() {}
            match connections.next() {
                Some(orders) if sent.len() < settings.max_under_way => {
                    // Time-ordered, as a shop's order numbers are.
                    let order = shop.order(&mut rng, Uuid::now_v7().to_string());
                    sent.spawn(place(orders.clone(), order, books.clone(), number, due));
                }
                _ => books.not_sent(number),
            }
            due += gap(settings.arrivals, phase.orders_per_second, &mut rng);
        }
        tokio::time::sleep_until(window.end.into()).await;
        usages.push(watch.look().since(&before));
    }
    while sent.join_next().await.is_some() {}
    books.close().into_iter().zip(usages).collect()
}

async fn place(orders: Orders, order: PlaceOrderRequest, books: Arc<Books>, phase: usize, due: Instant) {
    let late = due.elapsed();
    let outcome = orders.place(&order).await;
    let ended = Instant::now();
    books.take_down(phase, outcome, late, due, ended);
}

/// The time from one order to the next.
fn gap(arrivals: Arrivals, orders_per_second: f64, rng: &mut StdRng) -> Duration {
    let mean_seconds = 1.0 / orders_per_second.max(0.001);
    Duration::from_secs_f64(match arrivals {
        Arrivals::Steady => mean_seconds,
        // From 0 on and below 1, so the logarithm is finite.
        Arrivals::Poisson => -(1.0 - rng.random::<f64>()).ln() * mean_seconds,
    })
}

/// What is seen in each phase.
struct Books(Mutex<Vec<(Range<Instant>, Seen)>>);

impl Books {
    fn new(mut begin: Instant, phases: &[Phase]) -> Self {
        let windows = phases.iter().map(|phase| {
            let window = begin..begin + phase.lasts;
            begin = window.end;
            (window, Seen::default())
        });
        Books(Mutex::new(windows.collect()))
    }

    fn window(&self, phase: usize) -> Range<Instant> {
        self.lock()[phase].0.clone()
    }

    /// The latency is of the phase in which the order was due, the answer of that in which it came.
    fn take_down(&self, phase: usize, outcome: Outcome, late: Duration, due: Instant, ended: Instant) {
        let mut phases = self.lock();
        if let Some((_, seen)) = phases.iter_mut().find(|(window, _)| window.contains(&ended)) {
            seen.came(&outcome);
        }
        let seen = &mut phases[phase].1;
        seen.answered_in_all += u64::from(outcome.is_answer());
        seen.sent_late.record(late);
        seen.add(outcome, ended - due);
    }

    fn not_sent(&self, phase: usize) {
        self.lock()[phase].1.add(Outcome::Failed(NOT_SENT.to_owned()), Duration::ZERO);
    }

    fn close(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.lock()).into_iter().map(|(_, seen)| seen).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Range<Instant>, Seen)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
