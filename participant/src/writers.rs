//! How messages come to the log's writers: all of them to one that writes them in batches, or each PREPARE to one of
//! several that write one branch at a time, as the resource asks for ([`Writing`]).
//!
//! Decisions, fences and ends are always batched, by a writer of their own: whatever a PREPARE has to wait for, they don't.
//! Messages about one transaction may then be written side by side, as they may by several processes on one database.
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::group_commit::{GroupCommit, Options, Stopped};
use crate::log::{Entry, LogWork, Reply};
use crate::resource::Writing;
use crate::{PreparedBranch, Resource, StepBranch};

/// The writers of a participant's log; clones share them.
pub struct Writers<R: Resource> {
    batches: GroupCommit<LogWork<R>>,
    alone: Option<Arc<Alone<R>>>,
}

impl<R: Resource> Clone for Writers<R> {
    fn clone(&self) -> Self {
        Writers { batches: self.batches.clone(), alone: self.alone.clone() }
    }
}

impl<R: Resource> Writers<R> {
    /// Starts them, as the resource wants to be written.
    pub fn start(resource: &Arc<R>, connect: &PgConnectOptions) -> Self {
        let start = |work, options| GroupCommit::start(Arc::new(work), connect.clone(), options);
        let batches = start(LogWork::new(resource.clone()), Options::default());
        let alone = match resource.writing() {
            Writing::Batched => None,
            Writing::Alone { writers } => {
                let options = Options { max_batch: 1, ..Options::default() };
                let free = (0..writers.max(1)).map(|_| start(LogWork::preparing(resource.clone()), options.clone()));
                let free: Vec<_> = free.collect();
                let permits = Semaphore::new(free.len());
                Some(Arc::new(Alone { resource: resource.clone(), free: Mutex::new(free), permits }))
            }
        };
        Writers { batches, alone }
    }

    /// Has one message carried out.
    pub async fn submit(&self, entry: Entry<R::Branch>) -> Result<Reply, Stopped> {
        self.submit_all(vec![entry]).await?.pop().ok_or(Stopped)
    }

    /// Has several messages of one kind carried out; replies in their order. Dropping the future cancels none of them.
    pub async fn submit_all(&self, entries: Vec<Entry<R::Branch>>) -> Result<Vec<Reply>, Stopped> {
        match &self.alone {
            Some(alone) if entries.iter().any(|entry| matches!(entry, Entry::Prepare { .. })) => {
                // Tasks of their own: what was entered must be left, also when the caller has gone away.
                let prepared = entries.into_iter().map(|entry| tokio::spawn(alone.clone().prepare(entry)));
                let prepared: Vec<_> = prepared.collect();
                let mut replies = Vec::with_capacity(prepared.len());
                for reply in prepared {
                    replies.push(reply.await.map_err(|_| Stopped)??);
                }
                Ok(replies)
            }
            Some(alone) if entries.iter().any(|entry| matches!(entry, Entry::Execute { .. })) => {
                let executed = tokio::spawn(alone.clone().execute(entries, self.batches.clone()));
                executed.await.map_err(|_| Stopped)?
            }
            _ => self.batches.submit_all(entries).await,
        }
    }
}

/// Writers that each write one branch at a time.
struct Alone<R: Resource> {
    resource: Arc<R>,
    free: Mutex<Vec<GroupCommit<LogWork<R>>>>,
    /// As many as there are free ones; whoever waits longest is next.
    permits: Semaphore,
}

impl<R: Resource> Alone<R> {
    async fn prepare(self: Arc<Self>, entry: Entry<R::Branch>) -> Result<Reply, Stopped> {
        let Entry::Prepare { transaction, branch, .. } = &entry else { return self.write(entry).await };
        let transaction_id = transaction.transaction_id;
        let branch = PreparedBranch { transaction_id, branch: branch.clone() };
        if let Err(cause) = self.resource.enter(&branch).await {
            tracing::debug!(%transaction_id, %cause, "a branch can't be prepared now");
            return Ok(Reply::Unknown(cause));
        }
        let reply = self.write(entry).await;
        self.resource.leave(transaction_id).await;
        reply
    }

    /// Steps enter side by side, and are then written together.
    async fn execute(
        self: Arc<Self>,
        entries: Vec<Entry<R::Branch>>,
        batches: GroupCommit<LogWork<R>>,
    ) -> Result<Vec<Reply>, Stopped> {
        let entered = entries.iter().map(async |entry| {
            let Entry::Execute { step, branch: Ok(branch), must_succeed, .. } = entry else { return Ok(None) };
            let transaction_id = step.transaction.transaction_id;
            let asked = StepBranch { transaction_id, step: step.step.clone(), branch: branch.clone() };
            self.resource.enter_step(&asked, *must_succeed).await.map(|()| Some(transaction_id))
        });
        let entered: Vec<Result<Option<Uuid>, String>> = join_all(entered).await;
        let written = entries.into_iter().zip(&entered).filter(|(_, entered)| entered.is_ok()).map(|(entry, _)| entry);
        let mut written = batches.submit_all(written.collect()).await?.into_iter();
        let mut replies = Vec::with_capacity(entered.len());
        for entered in entered {
            replies.push(match entered {
                Err(cause) => Reply::Unknown(cause),
                Ok(transaction_id) => {
                    if let Some(transaction_id) = transaction_id {
                        self.resource.leave(transaction_id).await;
                    }
                    written.next().ok_or(Stopped)?
                }
            });
        }
        Ok(replies)
    }

    async fn write(&self, entry: Entry<R::Branch>) -> Result<Reply, Stopped> {
        let _permit = self.permits.acquire().await.map_err(|_| Stopped)?;
        let free = || self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = free().pop().ok_or(Stopped)?;
        let reply = writer.submit(entry).await;
        free().push(writer);
        reply
    }
}
