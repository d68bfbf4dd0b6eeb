//! Recovery: finds out or makes the decision of a transaction that nobody drives any more, and sends it.
//!
//! [`takeover`] and [`lease`] say when, [`run`] carries out [`protocol::recovery::Recovery`], which says what. Safe at
//! any time: a run that was not needed changes nothing that was decided.
mod lease;
mod locate;
mod run;
mod takeover;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use participant::TransactionRef;
use protocol::recovery::Outcome;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use crate::coordinator::Coordinator;
use crate::store::Record;

pub use lease::{keep_lease, take_lease};
pub use locate::locate;
pub use takeover::take_over;

/// Runs at one time, at most: enough for full batches of FENCEs and of decided records.
const MAX_RUNS: usize = 1024;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// What is known now.
    pub outcome: Outcome,
    /// What is in the way, where that is in doubt.
    pub detail: String,
}

impl Recovered {
    fn in_doubt(detail: impl Into<String>) -> Self {
        Recovered { outcome: Outcome::InDoubt, detail: detail.into() }
    }
}

type Running = HashMap<Uuid, watch::Receiver<Option<Recovered>>>;

/// The recoveries of this process: one run per transaction at a time.
pub struct Recoverer {
    running: Arc<Mutex<Running>>,
    /// Why transactions stay in doubt, for the operator.
    in_doubt: Mutex<HashMap<Uuid, String>>,
    permits: Semaphore,
}

impl Default for Recoverer {
    fn default() -> Self {
        Recoverer { running: Arc::default(), in_doubt: Mutex::default(), permits: Semaphore::new(MAX_RUNS) }
    }
}

impl Recoverer {
    /// Why the last run on a transaction could not decide; empty if it could, or there was none.
    pub fn why_in_doubt(&self, transaction_id: Uuid) -> String {
        lock(&self.in_doubt).get(&transaction_id).cloned().unwrap_or_default()
    }

    fn note(&self, transaction_id: Uuid, recovered: &Recovered) {
        let mut in_doubt = lock(&self.in_doubt);
        if recovered.outcome == Outcome::InDoubt {
            in_doubt.insert(transaction_id, recovered.detail.clone());
        } else {
            in_doubt.remove(&transaction_id);
        }
    }
}

/// Recovers a transaction, in a task of its own; joins a run that is under way. `participants` are those of a
/// participant's row; a record that stands knows better.
pub async fn recover(
    coordinator: &Arc<Coordinator>,
    transaction: TransactionRef,
    participants: Vec<String>,
) -> Recovered {
    let mut receiver = start(coordinator, transaction, participants, None);
    match receiver.wait_for(Option::is_some).await {
        Ok(recovered) => recovered.clone().unwrap_or_else(|| Recovered::in_doubt("the run told nothing")),
        Err(_) => Recovered::in_doubt("the coordinator stopped the run"),
    }
}

fn start(
    coordinator: &Arc<Coordinator>,
    transaction: TransactionRef,
    participants: Vec<String>,
    read: Option<Record>,
) -> watch::Receiver<Option<Recovered>> {
    let id = transaction.transaction_id;
    let mut running = lock(&coordinator.recoverer.running);
    if let Some(receiver) = running.get(&id) {
        return receiver.clone();
    }
    let (sender, receiver) = watch::channel(None);
    running.insert(id, receiver.clone());
    let place = Place { running: coordinator.recoverer.running.clone(), id };
    let coordinator = coordinator.clone();
    let tasks = coordinator.tasks.clone();
    tasks.spawn(async move {
        let recovered = match coordinator.recoverer.permits.acquire().await {
            Ok(permit) => run::run(&coordinator, transaction, &participants, read, permit).await,
            Err(_) => Recovered::in_doubt("no recovery runs any more"),
        };
        coordinator.recoverer.note(id, &recovered);
        drop(place);
        let _ = sender.send(Some(recovered));
    });
    receiver
}

/// A run's place among the running ones, until it is dropped.
struct Place {
    running: Arc<Mutex<Running>>,
    id: Uuid,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
