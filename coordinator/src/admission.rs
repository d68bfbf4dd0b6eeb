//! Which orders are let in: no more than are answered within a bounded time. The rest is told at once to come again later,
//! and nothing is done for it.
//!
//! Without this, whoever asks for more than can be done gets nothing: every order waits longer than the one before, until
//! all of them time out, and giving them up is work as well. How many orders may wait is what is answered in the time that
//! one may take (Little's law), with the rate as it is measured, so there is nothing to tune for a faster machine.
//!
//! A queue that goes away by itself is no overload: a disk that stands still for a moment makes one, of any load. So for a while
//! more may wait, and nobody is turned away; if the queue stands, all who come too many are, until it has been short enough for as
//! long. That it is the standing queue that counts, not its length at a moment, is from CoDel (Nichols and Jacobson, Controlling
//! Queue Delay, ACM Queue 2012; RFC 8289).
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Args;
use crate::owner::Active;

/// Whatever the rate, so many may wait: a rate is known only where there was work, and little of it waits for nothing but
/// itself.
const ALWAYS: usize = 512;
/// The rate is the best of the last slots: one with little to do, or a pause of a database, is no sign of what can be done.
const SLOT: Duration = Duration::from_millis(250);
const SLOTS: usize = 8;
/// A queue that is too long for so long stands.
const STANDS_AFTER: Duration = Duration::from_secs(1);
/// One that is so many times too long does at once: the memory that it takes has a bound.
const MOST: usize = 2;
/// A caller who is told to come again is told to wait at least so long.
const COME_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How often the log tells that orders are turned away.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Lets orders in; clones share the same gate.
#[derive(Debug, Clone)]
pub struct Admission {
    max_wait: Duration,
    max_open: usize,
    gate: Arc<Mutex<Gate>>,
}

/// An order that was let in, until it is answered; then it is dropped.
#[derive(Debug)]
pub struct Admitted(Arc<Mutex<Gate>>);

/// There is too much to do already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overloaded {
    /// How many orders wait for their answer, or are not settled yet.
    pub ahead: usize,
    /// When to come again.
    pub retry_after: Duration,
}

/// What is known of a request before anything is done for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known<'a> {
    /// Whose request.
    pub client_id: &'a str,
    /// The client's name for it; empty if it has none.
    pub request_id: &'a str,
    /// The call says itself that it was made before.
    pub is_retry: bool,
}

impl Admission {
    /// As the command line says.
    pub fn new(args: &Args) -> Self {
        Admission {
            max_wait: Duration::from_millis(args.max_wait_ms.into()),
            max_open: usize::try_from(args.max_open_orders).unwrap_or(usize::MAX),
            gate: Arc::new(Mutex::new(Gate::new(Instant::now()))),
        }
    }

    /// Lets a request in, or not. One that is driven here already always is: its answer is under way. One that was made
    /// before comes in where a new one would not any more, because its answer may stand.
    pub fn admit(&self, known: Known<'_>, active: &Active) -> Result<Admitted, Overloaded> {
        let now = Instant::now();
        let mut gate = lock(&self.gate);
        let extra = |limit: usize| if known.is_retry { limit.saturating_add(limit / 2) } else { limit };
        let (waiting, open) = (gate.waiting, active.len());
        let many_wait = !self.max_wait.is_zero() && {
            let limit = gate.limit(self.max_wait, now);
            gate.is_overloaded(limit, now) && waiting >= extra(limit)
        };
        let is_full = many_wait || open >= extra(self.max_open);
        if is_full && !active.drives_request(known.client_id, known.request_id) {
            let ahead = if many_wait { waiting } else { open };
            gate.turned_away(now, ahead);
            return Err(Overloaded { ahead, retry_after: self.max_wait.max(COME_AGAIN_AFTER) });
        }
        gate.waiting += 1;
        Ok(Admitted(self.gate.clone()))
    }

    /// Lets in what belongs to a request that was let in already.
    pub fn admit_own(&self) -> Admitted {
        lock(&self.gate).waiting += 1;
        Admitted(self.gate.clone())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        lock(&self.0).answered(Instant::now());
    }
}

fn lock(gate: &Mutex<Gate>) -> MutexGuard<'_, Gate> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who waits, and how many were answered lately.
#[derive(Debug)]
struct Gate {
    waiting: usize,
    began: Instant,
    /// The slot since the beginning that `answered` goes up to.
    slot: u128,
    answered: [usize; SLOTS],
    /// Since when more wait than may, and when they last did.
    crowded: Option<(Instant, Instant)>,
    /// They have done so for too long, and not gone yet.
    is_overloaded: bool,
    turned_away: u64,
    logged: Option<Instant>,
}

impl Gate {
    fn new(began: Instant) -> Self {
        Gate {
            waiting: 0,
            began,
            slot: 0,
            answered: [0; SLOTS],
            crowded: None,
            is_overloaded: false,
            turned_away: 0,
            logged: None,
        }
    }

    /// How many may wait so long.
    fn limit(&mut self, max_wait: Duration, now: Instant) -> usize {
        self.go_on(now);
        let best = self.answered.iter().max().copied().unwrap_or(0);
        let in_time = best as u128 * max_wait.as_millis() / SLOT.as_millis();
        usize::try_from(in_time).unwrap_or(usize::MAX).max(ALWAYS)
    }

    /// Whether the queue stands, where so many may wait. It is over when it has not been as long for as long.
    fn is_overloaded(&mut self, limit: usize, now: Instant) -> bool {
        let is_crowded = self.waiting >= limit;
        let stands = |since: Instant| now.saturating_duration_since(since) >= STANDS_AFTER;
        if is_crowded {
            let (since, _) = *self.crowded.get_or_insert((now, now));
            self.crowded = Some((since, now));
            self.is_overloaded |= stands(since) || self.waiting >= limit.saturating_mul(MOST);
        } else if !self.is_overloaded || self.crowded.is_none_or(|(_, last)| stands(last)) {
            // Batches are large: where it stands it is short of the limit now and then as well.
            self.crowded = None;
            self.is_overloaded = false;
        }
        self.is_overloaded
    }

    fn answered(&mut self, now: Instant) {
        self.go_on(now);
        self.waiting = self.waiting.saturating_sub(1);
        if let Some(answered) = self.answered.first_mut() {
            *answered += 1;
        }
    }

    /// Begins the slots that have begun since; the newest is the first.
    fn go_on(&mut self, now: Instant) {
        let slot = now.saturating_duration_since(self.began).as_millis() / SLOT.as_millis();
        let passed = usize::try_from(slot.saturating_sub(self.slot)).unwrap_or(SLOTS).min(SLOTS);
        self.answered.rotate_right(passed % SLOTS);
        self.answered.iter_mut().take(passed).for_each(|answered| *answered = 0);
        self.slot = self.slot.max(slot);
    }

    fn turned_away(&mut self, now: Instant, ahead: usize) {
        self.turned_away += 1;
        if self.logged.is_none_or(|logged| now.saturating_duration_since(logged) >= LOG_EVERY) {
            tracing::warn!(turned_away = self.turned_away, ahead, "overloaded: orders are turned away");
            self.logged = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(250);

    fn busy(gate: &mut Gate, from: Instant, per_slot: usize, slots: u32) -> Instant {
        for slot in 0..slots {
            for _ in 0..per_slot {
                gate.answered(from + SLOT * slot);
            }
        }
        from + SLOT * slots
    }

    #[test]
    fn as_many_may_wait_as_are_answered_meanwhile() {
        let began = Instant::now();
        let mut gate = Gate::new(began);
        assert_eq!(gate.limit(WAIT, began), ALWAYS, "nothing is known yet");
        let now = busy(&mut gate, began, 2_000, 4);
        assert_eq!(gate.limit(WAIT, now), 2_000);
        assert_eq!(gate.limit(WAIT * 2, now), 4_000);
        // Half as fast from now on: known once the best of the slots is one of those.
        let now = busy(&mut gate, now, 1_000, 4);
        assert_eq!(gate.limit(WAIT, now), 2_000);
        let now = busy(&mut gate, now, 1_000, 5);
        assert_eq!(gate.limit(WAIT, now), 1_000);
        let later = now + Duration::from_secs(3_600);
        assert_eq!(gate.limit(WAIT, later), ALWAYS, "what was long ago says nothing of now");
    }

    #[test]
    fn a_short_pause_of_everything_changes_no_limit() {
        let began = Instant::now();
        let mut gate = Gate::new(began);
        let now = busy(&mut gate, began, 2_000, 4);
        assert_eq!(gate.limit(WAIT, now + Duration::from_millis(1_000)), 2_000);
        assert_eq!(gate.limit(WAIT, now + SLOT * 8), ALWAYS);
    }

    /// Whether one more is told that there are too many, with so many waiting.
    fn is_overloaded(gate: &mut Gate, waiting: usize, now: Instant) -> bool {
        gate.waiting = waiting;
        gate.is_overloaded(1_000, now)
    }

    #[test]
    fn a_burst_is_no_overload() {
        let began = Instant::now();
        let mut gate = Gate::new(began);
        let soon = began + STANDS_AFTER / 2;
        for burst in 0..10 {
            let began = began + STANDS_AFTER * burst;
            assert!(!is_overloaded(&mut gate, 1_999, began));
            assert!(!is_overloaded(&mut gate, 1_000, began + STANDS_AFTER / 2));
            assert!(!is_overloaded(&mut gate, 999, began + STANDS_AFTER / 2));
        }
        assert!(is_overloaded(&mut gate, 2_000, soon), "as many as ever may wait");
    }

    #[test]
    fn a_queue_that_stands_is_overload_until_it_has_been_short_for_as_long() {
        let began = Instant::now();
        let mut gate = Gate::new(began);
        assert!(!is_overloaded(&mut gate, 1_000, began));
        let stands = began + STANDS_AFTER;
        assert!(is_overloaded(&mut gate, 1_000, stands));
        assert!(is_overloaded(&mut gate, 100, stands + STANDS_AFTER / 2), "a batch was answered");
        assert!(is_overloaded(&mut gate, 1_000, stands + STANDS_AFTER / 2));
        assert!(is_overloaded(&mut gate, 999, stands + STANDS_AFTER));
        assert!(!is_overloaded(&mut gate, 999, stands + STANDS_AFTER * 3 / 2));
        assert!(!is_overloaded(&mut gate, 1_500, stands + STANDS_AFTER * 3 / 2), "a new one");
    }

    #[test]
    fn a_clock_that_is_asked_late_takes_nothing_back() {
        let began = Instant::now();
        let mut gate = Gate::new(began);
        let now = busy(&mut gate, began, 2_000, 4);
        gate.answered(began);
        assert_eq!(gate.limit(WAIT, now), 2_001);
    }
}
