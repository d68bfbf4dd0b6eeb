//! What waits to be written, and what of it is written next.
//!
//! Somebody waits for what is urgent: it goes as soon as the connection is free. For the rest nobody does, so it goes with
//! something urgent once there is enough of it to share what that costs, or when the first of it has waited for half of what
//! it may; and by itself when that has passed. So a lone client's order is not slowed down by the decision about the order
//! before it: one in many is, by those about all of them.
use std::collections::HashSet;

use tokio::time::Instant;

use super::{Item, Options, Urgency, Work};

/// So many that need not hurry are written with what is urgent next.
const ENOUGH: usize = 128;

/// What waits, in the order in which it came.
pub(super) struct Waiting<W: Work> {
    items: Vec<Waits<W>>,
    /// How many of them are urgent.
    urgent: usize,
    /// When the others go with what is urgent.
    rides_at: Option<Instant>,
    /// When they go by themselves.
    ripe_at: Option<Instant>,
}

struct Waits<W: Work> {
    item: Item<W>,
    is_urgent: bool,
}

impl<W: Work> Default for Waiting<W> {
    fn default() -> Self {
        Waiting { items: Vec::new(), urgent: 0, rides_at: None, ripe_at: None }
    }
}

impl<W: Work> Waiting<W> {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Adds what has come.
    pub(super) fn add(&mut self, items: Vec<Item<W>>, options: &Options, now: Instant) {
        for item in items {
            let patience = match W::urgency(&item.entry) {
                Urgency::Now => None,
                Urgency::Soon => Some(options.linger),
                Urgency::Lazy => Some(options.lazy_linger),
            };
            match patience {
                None => self.urgent += 1,
                Some(patience) => {
                    let first = |of: Option<Instant>, at: Instant| Some(of.map_or(at, |other| other.min(at)));
                    self.rides_at = first(self.rides_at, now + patience / 2);
                    self.ripe_at = first(self.ripe_at, now + patience);
                }
            }
            self.items.push(Waits { item, is_urgent: patience.is_none() });
        }
    }

    /// When something is to be written: none as long as nothing waits.
    pub(super) fn due_at(&self, now: Instant) -> Option<Instant> {
        if self.urgent > 0 { Some(now) } else { self.ripe_at }
    }

    fn is_enough(&self) -> bool {
        self.items.len() - self.urgent >= ENOUGH
    }

    /// Takes what may share the next batch, at most `max_batch`. A second entry of one key stays for the one after it, and
    /// none overtakes another of its key.
    pub(super) fn cut(&mut self, max_batch: usize, now: Instant) -> Vec<Item<W>> {
        let all_go =
            self.urgent == 0 || self.is_enough() || self.rides_at.is_some_and(|at| at <= now) || self.is_pressed();
        let mut keys = HashSet::with_capacity(self.items.len());
        let mut later = Vec::new();
        let mut batch = Vec::with_capacity(self.items.len());
        for waits in self.items.drain(..) {
            let goes = (all_go || waits.is_urgent) && batch.len() < max_batch;
            if goes && keys.insert(W::key(&waits.item.entry)) {
                batch.push(waits);
            } else {
                later.push(waits);
            }
        }
        self.urgent -= batch.iter().filter(|waits| waits.is_urgent).count();
        if all_go {
            // What is left of it is overdue.
            self.ripe_at = (later.len() > self.urgent).then_some(now);
            self.rides_at = self.ripe_at;
        }
        self.items = later;
        batch.into_iter().map(|waits| waits.item).collect()
    }

    /// Whether something urgent comes after something of its key that could wait longer.
    fn is_pressed(&self) -> bool {
        let mut patient = HashSet::new();
        self.items.iter().any(|waits| match waits.is_urgent {
            true => patient.contains(&W::key(&waits.item.entry)),
            false => {
                patient.insert(W::key(&waits.item.entry));
                false
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Local, ReplyTo};
    use super::*;

    /// An entry's key and urgency.
    #[derive(Debug)]
    struct Errand(&'static str, Urgency);

    struct Errands;

    impl Work for Errands {
        type Entry = Errand;
        type Reply = ();
        type Key = &'static str;

        fn key(entry: &Errand) -> &'static str {
            entry.0
        }

        fn urgency(entry: &Errand) -> Urgency {
            entry.1
        }

        async fn run(&self, _: &mut Local<'_>, entries: &[Errand]) -> Result<Vec<()>, sqlx::Error> {
            Ok(entries.iter().map(|_| ()).collect())
        }

        fn doubt(&self, _: &Errand, _: &str) {}
    }

    fn add(waiting: &mut Waiting<Errands>, key: &'static str, urgency: Urgency, now: Instant) {
        let item = Item { entry: Errand(key, urgency), reply: ReplyTo::Then(Box::new(|()| ())) };
        waiting.add(vec![item], &Options::default(), now);
    }

    fn cut(waiting: &mut Waiting<Errands>, now: Instant) -> Vec<&'static str> {
        waiting.cut(1_000, now).iter().map(|item| item.entry.0).collect()
    }

    #[test]
    fn what_nobody_waits_for_does_not_ride_until_it_has_waited_for_half_its_time() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let Options { linger, lazy_linger, .. } = Options::default();
        add(&mut waiting, "lazy", Urgency::Lazy, now);
        assert_eq!(waiting.due_at(now), Some(now + lazy_linger));
        add(&mut waiting, "soon", Urgency::Soon, now);
        assert_eq!(waiting.due_at(now), Some(now + linger));
        add(&mut waiting, "urgent", Urgency::Now, now);
        assert_eq!(waiting.due_at(now), Some(now));
        assert_eq!(cut(&mut waiting, now), ["urgent"]);
        add(&mut waiting, "next", Urgency::Now, now + linger / 2);
        assert_eq!(cut(&mut waiting, now + linger / 2), ["lazy", "soon", "next"]);
        assert_eq!((waiting.len(), waiting.due_at(now)), (0, None));
    }

    #[test]
    fn enough_of_it_rides_with_what_is_urgent_next() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let keys: Vec<&'static str> = (0..ENOUGH).map(|number| &*number.to_string().leak()).collect();
        for key in &keys {
            add(&mut waiting, key, Urgency::Lazy, now);
            assert!(waiting.due_at(now).is_some_and(|at| at > now), "not by itself");
        }
        add(&mut waiting, "urgent", Urgency::Now, now);
        assert_eq!(cut(&mut waiting, now).len(), ENOUGH + 1);
    }

    #[test]
    fn nothing_overtakes_an_entry_of_its_key() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        add(&mut waiting, "one", Urgency::Lazy, now);
        add(&mut waiting, "other", Urgency::Now, now);
        add(&mut waiting, "one", Urgency::Now, now);
        assert_eq!(cut(&mut waiting, now), ["one", "other"]);
        assert_eq!(cut(&mut waiting, now), ["one"]);
    }

    #[test]
    fn what_did_not_fit_goes_next() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        for key in ["one", "two", "three"] {
            add(&mut waiting, key, Urgency::Soon, now);
        }
        assert_eq!(waiting.cut(2, later).len(), 2);
        assert_eq!(waiting.due_at(later), Some(later));
        assert_eq!(cut(&mut waiting, later), ["three"]);
    }
}
