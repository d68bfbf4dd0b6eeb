//! Finishes wait here until all that is left of their batch is at hand, so that the batch can be closed by one statement.
//!
//! A batch is closed with the finishes of all of its records but those that are known to be durably final, because a forced
//! write said so. What was only written lazily does not count as final: a crash of the database may lose it, and then the
//! batch's count would speak of other records than its closing. So whoever must not wait any longer (one vote can take as
//! long as it likes) gives the whole batch up, and its records are finished one by one.
//!
//! Nobody's answer waits here: finishes come after the answer, and may be lost.
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::super::Doubt;
use super::{Closing, Finish};

/// How long a finish waits for the others of its batch.
pub const WITHIN: Duration = Duration::from_millis(200);
/// Batches of which nothing was heard for so long are forgotten: whatever their records come to is written one by one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Who is told of a finish.
pub type Then = Box<dyn FnOnce(Result<(), Doubt>) + Send>;

/// A finish and who is told of it.
pub struct Waiting {
    /// The finish.
    pub finish: Finish,
    /// Who is told.
    pub then: Then,
}

/// What is to be done now.
pub enum Next {
    /// Nothing.
    Wait,
    /// Nothing, but this batch is to be given up after [`WITHIN`].
    WaitFor(Uuid),
    /// These are to be written one by one.
    Each(Vec<Waiting>),
    /// The batch is to be closed.
    Close(Closing, Vec<Then>),
}

/// The batches that this process staged and that are open, with the finishes that wait.
#[derive(Default)]
pub struct Finishes {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The batches of records that are neither finished nor known to be final.
    batch_of: HashMap<Uuid, Uuid>,
    /// By id, which is by age.
    batches: BTreeMap<Uuid, Open>,
}

struct Open {
    opened: Instant,
    members: Vec<Uuid>,
    /// How many of them are neither finished nor known to be final.
    missing: usize,
    waiting: Vec<Waiting>,
}

impl Finishes {
    /// Takes note of a batch that was staged. Its records' finishes come later.
    pub fn open(&self, batch_id: Uuid, members: Vec<Uuid>) {
        let inner = &mut *self.lock();
        // One that has a finish waiting is given up soon anyway.
        let is_old = |open: &Open| open.opened.elapsed() > FORGOTTEN_AFTER && open.waiting.is_empty();
        while let Some((oldest, _)) = inner.batches.first_key_value().filter(|(_, open)| is_old(open)) {
            let oldest = *oldest;
            inner.forget(oldest);
        }
        inner.batch_of.extend(members.iter().map(|member| (*member, batch_id)));
        let missing = members.len();
        inner.batches.insert(batch_id, Open { opened: Instant::now(), members, missing, waiting: Vec::new() });
    }

    /// Takes a finish.
    pub fn finish(&self, waiting: Waiting) -> Next {
        let inner = &mut *self.lock();
        let id = waiting.finish.transaction_id;
        let has_decision = waiting.finish.decision.is_some();
        let Some(batch_id) = inner.batch_of.remove(&id) else { return Next::Each(vec![waiting]) };
        let Some(open) = inner.batches.get_mut(&batch_id) else { return Next::Each(vec![waiting]) };
        open.missing -= 1;
        open.waiting.push(waiting);
        if !has_decision {
            // What becomes of its record is not known here, so nothing can be said of the batch as a whole.
            return Next::Each(inner.forget(batch_id));
        }
        match (open.missing, open.waiting.len()) {
            (0, _) => inner.close(batch_id),
            (_, 1) => Next::WaitFor(batch_id),
            _ => Next::Wait,
        }
    }

    /// Takes note that a record is durably final.
    pub fn settled(&self, transaction_id: Uuid) -> Next {
        let inner = &mut *self.lock();
        let Some(batch_id) = inner.batch_of.remove(&transaction_id) else { return Next::Wait };
        let Some(open) = inner.batches.get_mut(&batch_id) else { return Next::Wait };
        open.missing -= 1;
        if open.missing == 0 { inner.close(batch_id) } else { Next::Wait }
    }

    /// Gives a batch up; returns what has waited for it.
    pub fn give_up(&self, batch_id: Uuid) -> Vec<Waiting> {
        self.lock().forget(batch_id)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget(&mut self, batch_id: Uuid) -> Vec<Waiting> {
        let Some(open) = self.batches.remove(&batch_id) else { return Vec::new() };
        for member in open.members {
            self.batch_of.remove(&member);
        }
        open.waiting
    }

    fn close(&mut self, batch_id: Uuid) -> Next {
        let waiting = self.forget(batch_id);
        if waiting.is_empty() {
            return Next::Wait;
        }
        let (finishes, then) = waiting.into_iter().map(|waiting| (waiting.finish, waiting.then)).unzip();
        Next::Close(Closing { batch_id, finishes }, then)
    }
}

#[cfg(test)]
mod tests {
    use protocol::Decision;

    use super::*;
    use crate::store::ClientAnswer;

    fn finish(transaction_id: Uuid, decision: Option<Decision>) -> Waiting {
        let finish = Finish { transaction_id, decision, client_answer: ClientAnswer::Accepted, refusal: None };
        Waiting { finish, then: Box::new(|_| ()) }
    }

    fn committed(transaction_id: Uuid) -> Waiting {
        finish(transaction_id, Some(Decision::Commit))
    }

    fn opened(finishes: &Finishes, members: &[Uuid]) -> Uuid {
        let batch_id = Uuid::now_v7();
        finishes.open(batch_id, members.to_vec());
        batch_id
    }

    fn ids<'a>(finishes: impl IntoIterator<Item = &'a Finish>) -> Vec<Uuid> {
        finishes.into_iter().map(|finish| finish.transaction_id).collect()
    }

    fn is_closed(next: &Next, batch: Uuid, finished: &[Uuid]) -> bool {
        matches!(next, Next::Close(closing, _) if closing.batch_id == batch && ids(&closing.finishes) == finished)
    }

    fn is_each(next: &Next, finished: &[Uuid]) -> bool {
        matches!(next, Next::Each(waiting) if ids(waiting.iter().map(|it| &it.finish)) == finished)
    }

    #[test]
    fn a_batch_is_closed_with_all_that_is_left_of_it() {
        let finishes = Finishes::default();
        let [one, two, three] = std::array::from_fn(|_| Uuid::now_v7());
        let batch = opened(&finishes, &[one, two, three]);
        assert!(matches!(finishes.finish(committed(two)), Next::WaitFor(id) if id == batch));
        assert!(matches!(finishes.settled(one), Next::Wait));
        assert!(matches!(finishes.settled(one), Next::Wait), "it counts once");
        let next = finishes.finish(finish(three, Some(Decision::Abort)));
        assert!(is_closed(&next, batch, &[two, three]));
        assert!(finishes.give_up(batch).is_empty());
        // What comes later is written by itself.
        assert!(is_each(&finishes.finish(finish(one, None)), &[one]));
    }

    #[test]
    fn the_last_record_that_is_settled_closes_what_has_waited() {
        let finishes = Finishes::default();
        let [one, two] = std::array::from_fn(|_| Uuid::now_v7());
        let batch = opened(&finishes, &[one, two]);
        finishes.finish(committed(two));
        assert!(is_closed(&finishes.settled(one), batch, &[two]));
        let [one, two] = std::array::from_fn(|_| Uuid::now_v7());
        opened(&finishes, &[one, two]);
        assert!(matches!((finishes.settled(one), finishes.settled(two)), (Next::Wait, Next::Wait)), "nothing is left");
        assert!(finishes.lock().batches.is_empty() && finishes.lock().batch_of.is_empty());
    }

    #[test]
    fn a_batch_that_was_given_up_is_never_closed() {
        let finishes = Finishes::default();
        let [one, two, three] = std::array::from_fn(|_| Uuid::now_v7());
        let batch = opened(&finishes, &[one, two, three]);
        finishes.finish(committed(one));
        let given_up = finishes.give_up(batch);
        assert_eq!(ids(given_up.iter().map(|it| &it.finish)), [one]);
        // The first was written lazily, and may be lost.
        assert!(is_each(&finishes.finish(committed(two)), &[two]));
        assert!(matches!(finishes.settled(three), Next::Wait));
        assert!(finishes.lock().batch_of.is_empty());
    }

    #[test]
    fn a_finish_without_a_decision_gives_its_batch_up() {
        let finishes = Finishes::default();
        let [one, two, three] = std::array::from_fn(|_| Uuid::now_v7());
        opened(&finishes, &[one, two, three]);
        finishes.finish(committed(one));
        assert!(is_each(&finishes.finish(finish(two, None)), &[one, two]));
        assert!(is_each(&finishes.finish(committed(three)), &[three]));
    }
}
