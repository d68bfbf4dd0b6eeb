//! The log writer: carries out batches of messages by the rules of [`protocol::branch`], as one local transaction.
//!
//! A batch has at most one message about a transaction, so its kinds run one after the other (fences, aborts, prepares,
//! commits, ends, steps of sagas), each with set-based statements. Most messages meet what is usual (no row for a PREPARE, a
//! PREPARED one for a decision), and a guarded statement does it: an insert that expects no row
//! ([`crate::duplicates`]); a commit that closes a whole batch of rows, if it is as it was left here ([`super::waiting`]);
//! decisions on rows under the lock of their batches ([`super::batches`]). Only for the others the rows that stand are read
//! and the rule is asked. Where a guarded statement has acted, the rule it stands for is asserted.
//!
//! Where it is likely that all PREPAREs are held, they come last, in one statement with what closes batches ([`super::at_once`]).
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use protocol::Vote;
use protocol::branch::{self, BranchState, End, Fence, Prepare, Settle};
use uuid::Uuid;

use super::asked::{Asked, AskedBranch, branches};
use super::at_once::{self, Likely};
use super::batches::{self, Decided, Decision};
use super::entry::{Entry, Reply};
use super::read::decode_all;
use super::steps;
use super::waiting::{Closing, Waiting};
use super::write::{self, Standing};
use crate::duplicates::Duplicates;
use crate::group_commit::{Local, Urgency, Work};
use crate::postgres::conflict;
use crate::resource::HoldAll;
use crate::{PreparedBranch, Refusal, Resource, TransactionRef};

/// The writer's work for a service.
pub struct LogWork<R: Resource> {
    resource: Arc<R>,
    duplicates: Duplicates,
    likely: Likely,
    waiting: Waiting<R::Branch>,
    /// Whether it is told the decisions about what it prepares.
    decides: bool,
}

impl<R: Resource> LogWork<R> {
    /// The work for this service.
    pub fn new(resource: Arc<R>) -> Self {
        let (duplicates, likely, waiting) = (Duplicates::default(), Likely::default(), Waiting::default());
        LogWork { resource, duplicates, likely, waiting, decides: true }
    }

    /// The work of a writer that only prepares: another one is told the decisions.
    pub fn preparing(resource: Arc<R>) -> Self {
        LogWork { decides: false, ..LogWork::new(resource) }
    }
}

impl<R: Resource> Work for LogWork<R> {
    type Entry = Entry<R::Branch>;
    type Reply = Reply;
    type Key = Uuid;

    fn key(entry: &Self::Entry) -> Uuid {
        entry.transaction().transaction_id
    }

    fn urgency(entry: &Self::Entry) -> Urgency {
        match entry {
            Entry::Prepare { .. } | Entry::Fence(_) | Entry::Execute { .. } => Urgency::Now,
            Entry::Commit { durable: false, .. } => Urgency::Lazy,
            Entry::Commit { durable: true, .. }
            | Entry::Abort(..)
            | Entry::Forgotten(_)
            | Entry::End(_)
            | Entry::Compensate(..)
            | Entry::EndStep(_) => Urgency::Soon,
        }
    }

    async fn run(&self, local: &mut Local<'_>, entries: &[Self::Entry]) -> Result<Vec<Reply>, sqlx::Error> {
        let is_careful = self.duplicates.are_expected();
        let asked = Asked::of(entries);
        let is_likely = !is_careful && !asked.branches.is_empty() && self.likely.next();
        let replies = HashMap::with_capacity(entries.len());
        let revision = Uuid::now_v7();
        self.waiting.begin(revision);
        let (resource, waiting) = (&*self.resource, &self.waiting);
        let mut batch = Batch { resource, waiting, local, replies, is_careful, is_likely, is_at_once: false, revision };
        let carried_out = batch.carry_out(entries, asked).await;
        let carried_out = if batch.is_at_once { self.likely.learn(carried_out) } else { carried_out };
        self.duplicates.learn(is_careful, carried_out)?;
        if entries.iter().any(Entry::is_step) {
            steps::run(&*self.resource, batch.local.begin().await?, entries, &mut batch.replies).await?;
        }
        let unanswered = || Reply::Unknown("the batch left it out".to_owned());
        let reply = |entry| batch.replies.remove(&Self::key(entry)).unwrap_or_else(unanswered);
        Ok(entries.iter().map(reply).collect())
    }

    fn committed(&self) {
        if self.decides {
            self.waiting.committed();
        } else {
            self.waiting.begin(Uuid::nil());
        }
    }

    fn doubt(&self, _: &Self::Entry, cause: &str) -> Reply {
        Reply::Unknown(cause.to_owned())
    }
}

struct Batch<'a, 'c, R: Resource> {
    resource: &'a R,
    waiting: &'a Waiting<R::Branch>,
    local: &'a mut Local<'c>,
    replies: HashMap<Uuid, Reply>,
    /// PREPAREs may meet a row. (All others always may.)
    is_careful: bool,
    /// PREPAREs are all held, most likely.
    is_likely: bool,
    /// It relies on that.
    is_at_once: bool,
    /// Names this local transaction in the batches of rows that it writes.
    revision: Uuid,
}

impl<R: Resource> Batch<'_, '_, R> {
    /// Aborts come before commits: they may leave of a batch just what is committed.
    async fn carry_out(
        &mut self,
        entries: &[Entry<R::Branch>],
        asked: Asked<'_, R::Branch>,
    ) -> Result<(), sqlx::Error> {
        self.fence(entries).await?;
        self.abort(entries).await?;
        self.forget(entries).await?;
        let closing = self.closing(entries);
        if self.is_likely {
            let committed: Vec<_> = closing.iter().flat_map(|batch| batch.branches.iter().cloned()).collect();
            if let Some(hold_all) = asked.hold_all(self.resource, &committed)? {
                return self.carry_out_at_once(entries, asked, hold_all, closing).await;
            }
        }
        self.prepare(asked).await?;
        let closed = self.close(closing).await?;
        self.commit(entries, closed).await?;
        self.end(entries).await
    }

    /// Carries out what is left in one statement, where all that is asked for is held, and all that seems to be left of batches is:
    /// the statement tells whether that was right. If it was not, it fails.
    async fn carry_out_at_once(
        &mut self,
        entries: &[Entry<R::Branch>],
        asked: Asked<'_, R::Branch>,
        hold_all: HoldAll,
        closing: Vec<Closing<R::Branch>>,
    ) -> Result<(), sqlx::Error> {
        self.is_at_once = true;
        debug_assert_eq!(branch::commit(Some(BranchState::Prepared), false), Settle::Apply);
        for branch in closing.iter().flat_map(|batch| &batch.branches) {
            self.replies.insert(branch.transaction_id, Reply::Settled(Settle::Apply));
        }
        self.commit(entries, Vec::new()).await?;
        self.end(entries).await?;
        let Asked { mut batches, branches: asked } = asked;
        let [batch] = &mut batches[..] else { return Err(conflict()) };
        // Steps come after it.
        let is_all = !entries.iter().any(Entry::is_step);
        let connection = if is_all { self.local.alone().await? } else { self.local.begin().await? };
        at_once::write(connection, batch, hold_all, &closing, self.revision).await?;
        debug_assert_eq!(branch::prepare(None, false), Prepare::TryHold);
        for (asked, branch) in asked.iter().zip(branches(&asked)) {
            self.waiting.wrote(asked.batch_id, branch);
            self.answer(asked.transaction, Reply::Voted(Vote::Yes, None));
        }
        Ok(())
    }

    async fn prepare(&mut self, asked: Asked<'_, R::Branch>) -> Result<(), sqlx::Error> {
        let Asked { mut batches, branches: mut asked } = asked;
        if asked.is_empty() {
            return Ok(());
        }
        debug_assert_eq!(branch::prepare(None, false), Prepare::TryHold);
        if !self.is_careful {
            for batch in &mut batches {
                batches::insert(self.local.begin().await?, batch, self.revision).await?;
            }
            return self.hold(&asked).await;
        }
        let mut inserted = HashSet::new();
        for batch in &mut batches {
            inserted.extend(batches::insert_with_care(self.local.begin().await?, batch, self.revision).await?);
        }
        let others = others(asked.iter().map(|it| it.transaction), &inserted);
        asked.retain(|it| inserted.contains(&it.transaction.transaction_id));
        self.hold(&asked).await?;
        for (reference, row, below) in self.standing(&others).await? {
            match branch::prepare(row.as_ref().map(|row| row.state), below) {
                Prepare::Answer(vote) => {
                    self.answer(reference, Reply::Voted(vote, row.and_then(|row| row.refusal)));
                }
                // Whatever was in the way of the insert has gone meanwhile.
                Prepare::TryHold => return Err(conflict()),
            }
        }
        Ok(())
    }

    /// Takes the holds of rows that were inserted as PREPARED in this batch; those refused become ABORTED.
    async fn hold(&mut self, held: &[AskedBranch<'_, R::Branch>]) -> Result<(), sqlx::Error> {
        if held.is_empty() {
            return Ok(());
        }
        let branches = branches(held);
        let votes = self.resource.prepare(self.local.begin().await?, &branches).await?;
        assert_eq!(votes.len(), held.len(), "one vote for each branch");
        let refused: Vec<(TransactionRef, Option<&Refusal>)> = held
            .iter()
            .zip(&votes)
            .filter_map(|(asked, vote)| Some((asked.transaction, Some(vote.as_ref().err()?))))
            .collect();
        if !refused.is_empty() {
            let batch_ids: HashSet<Uuid> = held.iter().map(|asked| asked.batch_id).collect();
            let batch_ids = batch_ids.into_iter().collect();
            let decision = Decision { state: BranchState::Aborted, rows: &refused, batch_ids, with_branches: false };
            let aborted = batches::decide(self.local.begin().await?, &decision, self.revision).await?;
            assert_eq!(aborted.len(), refused.len(), "a row inserted in this local transaction stands");
        }
        for ((asked, branch), vote) in held.iter().zip(branches).zip(votes) {
            let reply = match vote {
                Ok(()) => {
                    self.waiting.wrote(asked.batch_id, branch);
                    Reply::Voted(Vote::Yes, None)
                }
                Err(refusal) => Reply::Voted(Vote::No, Some(refusal)),
            };
            self.answer(asked.transaction, reply);
        }
        Ok(())
    }

    async fn fence(&mut self, entries: &[Entry<R::Branch>]) -> Result<(), sqlx::Error> {
        let refusal = Refusal::new("FENCED", "a recovery came before the branch was prepared");
        let fenced = entries.iter().filter_map(|entry| match entry {
            Entry::Fence(reference) => Some((*reference, &refusal)),
            _ => None,
        });
        let fenced: Vec<(TransactionRef, &Refusal)> = fenced.collect();
        if fenced.is_empty() {
            return Ok(());
        }
        let inserted = write::insert_aborted(self.local.begin().await?, &fenced).await?;
        debug_assert_eq!(branch::fence(None, false), Fence { vote: Vote::No, insert_aborted: true });
        for (reference, _) in &fenced {
            if inserted.contains(&reference.transaction_id) {
                self.answer(*reference, Reply::Voted(Vote::No, Some(refusal.clone())));
            }
        }
        let others = others(fenced.iter().map(|(reference, _)| *reference), &inserted);
        for (reference, row, below) in self.standing(&others).await? {
            let Fence { vote, insert_aborted } = branch::fence(row.as_ref().map(|row| row.state), below);
            if insert_aborted {
                return Err(conflict());
            }
            let refusal = row.and_then(|row| row.refusal).filter(|_| vote == Vote::No);
            self.answer(reference, Reply::Voted(vote, refusal));
        }
        Ok(())
    }

    /// Commits what is not answered yet: applies the branches of the batches that are closed, and what is decided row by row.
    async fn commit(
        &mut self,
        entries: &[Entry<R::Branch>],
        closed: Vec<PreparedBranch<R::Branch>>,
    ) -> Result<(), sqlx::Error> {
        let is_open = |it: &TransactionRef| !self.replies.contains_key(&it.transaction_id);
        let references: Vec<TransactionRef> = commits(entries).filter(is_open).collect();
        if references.is_empty() {
            return Ok(());
        }
        debug_assert_eq!(branch::commit(Some(BranchState::Prepared), false), Settle::Apply);
        let mut applied = closed;
        let mut done: HashSet<Uuid> = applied.iter().map(|branch| branch.transaction_id).collect();
        let left: Vec<_> = others(references.into_iter(), &done);
        let rows: Vec<_> = left.iter().map(|reference| (*reference, None)).collect();
        let decided = self.decide(BranchState::Committed, &rows).await?;
        done.extend(decided.iter().map(|branch| branch.transaction_id));
        applied.extend(decided);
        if !applied.is_empty() {
            self.resource.commit(self.local.begin().await?, &applied).await?;
        }
        for branch in &applied {
            self.replies.insert(branch.transaction_id, Reply::Settled(Settle::Apply));
        }
        for (reference, row, below) in self.standing(&others(left.into_iter(), &done)).await? {
            match branch::commit(row.as_ref().map(|row| row.state), below) {
                Settle::Apply => return Err(conflict()),
                settle => self.settle(reference, row.as_ref(), "COMMIT", settle),
            }
        }
        Ok(())
    }

    /// The batches of which all that is left is to be committed, as far as is known here.
    fn closing(&self, entries: &[Entry<R::Branch>]) -> Vec<Closing<R::Branch>> {
        self.waiting.take_batches(commits(entries).map(|reference| reference.transaction_id))
    }

    /// Closes batches; answers what that commits.
    async fn close(&mut self, batches: Vec<Closing<R::Branch>>) -> Result<Vec<PreparedBranch<R::Branch>>, sqlx::Error> {
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let closed = batches::close(self.local.begin().await?, &batches, self.revision).await?;
        let closed = batches.into_iter().filter(|batch| closed.contains(&batch.batch_id));
        Ok(closed.flat_map(|batch| batch.branches).collect())
    }

    /// Decides rows that say PREPARED one by one; answers which did, with their branches.
    async fn decide(
        &mut self,
        state: BranchState,
        rows: &[(TransactionRef, Option<&Refusal>)],
    ) -> Result<Vec<PreparedBranch<R::Branch>>, sqlx::Error> {
        let references: Vec<TransactionRef> = rows.iter().map(|(reference, _)| *reference).collect();
        if references.is_empty() {
            return Ok(Vec::new());
        }
        let locked = batches::lock(self.local.begin().await?, &references).await?;
        if locked.is_empty() {
            return Ok(Vec::new());
        }
        let mut at_hand = self.waiting.take(references.iter().map(|reference| reference.transaction_id));
        let batch_ids = locked.iter().map(|(batch_id, _)| *batch_id).collect();
        let decision = Decision { state, rows, batch_ids, with_branches: at_hand.len() < rows.len() };
        let decided = batches::decide(self.local.begin().await?, &decision, self.revision).await?;
        let mut counts: HashMap<Uuid, usize> = HashMap::new();
        decided.iter().for_each(|row| *counts.entry(row.batch_id).or_default() += 1);
        for (batch_id, revision) in locked {
            self.waiting.decided(batch_id, revision, counts.remove(&batch_id).unwrap_or_default());
        }
        let (mut branches, mut read) = (Vec::with_capacity(decided.len()), Vec::new());
        for Decided { transaction_id, branch: bytes, .. } in decided {
            match (at_hand.remove(&transaction_id), bytes) {
                (Some(branch), _) => branches.push(PreparedBranch { transaction_id, branch }),
                (None, bytes) => read.push((transaction_id, bytes.unwrap_or_default())),
            }
        }
        branches.extend(decode_all(self.resource, read)?);
        Ok(branches)
    }

    async fn abort(&mut self, entries: &[Entry<R::Branch>]) -> Result<(), sqlx::Error> {
        let aborts = entries.iter().filter_map(|entry| match entry {
            Entry::Abort(reference, refusal) => Some((*reference, refusal)),
            _ => None,
        });
        let aborts: Vec<(TransactionRef, &Refusal)> = aborts.collect();
        if aborts.is_empty() {
            return Ok(());
        }
        let references: Vec<TransactionRef> = aborts.iter().map(|(reference, _)| *reference).collect();
        let mut done = self.release(&aborts).await?;
        debug_assert_eq!(branch::abort(None, false), Settle::InsertAborted);
        let mut missing = aborts.clone();
        missing.retain(|(reference, _)| !done.contains(&reference.transaction_id));
        let inserted = write::insert_aborted(self.local.begin().await?, &missing).await?;
        for (reference, _) in missing.iter().filter(|(reference, _)| inserted.contains(&reference.transaction_id)) {
            self.answer(*reference, Reply::Settled(Settle::InsertAborted));
        }
        done.extend(inserted);
        for (reference, row, below) in self.standing(&others(references.into_iter(), &done)).await? {
            match branch::abort(row.as_ref().map(|row| row.state), below) {
                Settle::Release | Settle::InsertAborted => return Err(conflict()),
                settle => self.settle(reference, row.as_ref(), "ABORT", settle),
            }
        }
        Ok(())
    }

    async fn forget(&mut self, entries: &[Entry<R::Branch>]) -> Result<(), sqlx::Error> {
        let refusal = Refusal::new("FORGOTTEN", "the coordinator has no record of the transaction any more");
        let forgotten = entries.iter().filter_map(|entry| match entry {
            Entry::Forgotten(reference) => Some((*reference, &refusal)),
            _ => None,
        });
        let forgotten: Vec<(TransactionRef, &Refusal)> = forgotten.collect();
        if forgotten.is_empty() {
            return Ok(());
        }
        let done = self.release(&forgotten).await?;
        let others = others(forgotten.iter().map(|(reference, _)| *reference), &done);
        for (reference, row, _) in self.standing(&others).await? {
            match branch::forgotten(row.as_ref().map(|row| row.state)) {
                Settle::Release => return Err(conflict()),
                settle => self.settle(reference, row.as_ref(), "FORGOTTEN", settle),
            }
        }
        Ok(())
    }

    async fn end(&mut self, entries: &[Entry<R::Branch>]) -> Result<(), sqlx::Error> {
        let ends = entries.iter().filter_map(|entry| match entry {
            Entry::End(reference) => Some(*reference),
            _ => None,
        });
        let ends: Vec<TransactionRef> = ends.collect();
        if ends.is_empty() {
            return Ok(());
        }
        let watermark = write::watermark(self.local.begin().await?).await?;
        let deleted = write::end(self.local.begin().await?, &ends, watermark).await?;
        debug_assert_eq!(branch::end(Some(BranchState::Committed), true), End::Delete);
        for reference in ends.iter().filter(|reference| deleted.contains(&reference.transaction_id)) {
            self.answer(*reference, Reply::Ended(End::Delete));
        }
        for (reference, row, below) in self.standing(&others(ends.into_iter(), &deleted)).await? {
            let end = branch::end(row.as_ref().map(|row| row.state), below);
            match end {
                End::Delete => return Err(conflict()),
                End::Alarm => alarm(reference, row.as_ref(), "END"),
                End::Already | End::Later => (),
            }
            self.answer(reference, Reply::Ended(end));
        }
        Ok(())
    }

    /// PREPARED rows become ABORTED and their holds are given back; answers which.
    async fn release(&mut self, aborts: &[(TransactionRef, &Refusal)]) -> Result<HashSet<Uuid>, sqlx::Error> {
        debug_assert_eq!(branch::abort(Some(BranchState::Prepared), false), Settle::Release);
        let rows: Vec<_> = aborts.iter().map(|(reference, refusal)| (*reference, Some(*refusal))).collect();
        let released = self.decide(BranchState::Aborted, &rows).await?;
        let done: HashSet<Uuid> = released.iter().map(|branch| branch.transaction_id).collect();
        if !released.is_empty() {
            let reasons: HashMap<Uuid, &Refusal> =
                aborts.iter().map(|(reference, refusal)| (reference.transaction_id, *refusal)).collect();
            let why = |id: &Uuid| reasons.get(id).map(|refusal| (*refusal).clone());
            let released: Vec<(PreparedBranch<R::Branch>, Refusal)> = released
                .into_iter()
                .filter_map(|branch| Some((branch.clone(), why(&branch.transaction_id)?)))
                .collect();
            self.resource.abort(self.local.begin().await?, &released).await?;
        }
        for transaction_id in &done {
            self.replies.insert(*transaction_id, Reply::Settled(Settle::Release));
        }
        Ok(done)
    }

    fn settle(&mut self, reference: TransactionRef, row: Option<&Standing>, message: &str, settle: Settle) {
        if settle == Settle::Alarm {
            alarm(reference, row, message);
        }
        self.answer(reference, Reply::Settled(settle));
    }

    /// Each transaction with the row that stands, and whether its deadline is at or below the watermark.
    async fn standing(
        &mut self,
        references: &[TransactionRef],
    ) -> Result<Vec<(TransactionRef, Option<Standing>, bool)>, sqlx::Error> {
        if references.is_empty() {
            return Ok(Vec::new());
        }
        let (watermark, mut standing) = write::standing(self.local.begin().await?, references).await?;
        let look = |reference: &TransactionRef| {
            let row = standing.remove(&reference.transaction_id);
            let deadline_unix_ms = row.as_ref().map_or(reference.deadline_unix_ms, |row| row.deadline_unix_ms);
            (*reference, row, deadline_unix_ms <= watermark)
        };
        Ok(references.iter().map(look).collect())
    }

    fn answer(&mut self, reference: TransactionRef, reply: Reply) {
        self.replies.insert(reference.transaction_id, reply);
    }
}

fn commits<B>(entries: &[Entry<B>]) -> impl Iterator<Item = TransactionRef> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Commit { transaction, .. } => Some(*transaction),
        _ => None,
    })
}

fn others(references: impl Iterator<Item = TransactionRef>, done: &HashSet<Uuid>) -> Vec<TransactionRef> {
    references.filter(|reference| !done.contains(&reference.transaction_id)).collect()
}

fn alarm(reference: TransactionRef, row: Option<&Standing>, message: &str) {
    tracing::error!(transaction_id = %reference.transaction_id, state = ?row.map(|row| row.state),
        "alarm: {message} contradicts what stands here; run `assent doctor`");
}
