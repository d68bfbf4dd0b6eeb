//! The attempts that this process drives: which requests, and what was already decided.
//!
//! An attempt stays here from its start until its record is final and every participant has acknowledged. Who reads an
//! order meanwhile is told the decision from here, because the answer to the client may be ahead of every database.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use participant::Refusal;
use protocol::Decision;
use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;
use uuid::Uuid;

#[derive(Default)]
struct Inner {
    /// How many attempts are under way for a request.
    requests: HashMap<Arc<(String, String)>, usize>,
    attempts: HashMap<Uuid, Running>,
}

#[derive(Default)]
struct Running {
    decision: Option<Decided>,
    /// Who waits until it has left: nothing is ever sent, the senders are dropped then.
    waiters: Vec<oneshot::Sender<()>>,
}

/// What was decided for an attempt, and why where it is an abort.
pub type Decided = (Decision, Option<Refusal>);

/// The attempts under way.
#[derive(Clone, Default)]
pub struct Active {
    inner: Arc<Mutex<Inner>>,
}

impl Active {
    /// Enters an attempt; also tells whether another one for the same request is under way. A graceful stop waits for the
    /// token.
    pub fn begin(
        &self,
        transaction_id: Uuid,
        client_id: &str,
        request_id: &str,
        token: TaskTrackerToken,
    ) -> (Attending, bool) {
        let request = Arc::new((client_id.to_owned(), request_id.to_owned()));
        let mut inner = self.lock();
        let count = inner.requests.entry(request.clone()).or_default();
        *count += 1;
        let repeated = *count > 1;
        inner.attempts.insert(transaction_id, Running::default());
        (Attending { active: self.clone(), transaction_id, request, _token: token }, repeated)
    }

    /// How many attempts are under way, or not settled yet.
    pub fn len(&self) -> usize {
        self.lock().attempts.len()
    }

    /// Whether this process drives an attempt at the request.
    pub fn drives_request(&self, client_id: &str, request_id: &str) -> bool {
        self.lock().requests.contains_key(&(client_id.to_owned(), request_id.to_owned()))
    }

    /// Whether this process drives the attempt.
    pub fn drives(&self, transaction_id: Uuid) -> bool {
        self.lock().attempts.contains_key(&transaction_id)
    }

    /// Notes the decision for an attempt under way; before anyone is told.
    pub fn decide(&self, transaction_id: Uuid, decision: Decision, refusal: Option<Refusal>) {
        if let Some(running) = self.lock().attempts.get_mut(&transaction_id) {
            running.decision = Some((decision, refusal));
        }
    }

    /// What was decided for an attempt under way.
    pub fn decision(&self, transaction_id: Uuid) -> Option<Decided> {
        self.lock().attempts.get(&transaction_id)?.decision.clone()
    }

    /// Resolves when the attempt has left: at once if it isn't here.
    pub async fn settled(&self, transaction_id: Uuid) {
        let (waiter, left) = oneshot::channel();
        match self.lock().attempts.get_mut(&transaction_id) {
            Some(running) => running.waiters.push(waiter),
            None => return,
        }
        let _ = left.await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt's place among the active ones, until it is dropped.
pub struct Attending {
    active: Active,
    transaction_id: Uuid,
    request: Arc<(String, String)>,
    _token: TaskTrackerToken,
}

impl Drop for Attending {
    fn drop(&mut self) {
        let mut inner = self.active.lock();
        inner.attempts.remove(&self.transaction_id);
        if let Some(count) = inner.requests.get_mut(&self.request) {
            *count -= 1;
            if *count == 0 {
                inner.requests.remove(&self.request);
            }
        }
    }
}
