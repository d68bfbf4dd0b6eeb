//! Steps of sagas, by the rules of [`protocol::step`]: what the log's writer does with them, as part of its batch.
//!
//! As with branches, a guarded statement does what is usual (no row for an EXECUTE, an EXECUTED one for a COMPENSATE), and
//! only for the others the rows that stand are read and the rule is asked.
use std::collections::HashMap;
use std::sync::Arc;

use protocol::branch::End;
use protocol::step::{self, Compensate, Execute, StepResult, StepRow, keeps_refusal};
use sqlx::PgConnection;
use uuid::Uuid;

use super::entry::{Entry, Reply};
use super::step_rows as rows;
use crate::postgres::conflict;
use crate::{Refusal, Resource, StepBranch, TransactionRef};

/// What names a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRef {
    /// Which saga; with the latest deadline that stands in its row.
    pub transaction: TransactionRef,
    /// The step's name.
    pub step: String,
}

/// Carries out the steps among a batch's entries, of which there is at most one for each transaction.
pub async fn run<R: Resource>(
    resource: &R,
    connection: &mut PgConnection,
    entries: &[Entry<R::Branch>],
    replies: &mut HashMap<Uuid, Reply>,
) -> Result<(), sqlx::Error> {
    let mut batch = Steps { resource, connection, replies };
    batch.execute(entries).await?;
    batch.compensate(entries).await?;
    batch.end(entries).await
}

struct Steps<'a, R> {
    resource: &'a R,
    connection: &'a mut PgConnection,
    replies: &'a mut HashMap<Uuid, Reply>,
}

/// An EXECUTE of the batch.
struct Asked<'a, B> {
    step: &'a StepRef,
    bytes: &'a [u8],
    branch: Result<&'a Arc<B>, &'a Refusal>,
    must_succeed: bool,
}

impl<R: Resource> Steps<'_, R> {
    async fn execute(&mut self, entries: &[Entry<R::Branch>]) -> Result<(), sqlx::Error> {
        let asked = entries.iter().filter_map(|entry| match entry {
            Entry::Execute { step, bytes, branch, must_succeed } => {
                Some(Asked { step, bytes, branch: branch.as_ref(), must_succeed: *must_succeed })
            }
            _ => None,
        });
        let asked: Vec<Asked<R::Branch>> = asked.collect();
        if asked.is_empty() {
            return Ok(());
        }
        let new: Vec<(&StepRef, Option<&[u8]>)> = asked.iter().map(|it| (it.step, Some(it.bytes))).collect();
        let inserted = rows::insert(self.connection, StepRow::Executed, &new, None).await?;
        debug_assert_eq!(step::execute(None, false), Execute::Try);
        let (tried, others): (Vec<_>, Vec<_>) =
            asked.iter().partition(|it| inserted.contains(&it.step.transaction.transaction_id));
        self.carry_out(&tried).await?;
        let others: Vec<&StepRef> = others.into_iter().map(|it| it.step).collect();
        for (asked, row, below) in self.standing(&others).await? {
            match step::execute(row.as_ref().map(|row| row.state), below) {
                Execute::Answer(result) => {
                    let refusal = row.and_then(|row| row.refusal).filter(|_| result != StepResult::Executed);
                    self.answer(asked, Reply::Stepped(result, refusal));
                }
                // Whatever was in the way of the insert has gone meanwhile.
                Execute::Try => return Err(conflict()),
            }
        }
        Ok(())
    }

    /// Carries out steps whose rows were inserted in this batch. Those refused become REFUSED, or their rows go again.
    async fn carry_out(&mut self, tried: &[&Asked<'_, R::Branch>]) -> Result<(), sqlx::Error> {
        if tried.is_empty() {
            return Ok(());
        }
        let read = tried.iter().filter_map(|asked| {
            let (transaction_id, step) = (asked.step.transaction.transaction_id, asked.step.step.clone());
            Some(StepBranch { transaction_id, step, branch: Arc::clone(asked.branch.ok()?) })
        });
        let steps: Vec<StepBranch<R::Branch>> = read.collect();
        let results = match steps.is_empty() {
            true => Vec::new(),
            false => self.resource.execute(self.connection, &steps).await?,
        };
        assert_eq!(results.len(), steps.len(), "one result for each step");
        let mut results = results.into_iter();
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for asked in tried {
            // What can't be read is refused as anything else is: a saga has to hear of a no that stands.
            let result = match asked.branch {
                Ok(_) => results.next().ok_or_else(conflict)?,
                Err(unreadable) => Err(unreadable.clone()),
            };
            let reply = match result {
                Ok(()) => Reply::Stepped(StepResult::Executed, None),
                Err(refusal) if keeps_refusal(asked.must_succeed) => {
                    kept.push((asked.step, refusal.clone()));
                    Reply::Stepped(StepResult::Refused, Some(refusal))
                }
                Err(refusal) => {
                    gone.push(asked.step);
                    Reply::Stepped(StepResult::Unknown, Some(refusal))
                }
            };
            self.answer(asked.step, reply);
        }
        rows::refuse(self.connection, &kept).await?;
        rows::take_back(self.connection, &gone).await
    }

    async fn compensate(&mut self, entries: &[Entry<R::Branch>]) -> Result<(), sqlx::Error> {
        let asked = entries.iter().filter_map(|entry| match entry {
            Entry::Compensate(step, refusal) => Some((step, refusal)),
            _ => None,
        });
        let asked: Vec<(&StepRef, &Refusal)> = asked.collect();
        if asked.is_empty() {
            return Ok(());
        }
        let undone = rows::compensate(self.connection, &asked).await?;
        debug_assert_eq!(step::compensate(Some(StepRow::Executed), false), Compensate::Undo);
        let reasons: HashMap<Uuid, (&StepRef, &Refusal)> =
            asked.iter().map(|(step, refusal)| (step.transaction.transaction_id, (*step, *refusal))).collect();
        let mut effects = Vec::with_capacity(undone.len());
        for (transaction_id, bytes) in undone {
            let Some((step, refusal)) = reasons.get(&transaction_id) else { continue };
            let branch = self.resource.decode_step(&step.step, &bytes).map_err(|error| {
                // It was decoded before it was written down.
                tracing::error!(%transaction_id, step = step.step, %error, "a step in the log can't be read");
                sqlx::Error::Decode(error.into())
            })?;
            effects.push((
                StepBranch { transaction_id, step: step.step.clone(), branch: branch.into() },
                (*refusal).clone(),
            ));
            self.answer(step, Reply::Compensated(Compensate::Undo));
        }
        if !effects.is_empty() {
            self.resource.compensate(self.connection, &effects).await?;
        }
        let missing: Vec<&(&StepRef, &Refusal)> = asked.iter().filter(|(step, _)| self.is_open(step)).collect();
        let tombstones: Vec<(&StepRef, Option<&[u8]>)> = missing.iter().map(|(step, _)| (*step, None)).collect();
        let refusals: Vec<&Refusal> = missing.iter().map(|(_, refusal)| *refusal).collect();
        let inserted = rows::insert(self.connection, StepRow::Compensated, &tombstones, Some(&refusals)).await?;
        for (step, _) in tombstones.iter().filter(|(step, _)| inserted.contains(&step.transaction.transaction_id)) {
            self.answer(step, Reply::Compensated(Compensate::InsertTombstone));
        }
        let others: Vec<&StepRef> = asked.iter().map(|(step, _)| *step).filter(|step| self.is_open(step)).collect();
        for (step, row, below) in self.standing(&others).await? {
            match step::compensate(row.map(|row| row.state), below) {
                Compensate::Undo | Compensate::InsertTombstone => return Err(conflict()),
                done => self.answer(step, Reply::Compensated(done)),
            }
        }
        Ok(())
    }

    async fn end(&mut self, entries: &[Entry<R::Branch>]) -> Result<(), sqlx::Error> {
        let ended = entries.iter().filter_map(|entry| match entry {
            Entry::EndStep(step) => Some(step),
            _ => None,
        });
        let ended: Vec<&StepRef> = ended.collect();
        if ended.is_empty() {
            return Ok(());
        }
        let watermark = super::write::watermark(self.connection).await?;
        let deleted = rows::end(self.connection, &ended, watermark).await?;
        for step in ended.iter().filter(|step| deleted.contains(&step.transaction.transaction_id)) {
            self.answer(step, Reply::Ended(End::Delete));
        }
        let others: Vec<&StepRef> = ended.into_iter().filter(|step| self.is_open(step)).collect();
        for (step, row, _) in self.standing(&others).await? {
            // One that stands was above the watermark by its own deadline or by the message's.
            let end = step::end(row.map(|row| row.state), false);
            self.answer(step, Reply::Ended(end));
        }
        Ok(())
    }

    /// Each step with the row that stands, and whether the message's deadline is at or below the watermark.
    async fn standing<'s>(
        &mut self,
        steps: &[&'s StepRef],
    ) -> Result<Vec<(&'s StepRef, Option<rows::Standing>, bool)>, sqlx::Error> {
        if steps.is_empty() {
            return Ok(Vec::new());
        }
        let watermark = super::write::watermark(self.connection).await?;
        let mut standing = rows::standing(self.connection, steps).await?;
        let look = |step: &&'s StepRef| {
            let row = standing.remove(&step.transaction.transaction_id);
            (*step, row, step.transaction.deadline_unix_ms <= watermark)
        };
        Ok(steps.iter().map(look).collect())
    }

    fn is_open(&self, step: &StepRef) -> bool {
        !self.replies.contains_key(&step.transaction.transaction_id)
    }

    fn answer(&mut self, step: &StepRef, reply: Reply) {
        self.replies.insert(step.transaction.transaction_id, reply);
    }
}
