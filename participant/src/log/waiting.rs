//! Branches that this writer has prepared and that wait for their decision.
//!
//! A decision names only the transaction, and what it is applied to stands in the log's row. Usually the process that is
//! told the decision is the one that prepared the branch moments ago: then the branch is still at hand here, and neither
//! travels back from the database nor is decoded again. What is not here is read from the row.
//!
//! A branch is kept only if this writer has inserted its row and COMMIT has returned. A row never changes its branch, so
//! what is here is what stands there. Whatever is decided by another process, or given up, is pushed out by what comes
//! after it.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::PreparedBranch;

/// So many branches push out those that came before the ones before them.
const GENERATION: usize = 20_000;

/// The branches that wait.
#[derive(Debug)]
pub struct Waiting<B> {
    inner: Mutex<Inner<B>>,
}

#[derive(Debug)]
struct Inner<B> {
    /// Of the batch under way; whether it stands is not known yet.
    written: Vec<PreparedBranch<B>>,
    young: HashMap<Uuid, Arc<B>>,
    old: HashMap<Uuid, Arc<B>>,
}

impl<B> Default for Waiting<B> {
    fn default() -> Self {
        Waiting { inner: Mutex::new(Inner { written: Vec::new(), young: HashMap::new(), old: HashMap::new() }) }
    }
}

impl<B> Waiting<B> {
    /// A batch begins: what an earlier one has written without its COMMIT having returned is not kept.
    pub fn begin(&self) {
        self.lock().written.clear();
    }

    /// The batch has inserted the row of a branch and holds what it asks for.
    pub fn wrote(&self, branch: PreparedBranch<B>) {
        self.lock().written.push(branch);
    }

    /// COMMIT has returned: what the batch has written stands.
    pub fn committed(&self) {
        let inner = &mut *self.lock();
        for PreparedBranch { transaction_id, branch } in inner.written.drain(..) {
            if inner.young.len() >= GENERATION {
                inner.old = std::mem::take(&mut inner.young);
            }
            inner.young.insert(transaction_id, branch);
        }
    }

    /// Takes the branches of these transactions, if all of them are here.
    pub fn take_all(&self, transaction_ids: impl Iterator<Item = Uuid>) -> Option<Vec<PreparedBranch<B>>> {
        let inner = &mut *self.lock();
        let take = |transaction_id| {
            let branch = inner.young.remove(&transaction_id).or_else(|| inner.old.remove(&transaction_id))?;
            Some(PreparedBranch { transaction_id, branch })
        };
        transaction_ids.map(take).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<B>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(text: &'static str) -> PreparedBranch<&'static str> {
        PreparedBranch { transaction_id: Uuid::now_v7(), branch: text.into() }
    }

    #[test]
    fn only_what_is_known_to_stand_is_kept() {
        let waiting = Waiting::default();
        let (lost, kept) = (branch("lost"), branch("kept"));
        waiting.begin();
        waiting.wrote(lost.clone());
        waiting.begin();
        waiting.wrote(kept.clone());
        waiting.committed();
        assert!(waiting.take_all([lost.transaction_id].into_iter()).is_none());
        assert_eq!(waiting.take_all([kept.transaction_id].into_iter()), Some(vec![kept]));
    }

    #[test]
    fn what_nobody_decides_here_is_pushed_out() {
        let waiting = Waiting::default();
        let first = branch("first");
        waiting.wrote(first.clone());
        waiting.committed();
        for _ in 0..2 * GENERATION {
            waiting.wrote(branch("later"));
        }
        waiting.committed();
        assert!(waiting.take_all([first.transaction_id].into_iter()).is_none());
        let inner = waiting.lock();
        assert!(inner.young.len() + inner.old.len() <= 2 * GENERATION);
    }
}
