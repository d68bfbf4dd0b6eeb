//! A closed loop: so many clients, each placing its next order as soon as the last is answered.
//!
//! A closed loop slows down with the system, so its latencies say nothing of what a client would see who does not wait
//! for the others.
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto::assent::order::v1::order_service_client::OrderServiceClient;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::Caller;
use crate::cpu::{Usage, Watch};
use crate::outcome::Outcome;
use crate::seen::Seen;
use crate::shop::Shop;

/// A client that got no answer waits before its next order, so that a system that is down is not hammered.
const PAUSE: Duration = Duration::from_millis(20);

/// How the loop is run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Clients, spread evenly over the connections.
    pub clients: usize,
    /// How long orders are placed before any is counted.
    pub warm_up: Duration,
    /// How long orders are counted.
    pub measured: Duration,
}

/// Runs the loop to its end; answers what was seen, and what the watched processes used meanwhile.
pub async fn run(
    connections: &[OrderServiceClient<Channel>],
    caller: &Caller,
    shop: &Arc<Shop>,
    settings: Settings,
    watch: &Watch,
) -> (Seen, Usage) {
    let begin = Instant::now() + settings.warm_up;
    let window = begin..begin + settings.measured;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut clients = JoinSet::new();
    for (number, connection) in (0_u64..).zip(connections.iter().cycle().take(settings.clients)) {
        clients.spawn(client(connection.clone(), caller.clone(), shop.clone(), window.clone(), seen.clone(), number));
    }
    tokio::time::sleep_until(window.start.into()).await;
    let before = watch.look();
    tokio::time::sleep_until(window.end.into()).await;
    let usage = watch.look().since(&before);
    while let Some(client) = clients.join_next().await {
        if let Err(error) = client {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    let seen = std::mem::take(&mut *lock(&seen));
    (seen, usage)
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn client(
    mut orders: OrderServiceClient<Channel>,
    caller: Caller,
    shop: Arc<Shop>,
    window: Range<Instant>,
    seen: Arc<Mutex<Seen>>,
    number: u64,
) {
    let mut rng = StdRng::seed_from_u64(number);
    loop {
        let begun = Instant::now();
        if begun >= window.end {
            return;
        }
        // Time-ordered, as a shop's order numbers are.
        let order = shop.order(&mut rng, Uuid::now_v7().to_string());
        let answer = orders.place_order(caller.request(order)).await;
        let ended = Instant::now();
        let outcome = answer.map_or_else(|status| Outcome::of_status(&status), |_| Outcome::Confirmed);
        let is_answer = outcome.is_answer();
        {
            let mut seen = lock(&seen);
            seen.answered_in_all += u64::from(is_answer);
            if window.contains(&ended) {
                seen.came(&outcome);
                seen.add(outcome, ended - begun);
            }
        }
        if !is_answer {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests;
