//! A closed loop: so many clients, each asking anew as soon as it is answered.
//!
//! A closed loop slows down with the system, so its latencies say nothing of what a client would see who does not wait
//! for the others.
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use crate::ask::Ask;
use crate::cpu::{Usage, Watch};
use crate::seen::Seen;
use crate::steadiness::Sample;

/// A client that got no answer waits before it asks again, so that a system that is down is not hammered.
const PAUSE: Duration = Duration::from_millis(20);

/// How the loop is run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Clients, spread evenly over the connections.
    pub clients: usize,
    /// How long is asked before any answer is counted.
    pub warm_up: Duration,
    /// How long answers are counted.
    pub measured: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Ran {
    /// What was seen.
    pub seen: Seen,
    /// What the watched processes used meanwhile.
    pub usage: Usage,
    /// What was seen of each part of the measured time.
    pub samples: Vec<Sample>,
}

/// Runs the loop to its end, with `asks` one for each connection; answers what was seen, and what the watched processes used
/// meanwhile.
pub async fn run<A: Ask>(asks: &[A], settings: Settings, watch: &Watch) -> (Seen, Usage) {
    let Ran { seen, usage, .. } = sampled(asks, settings, watch, settings.measured).await;
    (seen, usage)
}

/// The same, with a sample `every` so often; the last lasts up to twice as long.
pub async fn sampled<A: Ask>(asks: &[A], settings: Settings, watch: &Watch, every: Duration) -> Ran {
    let begin = Instant::now() + settings.warm_up;
    let window = begin..begin + settings.measured;
    let shared = Arc::new(Mutex::new(Seen::default()));
    let mut clients = JoinSet::new();
    for (number, ask) in (0_u64..).zip(asks.iter().cycle().take(settings.clients)) {
        clients.spawn(client(ask.clone(), window.clone(), shared.clone(), number));
    }
    tokio::time::sleep_until(window.start.into()).await;
    let before = watch.look();
    let (mut seen, mut samples) = (Seen::default(), Vec::new());
    let mut from = window.start;
    while from < window.end {
        let until = if window.end - from < every * 2 { window.end } else { from + every };
        tokio::time::sleep_until(until.into()).await;
        let part = std::mem::take(&mut *lock(&shared));
        // The look comes late on a busy machine, and so does the next.
        let now = if until == window.end { until } else { Instant::now() };
        samples.push(Sample::new(now - window.start, now - from, &part));
        seen.merge(part);
        from = now;
    }
    let usage = watch.look().since(&before);
    while let Some(client) = clients.join_next().await {
        if let Err(error) = client {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    seen.merge(std::mem::take(&mut *lock(&shared)));
    Ran { seen, usage, samples }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn client(mut ask: impl Ask, window: Range<Instant>, seen: Arc<Mutex<Seen>>, number: u64) {
    let mut rng = StdRng::seed_from_u64(number);
    loop {
        let begun = Instant::now();
        if begun >= window.end {
            return;
        }
        let outcome = ask.ask(&mut rng).await;
        let ended = Instant::now();
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
