//! Readings in this process.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::changes::Listener;
use crate::domain::Reading;

/// SKUs of which something is kept, at most.
const MAX: usize = 100_000;
/// For how long a version that was told of is waited for. No local transaction takes as long, so by then it was rolled back.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// What is kept, for how long.
pub struct Cache {
    max_age: Duration,
    /// Whether versions are noted of SKUs of which nothing is kept.
    notes_all: bool,
    entries: Mutex<HashMap<String, Entry>>,
}

struct Entry {
    reading: Option<Arc<Reading>>,
    /// Before the database was asked for it; for one that is expected: when that began.
    loaded: Instant,
    /// It is about to be at this version, so nothing older is given out; and when that was told.
    told: Option<(i64, Instant)>,
}

impl Entry {
    fn least(&self) -> i64 {
        self.told.filter(|(_, when)| when.elapsed() < TOLD_FOR).map_or(0, |(version, _)| version)
    }
}

impl Listener for Cache {
    fn about_to_change(&self, sku: &str, version: i64) {
        let told = Some((version, Instant::now()));
        let mut entries = self.entries();
        match entries.get_mut(sku) {
            Some(entry) if entry.least() < version => entry.told = told,
            Some(_) => (),
            None if self.notes_all => {
                make_room(&mut entries, self.max_age);
                entries.insert(sku.to_owned(), Entry { reading: None, loaded: Instant::now(), told });
            }
            None => (),
        }
    }
}

impl Cache {
    /// An empty one.
    pub fn new(max_age: Duration, notes_all: bool) -> Self {
        Cache { max_age, notes_all, entries: Mutex::default() }
    }

    /// What is known of a SKU, if that is not too old.
    pub fn get(&self, sku: &str, min_version: i64) -> Option<Arc<Reading>> {
        let entries = self.entries();
        let entry = entries.get(sku)?;
        let reading = entry.reading.as_ref().filter(|_| entry.loaded.elapsed() < self.max_age)?;
        (reading.stock.version >= entry.least().max(min_version)).then(|| reading.clone())
    }

    /// These are about to be loaded: what is told of them meanwhile must not be missed.
    pub fn expect(&self, skus: &[String]) {
        if self.max_age.is_zero() {
            return;
        }
        let mut entries = self.entries();
        for sku in skus {
            if !entries.contains_key(sku) {
                make_room(&mut entries, self.max_age);
                entries.insert(sku.clone(), Entry { reading: None, loaded: Instant::now(), told: None });
            }
        }
    }

    /// Keeps a reading for which the database was asked after `loaded`, unless a newer one is known of.
    pub fn store(&self, sku: &str, reading: Arc<Reading>, loaded: Instant) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(sku) else { return };
        let is_newer = entry.reading.as_ref().is_none_or(|kept| {
            // One with a lower version may be the newer one: the database may have lost something in a crash.
            kept.stock.version <= reading.stock.version || entry.loaded < loaded
        });
        if is_newer && reading.stock.version >= entry.least() {
            (entry.reading, entry.loaded) = (Some(reading), loaded);
        }
    }

    /// Forgets a SKU.
    pub fn forget(&self, sku: &str) {
        if let Some(entry) = self.entries().get_mut(sku) {
            entry.reading = None;
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes what is of no use any more, and then, if there is still too much, whatever comes first.
fn make_room(entries: &mut HashMap<String, Entry>, max_age: Duration) {
    if entries.len() < MAX {
        return;
    }
    let (old, told) = (max_age * 4, max_age * 4);
    entries
        .retain(|_, entry| entry.loaded.elapsed() < old || entry.told.is_some_and(|(_, when)| when.elapsed() < told));
    let mut surplus = entries.len().saturating_sub(MAX / 2);
    if entries.len() >= MAX {
        entries.retain(|_, _| {
            let goes = surplus > 0;
            surplus = surplus.saturating_sub(1);
            !goes
        });
    }
}
