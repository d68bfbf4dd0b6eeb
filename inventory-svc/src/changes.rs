//! Tells those in this process who want to know of a change of stock at once.
//!
//! The ledger tells it when it has written a movement: before anybody is told of the order, and mostly before the local transaction
//! commits, which may be rolled back. So whoever listens learns what to look at, and not what is so. What other processes change is not told here.
use std::sync::{Arc, PoisonError, RwLock, Weak};

/// Who is told.
pub trait Listener: Send + Sync + 'static {
    /// The stock of a SKU is about to be at this version. It must not take long: orders wait.
    fn about_to_change(&self, sku: &str, version: i64);
}

static LISTENERS: RwLock<Vec<Weak<dyn Listener>>> = RwLock::new(Vec::new());

/// Tells a listener of all that follows, as long as it lives.
pub fn listen(listener: &Arc<impl Listener>) {
    let listener: Weak<dyn Listener> = Arc::downgrade(&(listener.clone() as Arc<dyn Listener>));
    let mut listeners = LISTENERS.write().unwrap_or_else(PoisonError::into_inner);
    listeners.retain(|listener| listener.strong_count() > 0);
    listeners.push(listener);
}

/// Tells all who listen.
pub fn tell<'a>(changed: impl Iterator<Item = (&'a str, i64)> + Clone) {
    for listener in LISTENERS.read().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade) {
        changed.clone().for_each(|(sku, version)| listener.about_to_change(sku, version));
    }
}
