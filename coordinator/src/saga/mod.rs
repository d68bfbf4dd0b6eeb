//! Sagas: begins them, drives them by [`protocol::saga`], takes over what others left, and lets operators steer.
//!
//! A saga is driven by one task, which waits for nobody but its own participants and its own writes. Whoever drives it
//! owns its row under an epoch: a takeover, also one by an operator's pause, resume or cancel, increments it, and the
//! task that drove it before finds that out at its next write or before its next retry.
mod drive;
mod follow;
pub mod group;
mod operate;
mod order;
mod place;
mod retry;
mod takeover;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

pub use follow::outcome as follow_holder;
pub use operate::{Steering, cancel, pause, resume};
pub use order::steps as steps_of;
pub use place::place;
pub use takeover::{adopt, take_over};

/// Whether a driver is to leave its saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// It is not.
    No,
    /// Once no client waits for its answer: the process is stopping.
    IfNobodyWaits,
    /// At once: somebody else drives it from now on.
    Now,
}

/// The sagas that this process drives.
#[derive(Clone, Default)]
pub struct Sagas {
    driven: Arc<Mutex<HashMap<Uuid, watch::Sender<Leave>>>>,
}

impl Sagas {
    /// Enters a saga; none if it is driven here already. The receiver says when its driver is to leave.
    fn enter(&self, transaction_id: Uuid) -> Option<(Driven, watch::Receiver<Leave>)> {
        let mut driven = self.lock();
        if driven.contains_key(&transaction_id) {
            return None;
        }
        let (leave, told) = watch::channel(Leave::No);
        driven.insert(transaction_id, leave);
        Some((Driven { sagas: self.clone(), transaction_id }, told))
    }

    /// Whether this process drives the saga.
    pub fn drives(&self, transaction_id: Uuid) -> bool {
        self.lock().contains_key(&transaction_id)
    }

    /// Has the saga's driver leave, and waits until it has.
    async fn dismiss(&self, transaction_id: Uuid) {
        let leave = self.lock().get(&transaction_id).cloned();
        if let Some(leave) = leave {
            leave.send_replace(Leave::Now);
            // The driver holds the receiver until it is gone.
            leave.closed().await;
        }
    }

    /// Has all drivers leave that have answered their clients: others go on with their sagas.
    pub fn stop(&self) {
        for leave in self.lock().values() {
            leave.send_replace(Leave::IfNobodyWaits);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<Leave>>> {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A saga's place among those driven, until it is dropped.
struct Driven {
    sagas: Sagas,
    transaction_id: Uuid,
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.sagas.lock().remove(&self.transaction_id);
    }
}
