//! The SKUs of which there may be something to pass on.
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::changes::Listener;

/// SKUs that are known at a time, at most; what is beyond is found by comparing.
const MAX: usize = 10_000;
/// For how long something that was told of and does not come is looked for: its local transaction was rolled back, or takes
/// very long, and then comparing finds it.
const LOOKED_FOR: Duration = Duration::from_secs(1);

/// The SKUs, each with the version up to which there is something, as far as is known.
#[derive(Default)]
pub struct Pending {
    inner: Mutex<Inner>,
    told: Notify,
}

#[derive(Default)]
struct Inner {
    /// Only the one who passes on collects.
    collects: bool,
    skus: BTreeMap<String, (i64, Instant)>,
    /// The last that was taken, so that all have their turn.
    last: String,
}

impl Listener for Pending {
    fn about_to_change(&self, sku: &str, version: i64) {
        if self.inner().note(sku, version) {
            self.told.notify_one();
        }
    }
}

impl Pending {
    /// Begins to collect, or stops and forgets.
    pub fn collect(&self, collects: bool) {
        *self.inner() = Inner { collects, ..Inner::default() };
    }

    /// Adds what comparing has found.
    pub fn add(&self, found: Vec<(String, i64)>) {
        let mut inner = self.inner();
        for (sku, version) in found {
            inner.note(&sku, version);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.inner().skus.len()
    }

    /// The next in turn, at most so many.
    pub fn take(&self, most: usize) -> Vec<String> {
        let mut inner = self.inner();
        let after = inner.skus.range::<str, _>((Excluded(inner.last.as_str()), Unbounded)).map(|(sku, _)| sku);
        let around = after.chain(inner.skus.keys().take_while(|sku| **sku <= inner.last));
        let taken: Vec<String> = around.take(most).cloned().collect();
        inner.last = taken.last().cloned().unwrap_or_default();
        taken
    }

    /// A SKU was looked at: it was passed on up to here, and there was something or not.
    pub fn settle(&self, sku: &str, passed_on: i64, had_news: bool) {
        let mut inner = self.inner();
        let Some((version, since)) = inner.skus.get_mut(sku) else { return };
        if had_news {
            *since = Instant::now();
        }
        if *version <= passed_on || since.elapsed() > LOOKED_FOR {
            inner.skus.remove(sku);
        }
    }

    /// Waits until something is told, but not longer than this.
    pub async fn told_within(&self, within: Duration) {
        let _ = tokio::time::timeout(within, self.told.notified()).await;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether there was nothing before.
    fn note(&mut self, sku: &str, version: i64) -> bool {
        if !self.collects {
            return false;
        }
        if let Some((known, since)) = self.skus.get_mut(sku) {
            if *known < version {
                (*known, *since) = (version, Instant::now());
            }
        } else if self.skus.len() < MAX {
            self.skus.insert(sku.to_owned(), (version, Instant::now()));
            return self.skus.len() == 1;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_skus_have_their_turn_until_they_are_passed_on() {
        let pending = Pending::default();
        pending.about_to_change("a", 1);
        assert_eq!(pending.len(), 0, "who stands by collects nothing");
        pending.collect(true);
        for (sku, version) in [("a", 5), ("b", 1), ("c", 1), ("a", 2)] {
            pending.about_to_change(sku, version);
        }
        assert_eq!(pending.take(2), ["a", "b"]);
        assert_eq!(pending.take(2), ["c", "a"]);
        pending.settle("a", 2, true);
        pending.settle("b", 1, true);
        pending.settle("c", 0, false);
        assert_eq!(pending.take(9), ["c", "a"]);
        pending.settle("a", 5, true);
        assert_eq!(pending.take(9), ["c"]);
        for place in 0..MAX + 5 {
            pending.about_to_change(&place.to_string(), 1);
        }
        assert_eq!(pending.len(), MAX);
    }
}
