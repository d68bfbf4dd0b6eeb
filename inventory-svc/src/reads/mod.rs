//! The read side: what is shown of stock, without asking the database each time.
//!
//! A reading is kept for a moment ([`Settings::max_age`]), in this process and, where there is one, in Redis. What this process
//! writes is told to the cache before it is committed ([`crate::changes`]): from then on no older reading is given out, so whoever has
//! written here reads what was written. What other processes write is seen when the reading is that moment old; whoever can't wait
//! names the version that he must see at least.
//!
//! A reading is never kept beyond its moment, whatever happens: also where the database crashes and loses what it had committed
//! lazily, where a process dies between its commit and telling of it, and where Redis keeps something for longer.
mod cache;
mod load;
mod shared;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use participant::{Pool, status};
use tonic::Status;

use crate::changes;
use crate::domain::Reading;
use cache::Cache;
use load::Loader;
use shared::Shared;

/// How long a version is waited for that is not there yet.
const WAITED_FOR: Duration = Duration::from_secs(1);
/// How often it is looked for.
const AGAIN: Duration = Duration::from_millis(20);

/// How readings are kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For how long; zero: not at all.
    pub max_age: Duration,
    /// The Redis in which they are kept too.
    pub redis: Option<redis::Client>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { max_age: Duration::from_millis(250), redis: None }
    }
}

/// The read side of a process.
pub struct Reads {
    cache: Arc<Cache>,
    loader: Loader,
    shared: Option<Arc<Shared>>,
}

impl Reads {
    /// The read side of a database.
    pub fn new(pool: Pool) -> Self {
        Self::with(pool, Settings::default())
    }

    /// One that keeps readings in another way.
    pub fn with(pool: Pool, settings: Settings) -> Self {
        let Settings { max_age, redis } = settings;
        let redis = redis.filter(|_| !max_age.is_zero());
        let shared = redis.map(|client| Arc::new(Shared::new(client, pool.clone(), max_age)));
        // What Redis may have of a SKU must be known to be old even where nothing is kept of it here.
        let cache = Arc::new(Cache::new(max_age, shared.is_some()));
        changes::listen(&cache);
        Reads { cache, loader: Loader::new(pool), shared }
    }

    /// How often the database was asked.
    #[cfg(test)]
    pub fn questions(&self) -> u64 {
        self.loader.questions()
    }

    /// Reads SKUs, each at least at its version; those that there are not are left out.
    pub async fn read(&self, wanted: &HashMap<String, i64>) -> Result<HashMap<String, Arc<Reading>>, Status> {
        let mut found = HashMap::with_capacity(wanted.len());
        let mut missing: Vec<String> = Vec::new();
        for (sku, min_version) in wanted {
            match self.cache.get(sku, *min_version) {
                Some(reading) => drop(found.insert(sku.clone(), reading)),
                None => missing.push(sku.clone()),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        self.cache.expect(&missing);
        if let Some(shared) = &self.shared {
            for (sku, reading, loaded) in shared.get(&missing).await {
                self.cache.store(&sku, reading, loaded);
            }
            missing.retain(|sku| match self.cache.get(sku, wanted.get(sku).copied().unwrap_or_default()) {
                Some(reading) => found.insert(sku.clone(), reading).is_some(),
                None => true,
            });
        }
        let until = Instant::now() + WAITED_FOR;
        while !missing.is_empty() {
            let loaded = Instant::now();
            let readings = self.loader.load(&missing).await?;
            if let Some(shared) = &self.shared {
                shared.clone().put(missing.iter().filter_map(|sku| readings.get(sku).cloned()).collect(), loaded);
            }
            let mut too_old = Vec::new();
            for sku in missing {
                let min_version = wanted.get(&sku).copied().unwrap_or_default();
                let Some(reading) = readings.get(&sku).cloned() else {
                    if min_version > 0 {
                        too_old.push(sku);
                    }
                    continue;
                };
                self.cache.store(&sku, reading.clone(), loaded);
                match reading.stock.version >= min_version {
                    true => drop(found.insert(sku, reading)),
                    false => too_old.push(sku),
                }
            }
            missing = too_old;
            match missing.first() {
                Some(sku) if Instant::now() >= until => {
                    let version = wanted.get(sku).copied().unwrap_or_default();
                    return Err(not_yet(sku, version));
                }
                Some(_) => tokio::time::sleep(AGAIN).await,
                None => (),
            }
        }
        Ok(found)
    }

    /// Forgets what is kept of a SKU: how it is shown has changed.
    pub fn forget(&self, sku: &str) {
        self.cache.forget(sku);
        if let Some(shared) = &self.shared {
            shared.clone().forget(sku.to_owned());
        }
    }
}

fn not_yet(sku: &str, version: i64) -> Status {
    let metadata = [("sku", sku.to_owned()), ("min_version", version.to_string())];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into();
    let message = format!("{sku} is not at version {version} yet");
    status::unavailable("VERSION_NOT_REACHED", message, &metadata, Duration::from_millis(200))
}
