//! The record writer: carries out batches of [`protocol::record`]'s operations as one local transaction.
//!
//! A batch of entries runs kind by kind (stages, aborts, commits, finishes, closings), each kind with set-based statements
//! that see what the one before wrote: the same as carrying out its entries one after the other in that order. Rows are
//! touched in sorted order, those of batches before those of records, so that two coordinators on one database rarely
//! deadlock; when they do, the entries are run again.
//!
//! [`stage`] inserts records, together with the row of the batch that they are from then on; with what is usual it does all that
//! there is to do at once. [`decide`] decides them one by
//! one, [`batch`] all that are left of a batch at once, and [`finishes`] is where finishes wait for the others of their batch.
mod batch;
mod decide;
mod finishes;
mod stage;
mod standing;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashSet;
use std::mem::Discriminant;
use std::sync::{Arc, Mutex, PoisonError};

use participant::Refusal;
use participant::duplicates::Duplicates;
use participant::group_commit::{Local, Urgency, Work};
use protocol::Decision;
use protocol::record::{Abort, Commit, Stage};
use uuid::Uuid;

use super::{ClientAnswer, Doubt};
pub use finishes::{Finishes, Next, WITHIN as FINISHED_WITHIN, Waiting};
use stage::AtOnce;
pub(super) use stage::{held_requests, lock_watermark};
pub(super) use standing::{split, standing};

/// What a new record says, whether STAGING or ABORTED.
#[derive(Debug, Clone, Default)]
pub struct NewRecord {
    /// The attempt.
    pub transaction_id: Uuid,
    /// Whose request; empty where the writer doesn't know it.
    pub client_id: String,
    /// The client's name for the request; empty where the writer doesn't know it, and then the request isn't taken.
    pub request_id: String,
    /// Digest of the request's content.
    pub request_digest: Vec<u8>,
    /// The incarnation that drives the attempt.
    pub owner_id: Arc<str>,
    /// The attempt's deadline.
    pub deadline_unix_ms: i64,
    /// Names of the participants, joined by commas.
    pub participants: Cow<'static, str>,
}

/// What an owner writes, lazily, after its answer.
#[derive(Debug, Clone)]
pub struct Finish {
    /// The attempt.
    pub transaction_id: Uuid,
    /// The decision; none where the record is final already and only the answer is to be kept.
    pub decision: Option<Decision>,
    /// What the client was told.
    pub client_answer: ClientAnswer,
    /// Why, where it was refused.
    pub refusal: Option<Refusal>,
}

impl Finish {
    /// Whether it says what a closed batch says of its records.
    fn is_usual(&self) -> bool {
        (self.decision, self.client_answer) == (Some(Decision::Commit), ClientAnswer::Accepted)
    }
}

/// The finishes of a batch whose other records are all durably final.
#[derive(Debug, Clone)]
pub struct Closing {
    /// Which batch.
    pub batch_id: Uuid,
    /// Of all records that say STAGING; each has a decision.
    pub finishes: Vec<Finish>,
}

/// One operation.
pub enum Entry {
    /// See [`record::stage`].
    Stage(Arc<NewRecord>),
    /// See [`record::insert_aborted`].
    InsertAborted(Arc<NewRecord>, Refusal),
    /// See [`record::abort`].
    Abort(Arc<NewRecord>, Refusal),
    /// See [`record::commit`]; forced.
    Commit(Uuid),
    /// The owner's decision and answer; lazy.
    Finish(Finish),
    /// The owner's decisions and answers of all that is left of a batch; lazy.
    Close(Closing),
}

/// An operation's answer.
#[derive(Debug, Clone)]
pub enum Reply {
    /// To a stage.
    Stage(Stage),
    /// To an abort of either kind.
    Abort(Abort),
    /// To a commit.
    Commit(Commit),
    /// To a finish, or a closing.
    Finished,
    /// It may or may not have happened.
    Unknown(String),
}

impl Reply {
    pub(super) fn into_doubt(self) -> Doubt {
        match self {
            Reply::Unknown(cause) => Doubt(cause),
            other => Doubt(format!("the record writer answered {other:?} to another question")),
        }
    }
}

/// The writer's work.
#[derive(Default)]
pub struct RecordWork {
    duplicates: Duplicates,
    finishes: Arc<Finishes>,
    /// What the last run staged: the batch is told of when it has committed.
    staged: Mutex<Vec<NewBatch>>,
}

impl RecordWork {
    /// Tells of the batches that it stages.
    pub fn new(finishes: Arc<Finishes>) -> Self {
        RecordWork { finishes, ..RecordWork::default() }
    }
}

/// A batch that was staged just now.
#[derive(Debug)]
struct NewBatch {
    batch_id: Uuid,
    /// Its records.
    members: Vec<Uuid>,
}

impl Work for RecordWork {
    type Entry = Entry;
    type Reply = Reply;
    /// One operation of a kind per transaction in a batch; different kinds run one after the other anyway.
    type Key = (Discriminant<Entry>, Uuid);

    fn key(entry: &Entry) -> Self::Key {
        let id = match entry {
            Entry::Stage(record) | Entry::InsertAborted(record, _) | Entry::Abort(record, _) => record.transaction_id,
            Entry::Commit(transaction_id) => *transaction_id,
            Entry::Finish(finish) => finish.transaction_id,
            Entry::Close(closing) => closing.batch_id,
        };
        (std::mem::discriminant(entry), id)
    }

    fn urgency(entry: &Entry) -> Urgency {
        if matches!(entry, Entry::Finish(_) | Entry::Close(_)) { Urgency::Lazy } else { Urgency::Now }
    }

    async fn run(&self, local: &mut Local<'_>, entries: &[Entry]) -> Result<Vec<Reply>, sqlx::Error> {
        let mut round = Round::new(entries);
        let careful = entries.iter().any(|entry| matches!(entry, Entry::Stage(_))) && self.duplicates.are_expected();
        match AtOnce::of(entries).filter(|_| !careful) {
            Some(at_once) => {
                let carried_out = round.carry_out_at_once(local.alone().await?, at_once).await;
                self.duplicates.learn(careful, carried_out)?;
            }
            None => {
                let connection = local.begin().await?;
                round.lock_batches(connection).await?;
                self.duplicates.learn(careful, round.stage(connection, careful).await)?;
                round.abort(connection).await?;
                round.commit(connection).await?;
                round.finish(connection).await?;
                round.close(connection).await?;
            }
        }
        let staged = std::mem::take(&mut round.staged);
        *self.staged.lock().unwrap_or_else(PoisonError::into_inner) = staged;
        // Every entry is of one of the five kinds; what were left out would be doubt, not a guess.
        let unanswered = || Reply::Unknown("the batch left it out".to_owned());
        Ok(round.replies.into_iter().map(|reply| reply.unwrap_or_else(unanswered)).collect())
    }

    fn committed(&self) {
        let staged = std::mem::take(&mut *self.staged.lock().unwrap_or_else(PoisonError::into_inner));
        for batch in staged {
            self.finishes.open(batch.batch_id, batch.members);
        }
    }

    fn doubt(&self, _: &Entry, cause: &str) -> Reply {
        Reply::Unknown(cause.to_owned())
    }
}

/// One run of entries.
struct Round<'a> {
    entries: &'a [Entry],
    replies: Vec<Option<Reply>>,
    /// Batches whose rows are locked, or were inserted here.
    locked: HashSet<Uuid>,
    staged: Vec<NewBatch>,
}

impl<'a> Round<'a> {
    fn new(entries: &'a [Entry]) -> Self {
        Round { entries, replies: vec![None; entries.len()], locked: HashSet::new(), staged: Vec::new() }
    }

    fn answer(&mut self, place: usize, reply: Reply) {
        if let Some(slot) = self.replies.get_mut(place) {
            *slot = Some(reply);
        }
    }
}
