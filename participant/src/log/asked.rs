//! The PREPAREs of a writer's batch.
use std::sync::Arc;

use uuid::Uuid;

use super::batches::{self, NewBatch};
use super::entry::Entry;
use crate::resource::HoldAll;
use crate::{PreparedBranch, Resource, TransactionRef};

/// The PREPAREs among entries, and the batches of rows that they come into.
pub struct Asked<'a, B> {
    /// Of one origin each, and of one partition.
    pub batches: Vec<NewBatch<'a>>,
    /// In the order in which they came.
    pub branches: Vec<AskedBranch<'a, B>>,
}

/// One of them.
pub struct AskedBranch<'a, B> {
    /// Of which transaction.
    pub transaction: TransactionRef,
    /// What is asked of the service.
    pub branch: &'a Arc<B>,
    /// The batch that its row comes into.
    pub batch_id: Uuid,
}

impl<'a, B: Send + Sync + 'static> Asked<'a, B> {
    /// Those among these entries.
    pub fn of(entries: &'a [Entry<B>]) -> Self {
        let (mut batches, mut branches) = (Vec::<NewBatch<'_>>::new(), Vec::new());
        for entry in entries {
            if let Entry::Prepare { transaction, origin, bytes, branch } = entry {
                let kind = (&**origin, batches::span(transaction));
                let place = batches.iter().position(|batch| batch.kind() == kind).unwrap_or_else(|| {
                    batches.push(NewBatch { batch_id: Uuid::now_v7(), origin, rows: Vec::new() });
                    batches.len() - 1
                });
                batches[place].rows.push((*transaction, bytes));
                branches.push(AskedBranch { transaction: *transaction, branch, batch_id: batches[place].batch_id });
            }
        }
        // Another process that is sent the same inserts it in the same order.
        batches.sort_unstable_by(|one, other| one.kind().cmp(&other.kind()));
        Asked { batches, branches }
    }

    /// How all of them are held at once, and those committed take effect, if that can be done.
    pub fn hold_all(
        &self,
        resource: &impl Resource<Branch = B>,
        committed: &[PreparedBranch<B>],
    ) -> Result<Option<HoldAll>, sqlx::Error> {
        match self.batches.len() {
            1 => resource.hold_all(&branches(&self.branches), committed),
            _ => Ok(None),
        }
    }
}

/// As the service takes them.
pub fn branches<B>(asked: &[AskedBranch<'_, B>]) -> Vec<PreparedBranch<B>> {
    let prepared = |asked: &AskedBranch<'_, B>| PreparedBranch {
        transaction_id: asked.transaction.transaction_id,
        branch: Arc::clone(asked.branch),
    };
    asked.iter().map(prepared).collect()
}
