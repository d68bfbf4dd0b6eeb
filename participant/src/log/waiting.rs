//! What this writer has prepared and what waits for its decision: the branches, and how much of each batch is left.
//!
//! A decision names only the transaction, and what it is applied to stands in the log's row. Usually the process that is
//! told the decision is the one that prepared the branch moments ago: then the branch is still at hand here, and neither
//! travels back from the database nor is decoded again. What is not here is read from the row. And whoever knows all that is
//! left of a batch, and is told to commit all of it, can close the batch and need not touch its rows.
//!
//! A branch is kept only if this writer has inserted its row and COMMIT has returned. A row never changes its branch, so
//! what is here is what stands there. How much is left of a batch others may change, and a crash of the database may take
//! back what was decided lazily; so it is kept with the revision of the batch that it is true of, and the statement that
//! relies on it compares the two. Whatever is decided by another process, or given up, is pushed out by what comes after it.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::PreparedBranch;

/// So many branches push out those that came before the ones before them.
const GENERATION: usize = 20_000;

/// What waits.
#[derive(Debug)]
pub struct Waiting<B> {
    inner: Mutex<Inner<B>>,
}

#[derive(Debug)]
struct Inner<B> {
    /// Names the local transaction under way in the batches that it writes.
    revision: Uuid,
    /// What it has prepared, with its batch; whether it stands is not known yet.
    written: Vec<(Uuid, PreparedBranch<B>)>,
    /// What it leaves of batches of which it has decided a part; likewise.
    lowered: HashMap<Uuid, Left>,
    young: Generation<B>,
    old: Generation<B>,
}

#[derive(Debug)]
struct Generation<B> {
    /// By transaction, with the batch.
    branches: HashMap<Uuid, (Uuid, Arc<B>)>,
    batches: HashMap<Uuid, Left>,
}

/// What is left undecided of a batch, all of it at hand here, as long as the batch has this revision.
#[derive(Debug, Clone, Copy)]
struct Left {
    revision: Uuid,
    count: usize,
}

/// A batch that can be closed: these are all that is left of it.
#[derive(Debug, PartialEq)]
pub struct Closing<B> {
    /// Which batch.
    pub batch_id: Uuid,
    /// Its revision, as far as is known here; if it has another one now, others may be left.
    pub revision: Uuid,
    /// What is left of it.
    pub branches: Vec<PreparedBranch<B>>,
}

impl<B> Closing<B> {
    /// How many rows are left undecided.
    pub fn undecided(&self) -> i32 {
        i32::try_from(self.branches.len()).unwrap_or(i32::MAX)
    }
}

impl<B> Default for Waiting<B> {
    fn default() -> Self {
        let (written, lowered) = (Vec::new(), HashMap::new());
        let (young, old) = (Generation::default(), Generation::default());
        Waiting { inner: Mutex::new(Inner { revision: Uuid::nil(), written, lowered, young, old }) }
    }
}

impl<B> Default for Generation<B> {
    fn default() -> Self {
        Generation { branches: HashMap::new(), batches: HashMap::new() }
    }
}

impl<B> Waiting<B> {
    /// A local transaction begins: what an earlier one has written without its COMMIT having returned is not kept.
    pub fn begin(&self, revision: Uuid) {
        let inner = &mut *self.lock();
        inner.revision = revision;
        inner.written.clear();
        inner.lowered.clear();
    }

    /// It has inserted the row of a branch, in a batch of its own, and holds what it asks for.
    pub fn wrote(&self, batch_id: Uuid, branch: PreparedBranch<B>) {
        self.lock().written.push((batch_id, branch));
    }

    /// Takes the batches of which all that is left is among these transactions.
    pub fn take_batches(&self, transaction_ids: impl Iterator<Item = Uuid>) -> Vec<Closing<B>> {
        let inner = &mut *self.lock();
        let mut places = HashMap::new();
        let mut asked: Vec<(Uuid, Vec<PreparedBranch<B>>)> = Vec::new();
        for transaction_id in transaction_ids {
            let Some((batch_id, branch)) = inner.branch(transaction_id) else { continue };
            let place = *places.entry(*batch_id).or_insert(asked.len());
            let branch = PreparedBranch { transaction_id, branch: branch.clone() };
            match asked.get_mut(place) {
                Some((_, branches)) => branches.push(branch),
                None => asked.push((*batch_id, vec![branch])),
            }
        }
        let mut closing = Vec::with_capacity(asked.len());
        for (batch_id, branches) in asked {
            if inner.left(batch_id).is_none_or(|left| left.count != branches.len()) {
                continue;
            }
            branches.iter().for_each(|branch| drop(inner.take_branch(branch.transaction_id)));
            if let Some(Left { revision, .. }) = inner.take_left(batch_id) {
                closing.push(Closing { batch_id, revision, branches });
            }
        }
        // As they are locked.
        closing.sort_unstable_by_key(|batch| batch.batch_id);
        closing
    }

    /// Takes those branches of these transactions that are here.
    pub fn take(&self, transaction_ids: impl Iterator<Item = Uuid>) -> HashMap<Uuid, Arc<B>> {
        let inner = &mut *self.lock();
        transaction_ids.filter_map(|id| Some((id, inner.take_branch(id)?.1))).collect()
    }

    /// The local transaction has decided so many rows of a batch that had this revision until then.
    pub fn decided(&self, batch_id: Uuid, revision: Uuid, count: usize) {
        let inner = &mut *self.lock();
        // With another revision others have decided as well, and what is left is not known here any more.
        let Some(left) = inner.take_left(batch_id).filter(|left| left.revision == revision) else { return };
        let count = left.count.saturating_sub(count);
        inner.lowered.insert(batch_id, Left { revision: inner.revision, count });
    }

    /// COMMIT has returned: what the local transaction has written stands.
    pub fn committed(&self) {
        let inner = &mut *self.lock();
        if inner.young.branches.len() >= GENERATION {
            inner.old = std::mem::take(&mut inner.young);
        }
        let Generation { branches, batches } = &mut inner.young;
        for (batch_id, PreparedBranch { transaction_id, branch }) in inner.written.drain(..) {
            batches.entry(batch_id).or_insert(Left { revision: inner.revision, count: 0 }).count += 1;
            branches.insert(transaction_id, (batch_id, branch));
        }
        batches.extend(inner.lowered.drain().filter(|(_, left)| left.count > 0));
    }

    fn lock(&self) -> MutexGuard<'_, Inner<B>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Inner<B> {
    fn branch(&self, transaction_id: Uuid) -> Option<&(Uuid, Arc<B>)> {
        self.young.branches.get(&transaction_id).or_else(|| self.old.branches.get(&transaction_id))
    }

    fn take_branch(&mut self, transaction_id: Uuid) -> Option<(Uuid, Arc<B>)> {
        self.young.branches.remove(&transaction_id).or_else(|| self.old.branches.remove(&transaction_id))
    }

    fn left(&self, batch_id: Uuid) -> Option<&Left> {
        let kept = || self.young.batches.get(&batch_id).or_else(|| self.old.batches.get(&batch_id));
        self.lowered.get(&batch_id).or_else(kept)
    }

    fn take_left(&mut self, batch_id: Uuid) -> Option<Left> {
        let Inner { lowered, young, old, .. } = self;
        let kept = || young.batches.remove(&batch_id).or_else(|| old.batches.remove(&batch_id));
        lowered.remove(&batch_id).or_else(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Texts = Waiting<&'static str>;

    fn branch(text: &'static str) -> PreparedBranch<&'static str> {
        PreparedBranch { transaction_id: Uuid::now_v7(), branch: text.into() }
    }

    /// A local transaction that prepares one batch of these, until before its COMMIT. Its revision and its batch.
    fn prepare(waiting: &Texts, branches: &[PreparedBranch<&'static str>]) -> (Uuid, Uuid) {
        let (revision, batch_id) = (Uuid::now_v7(), Uuid::now_v7());
        waiting.begin(revision);
        branches.iter().for_each(|branch| waiting.wrote(batch_id, branch.clone()));
        (revision, batch_id)
    }

    fn take(waiting: &Texts, branches: &[PreparedBranch<&'static str>]) -> Vec<Closing<&'static str>> {
        waiting.take_batches(branches.iter().map(|branch| branch.transaction_id))
    }

    #[test]
    fn only_what_is_known_to_stand_is_kept() {
        let waiting = Texts::default();
        let (lost, kept) = (branch("lost"), branch("kept"));
        prepare(&waiting, std::slice::from_ref(&lost));
        let (revision, batch_id) = prepare(&waiting, std::slice::from_ref(&kept));
        waiting.committed();
        assert_eq!(take(&waiting, &[lost, kept.clone()]), [Closing { batch_id, revision, branches: vec![kept] }]);
    }

    #[test]
    fn a_batch_is_taken_only_with_all_that_is_left_of_it() {
        let waiting = Texts::default();
        let [first, second, third] = ["first", "second", "third"].map(branch);
        let (revision, batch_id) = prepare(&waiting, &[first.clone(), second.clone(), third.clone()]);
        waiting.committed();
        assert_eq!(take(&waiting, &[first.clone(), second.clone()]), []);

        let decides = Uuid::now_v7();
        waiting.begin(decides);
        assert_eq!(waiting.take([first.transaction_id].into_iter()).len(), 1);
        waiting.decided(batch_id, revision, 1);
        waiting.committed();
        assert_eq!(take(&waiting, std::slice::from_ref(&third)), []);
        let rest = vec![third, second];
        assert_eq!(take(&waiting, &rest.clone()), [Closing { batch_id, revision: decides, branches: rest }]);
    }

    #[test]
    fn what_others_have_decided_of_a_batch_or_a_rollback_makes_it_unknown() {
        for is_lost in [true, false] {
            let waiting = Texts::default();
            let [decided, left] = ["decided", "left"].map(branch);
            let (revision, batch_id) = prepare(&waiting, &[decided.clone(), left.clone()]);
            waiting.committed();
            waiting.begin(Uuid::now_v7());
            waiting.take([decided.transaction_id].into_iter());
            waiting.decided(batch_id, if is_lost { revision } else { Uuid::now_v7() }, 1);
            match is_lost {
                true => waiting.begin(Uuid::now_v7()),
                false => waiting.committed(),
            }
            assert_eq!(take(&waiting, std::slice::from_ref(&left)), []);
            assert_eq!(waiting.take([left.transaction_id].into_iter()).len(), 1, "the branch itself is at hand");
        }
    }

    #[test]
    fn what_nobody_decides_here_is_pushed_out() {
        let waiting = Texts::default();
        let first = branch("first");
        prepare(&waiting, std::slice::from_ref(&first));
        waiting.committed();
        for _ in 0..2 * GENERATION / 100 + 2 {
            prepare(&waiting, &[(); 100].map(|()| branch("later")));
            waiting.committed();
        }
        assert_eq!(take(&waiting, &[first]), []);
        let inner = waiting.lock();
        assert!(inner.young.branches.len() + inner.old.branches.len() <= 2 * GENERATION + 200);
        assert!(inner.young.batches.len() + inner.old.batches.len() <= 2 * GENERATION / 100 + 2);
    }
}
