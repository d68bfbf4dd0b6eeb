//! The log writer: carries out batches of messages by the rules of [`protocol::branch`], as one local transaction.
//!
//! A batch has at most one message about a transaction, so its kinds run one after the other (prepares, fences, commits,
//! aborts, ends, steps of sagas), each with set-based statements. Most messages meet what is usual (no row for a PREPARE, a PREPARED one
//! for a decision), and one guarded statement does it; only for the others the rows that stand are read and the rule is
//! asked. Where a guarded statement has acted, the rule it stands for is asserted. A batch that expects the usual of all
//! its messages ([`crate::duplicates`]) does not even ask which rows it was.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use protocol::Vote;
use protocol::branch::{self, BranchState, End, Fence, Prepare, Settle};
use protocol::step::{Compensate, StepResult};
use sqlx::PgConnection;
use uuid::Uuid;

use super::read::decode_all;
use super::steps::{self, StepRef};
use super::waiting::Waiting;
use super::write::{self, NewRow, Standing};
use crate::duplicates::Duplicates;
use crate::group_commit::{Urgency, Work};
use crate::postgres::conflict;
use crate::{PreparedBranch, Refusal, Resource, TransactionRef};

/// Who takes part in a transaction and who drives it: the same for many, which share it.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    /// Names of all participants, joined by commas.
    pub participants: String,
    /// The coordinator incarnation that drives the attempt.
    pub owner_id: String,
}

/// One message about a transaction.
#[derive(Debug)]
pub enum Entry<B> {
    /// PREPARE.
    Prepare {
        /// Which transaction.
        transaction: TransactionRef,
        /// Who takes part and who drives it.
        origin: Arc<Origin>,
        /// The branch as it came.
        bytes: Vec<u8>,
        /// The branch, decoded.
        branch: Arc<B>,
    },
    /// FENCE.
    Fence(TransactionRef),
    /// COMMIT; answered only when durable, if that is asked for.
    Commit {
        /// Which transaction.
        transaction: TransactionRef,
        /// Answer only when durable.
        durable: bool,
    },
    /// ABORT, and why.
    Abort(TransactionRef, Refusal),
    /// Recover answered FORGOTTEN.
    Forgotten(TransactionRef),
    /// END.
    End(TransactionRef),
    /// EXECUTE of a saga's step.
    Execute {
        /// Which step.
        step: StepRef,
        /// What is to be done, as it came.
        bytes: Vec<u8>,
        /// The same, decoded; or why it can't be.
        branch: Result<Arc<B>, Refusal>,
        /// A refusal is not kept.
        must_succeed: bool,
    },
    /// COMPENSATE of a saga's step, and why.
    Compensate(StepRef, Refusal),
    /// END of a saga's step.
    EndStep(StepRef),
}

impl<B> Entry<B> {
    fn transaction(&self) -> TransactionRef {
        match self {
            Entry::Prepare { transaction, .. }
            | Entry::Fence(transaction)
            | Entry::Commit { transaction, .. }
            | Entry::Abort(transaction, _)
            | Entry::Forgotten(transaction)
            | Entry::End(transaction) => *transaction,
            Entry::Execute { step, .. } | Entry::Compensate(step, _) | Entry::EndStep(step) => step.transaction,
        }
    }

    /// Whether it is about a step of a saga.
    pub(super) fn is_step(&self) -> bool {
        matches!(self, Entry::Execute { .. } | Entry::Compensate(..) | Entry::EndStep(_))
    }
}

/// A message's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To PREPARE and FENCE; with the reason of a no.
    Voted(Vote, Option<Refusal>),
    /// To COMMIT, ABORT and FORGOTTEN: what was done.
    Settled(Settle),
    /// To END: what was done.
    Ended(End),
    /// To EXECUTE; with the reason of what is not done.
    Stepped(StepResult, Option<Refusal>),
    /// To COMPENSATE: what was done.
    Compensated(Compensate),
    /// It may or may not have happened.
    Unknown(String),
}

/// The writer's work for a service.
pub struct LogWork<R: Resource> {
    resource: Arc<R>,
    duplicates: Duplicates,
    waiting: Waiting<R::Branch>,
    /// Whether it is told the decisions about what it prepares.
    decides: bool,
}

impl<R: Resource> LogWork<R> {
    /// The work for this service.
    pub fn new(resource: Arc<R>) -> Self {
        LogWork { resource, duplicates: Duplicates::default(), waiting: Waiting::default(), decides: true }
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

    async fn run(&self, connection: &mut PgConnection, entries: &[Self::Entry]) -> Result<Vec<Reply>, sqlx::Error> {
        let is_careful = self.duplicates.are_expected();
        let replies = HashMap::with_capacity(entries.len());
        self.waiting.begin();
        let mut batch = Batch { resource: &*self.resource, waiting: &self.waiting, connection, replies, is_careful };
        let carried_out = batch.carry_out(entries).await;
        self.duplicates.learn(is_careful, carried_out)?;
        steps::run(&*self.resource, batch.connection, entries, &mut batch.replies).await?;
        let unanswered = || Reply::Unknown("the batch left it out".to_owned());
        let reply = |entry| batch.replies.remove(&Self::key(entry)).unwrap_or_else(unanswered);
        Ok(entries.iter().map(reply).collect())
    }

    fn committed(&self) {
        if self.decides {
            self.waiting.committed();
        } else {
            self.waiting.begin();
        }
    }

    fn doubt(&self, _: &Self::Entry, cause: &str) -> Reply {
        Reply::Unknown(cause.to_owned())
    }
}

struct Batch<'a, R: Resource> {
    resource: &'a R,
    waiting: &'a Waiting<R::Branch>,
    connection: &'a mut PgConnection,
    replies: HashMap<Uuid, Reply>,
    /// PREPAREs may meet a row, COMMITs none that is PREPARED. (Fences and aborts always may.)
    is_careful: bool,
}

impl<R: Resource> Batch<'_, R> {
    async fn carry_out(&mut self, entries: &[Entry<R::Branch>]) -> Result<(), sqlx::Error> {
        self.prepare(entries).await?;
        self.fence(entries).await?;
        self.commit(entries).await?;
        self.abort(entries).await?;
        self.forget(entries).await?;
        self.end(entries).await
    }

    async fn prepare(&mut self, entries: &[Entry<R::Branch>]) -> Result<(), sqlx::Error> {
        let (mut rows, mut asked) = (Vec::new(), Vec::new());
        for entry in entries {
            if let Entry::Prepare { transaction, origin, bytes, branch } = entry {
                let Origin { participants, owner_id } = &**origin;
                rows.push(NewRow {
                    transaction: *transaction,
                    participants,
                    owner_id,
                    branch: Some(bytes),
                    refusal: None,
                });
                asked.push((*transaction, branch));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        debug_assert_eq!(branch::prepare(None, false), Prepare::TryHold);
        if !self.is_careful {
            write::insert_prepared(self.connection, &mut rows).await?;
            return self.hold(&asked).await;
        }
        let inserted = write::insert(self.connection, BranchState::Prepared, &mut rows).await?;
        let others = others(asked.iter().map(|(reference, _)| *reference), &inserted);
        asked.retain(|(reference, _)| inserted.contains(&reference.transaction_id));
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
    async fn hold(&mut self, held: &[(TransactionRef, &Arc<R::Branch>)]) -> Result<(), sqlx::Error> {
        if held.is_empty() {
            return Ok(());
        }
        let prepared = |(reference, branch): &(TransactionRef, &Arc<R::Branch>)| PreparedBranch {
            transaction_id: reference.transaction_id,
            branch: Arc::clone(branch),
        };
        let branches: Vec<PreparedBranch<R::Branch>> = held.iter().map(prepared).collect();
        let votes = self.resource.prepare(self.connection, &branches).await?;
        assert_eq!(votes.len(), held.len(), "one vote for each branch");
        let refused: Vec<(TransactionRef, &Refusal)> = held
            .iter()
            .zip(&votes)
            .filter_map(|((reference, _), vote)| Some((*reference, vote.as_ref().err()?)))
            .collect();
        if !refused.is_empty() {
            let aborted = write::abort(self.connection, &refused).await?;
            assert_eq!(aborted.len(), refused.len(), "a row inserted in this local transaction stands");
        }
        for (((reference, _), branch), vote) in held.iter().zip(branches).zip(votes) {
            let reply = match vote {
                Ok(()) => {
                    self.waiting.wrote(branch);
                    Reply::Voted(Vote::Yes, None)
                }
                Err(refusal) => Reply::Voted(Vote::No, Some(refusal)),
            };
            self.answer(*reference, reply);
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
        let inserted = self.insert_aborted(&fenced).await?;
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

    async fn commit(&mut self, entries: &[Entry<R::Branch>]) -> Result<(), sqlx::Error> {
        let commits = entries.iter().filter_map(|entry| match entry {
            Entry::Commit { transaction, .. } => Some(*transaction),
            _ => None,
        });
        let references: Vec<TransactionRef> = commits.collect();
        if references.is_empty() {
            return Ok(());
        }
        debug_assert_eq!(branch::commit(Some(BranchState::Prepared), false), Settle::Apply);
        let ids = references.iter().map(|reference| reference.transaction_id);
        if let Some(prepared) = self.waiting.take_all(ids).filter(|_| !self.is_careful) {
            write::commit_all(self.connection, &references).await?;
            self.resource.commit(self.connection, &prepared).await?;
            for reference in references {
                self.answer(reference, Reply::Settled(Settle::Apply));
            }
            return Ok(());
        }
        let applied = decode_all(self.resource, write::commit(self.connection, &references).await?)?;
        let done = self.settled(&references, &applied, Settle::Apply);
        if !applied.is_empty() {
            self.resource.commit(self.connection, &applied).await?;
        }
        for (reference, row, below) in self.standing(&others(references.into_iter(), &done)).await? {
            match branch::commit(row.as_ref().map(|row| row.state), below) {
                Settle::Apply => return Err(conflict()),
                settle => self.settle(reference, row.as_ref(), "COMMIT", settle),
            }
        }
        Ok(())
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
        let inserted = self.insert_aborted(&missing).await?;
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
        let watermark = write::watermark(self.connection).await?;
        let deleted = write::end(self.connection, &ends, watermark).await?;
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

    /// Inserts ABORTED rows where none stands; answers which.
    async fn insert_aborted(&mut self, aborts: &[(TransactionRef, &Refusal)]) -> Result<HashSet<Uuid>, sqlx::Error> {
        if aborts.is_empty() {
            return Ok(HashSet::new());
        }
        let row = |&(transaction, refusal): &(TransactionRef, _)| NewRow {
            transaction,
            participants: "",
            owner_id: "",
            branch: None,
            refusal: Some(refusal),
        };
        let mut rows: Vec<NewRow<'_>> = aborts.iter().map(row).collect();
        write::insert(self.connection, BranchState::Aborted, &mut rows).await
    }

    /// PREPARED rows become ABORTED and their holds are given back; answers which.
    async fn release(&mut self, aborts: &[(TransactionRef, &Refusal)]) -> Result<HashSet<Uuid>, sqlx::Error> {
        let released = decode_all(self.resource, write::abort(self.connection, aborts).await?)?;
        debug_assert_eq!(branch::abort(Some(BranchState::Prepared), false), Settle::Release);
        let references: Vec<TransactionRef> = aborts.iter().map(|(reference, _)| *reference).collect();
        let done = self.settled(&references, &released, Settle::Release);
        if !released.is_empty() {
            let reasons: HashMap<Uuid, &Refusal> =
                aborts.iter().map(|(reference, refusal)| (reference.transaction_id, *refusal)).collect();
            let why = |id: &Uuid| reasons.get(id).map(|refusal| (*refusal).clone());
            let released: Vec<(PreparedBranch<R::Branch>, Refusal)> = released
                .into_iter()
                .filter_map(|branch| Some((branch.clone(), why(&branch.transaction_id)?)))
                .collect();
            self.resource.abort(self.connection, &released).await?;
        }
        Ok(done)
    }

    /// Answers those whose rows were changed by a guarded statement; returns which.
    fn settled(
        &mut self,
        references: &[TransactionRef],
        changed: &[PreparedBranch<R::Branch>],
        settle: Settle,
    ) -> HashSet<Uuid> {
        let changed: HashSet<Uuid> = changed.iter().map(|branch| branch.transaction_id).collect();
        for reference in references.iter().filter(|reference| changed.contains(&reference.transaction_id)) {
            self.answer(*reference, Reply::Settled(settle));
        }
        changed
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
        let (watermark, mut standing) = write::standing(self.connection, references).await?;
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

fn others(references: impl Iterator<Item = TransactionRef>, done: &HashSet<Uuid>) -> Vec<TransactionRef> {
    references.filter(|reference| !done.contains(&reference.transaction_id)).collect()
}

fn alarm(reference: TransactionRef, row: Option<&Standing>, message: &str) {
    tracing::error!(transaction_id = %reference.transaction_id, state = ?row.map(|row| row.state),
        "alarm: {message} contradicts what stands here; run `assent doctor`");
}
