//! The saga writer: carries out batches of starts, changes, notes and takeovers as one local transaction.
//!
//! A batch has at most one entry of a saga. Rows are touched in the order of their ids, the saga's before its record's.
use std::collections::HashMap;
use std::sync::Arc;

use participant::group_commit::{Local, Urgency, Work};
use participant::postgres::conflict;
use protocol::record::{self, Stage};
use protocol::saga::{Denied, Saga, SagaState};
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::record as records;
use super::statements::{self, Decided};
use super::{ClientAnswer, Doubt, NewSaga, SagaNote, SagaRow, SagaWrite, TakeOver, reads};
use crate::store::NewRecord;

/// One operation.
pub enum Entry {
    /// A saga begins; forced.
    Start(Arc<NewSaga>),
    /// A row changes; forced.
    Write(SagaWrite),
    /// A step is to be asked again; lazy.
    Note(SagaNote),
    /// A row changes its owner; forced.
    TakeOver(TakeOver),
}

/// An operation's answer.
#[derive(Debug)]
pub enum Reply {
    /// To a start.
    Started(Stage),
    /// To a change: the row since then.
    Written(Result<Saga, Denied>),
    /// To a note: whether the writer still owns the saga.
    Noted(bool),
    /// To a takeover: the new epoch.
    TakenOver(Option<u64>),
    /// It may or may not have happened.
    Unknown(String),
}

impl Reply {
    pub(super) fn into_doubt(self) -> Doubt {
        match self {
            Reply::Unknown(cause) => Doubt(cause),
            other => Doubt(format!("the saga writer answered {other:?} to another question")),
        }
    }
}

/// The writer's work.
pub struct SagaWork;

impl Work for SagaWork {
    type Entry = Entry;
    type Reply = Reply;
    type Key = Uuid;

    fn key(entry: &Entry) -> Uuid {
        match entry {
            Entry::Start(saga) => saga.record.transaction_id,
            Entry::Write(write) => write.transaction_id,
            Entry::Note(note) => note.transaction_id,
            Entry::TakeOver(take_over) => take_over.transaction_id,
        }
    }

    fn urgency(entry: &Entry) -> Urgency {
        if matches!(entry, Entry::Note(_)) { Urgency::Lazy } else { Urgency::Now }
    }

    async fn run(&self, local: &mut Local<'_>, entries: &[Entry]) -> Result<Vec<Reply>, sqlx::Error> {
        let connection = local.begin().await?;
        let mut replies = HashMap::with_capacity(entries.len());
        start(connection, entries, &mut replies).await?;
        let ids: Vec<Uuid> = entries.iter().filter(|entry| !matches!(entry, Entry::Start(_))).map(Self::key).collect();
        let standing = reads::lock(connection, &ids).await?;
        change(connection, entries, &standing, &mut replies).await?;
        note(connection, entries, &standing, &mut replies).await?;
        take_over(connection, entries, &standing, &mut replies).await?;
        let unanswered = || Reply::Unknown("the batch left it out".to_owned());
        Ok(entries.iter().map(|entry| replies.remove(&Self::key(entry)).unwrap_or_else(unanswered)).collect())
    }

    fn doubt(&self, _: &Entry, cause: &str) -> Reply {
        Reply::Unknown(cause.to_owned())
    }
}

type Replies = HashMap<Uuid, Reply>;
type Standing = HashMap<Uuid, SagaRow>;

async fn start(connection: &mut PgConnection, entries: &[Entry], replies: &mut Replies) -> Result<(), sqlx::Error> {
    let started = entries.iter().filter_map(|entry| match entry {
        Entry::Start(saga) => Some(saga.as_ref()),
        _ => None,
    });
    let mut starts: Vec<&NewSaga> = started.collect();
    if starts.is_empty() {
        return Ok(());
    }
    starts.sort_unstable_by_key(|saga| (&saga.record.client_id, &saga.record.request_id, saga.record.transaction_id));
    let watermark = records::lock_watermark(connection).await?;
    let above: Vec<&NewSaga> = starts.iter().copied().filter(|saga| saga.record.deadline_unix_ms > watermark).collect();
    let inserted = statements::insert(connection, &above).await?;
    let left: Vec<&NewRecord> =
        starts.iter().map(|saga| &saga.record).filter(|it| !inserted.contains(&it.transaction_id)).collect();
    let standing = records::standing(connection, &left).await?;
    let held = records::held_requests(connection, &left).await?;
    for NewSaga { record, .. } in starts {
        let stage = if inserted.contains(&record.transaction_id) {
            Stage::Staged
        } else {
            let (own, holds_request) = records::split(standing.get(&record.transaction_id));
            let request_free = !held.contains(&(record.client_id.clone(), record.request_id.clone()));
            let stage = record::stage(own, holds_request, request_free, record.deadline_unix_ms <= watermark);
            if stage == Stage::Staged && own.is_none() {
                // Whatever was in the way has gone meanwhile.
                return Err(conflict());
            }
            stage
        };
        replies.insert(record.transaction_id, Reply::Started(stage));
    }
    Ok(())
}

async fn change(
    connection: &mut PgConnection,
    entries: &[Entry],
    standing: &Standing,
    replies: &mut Replies,
) -> Result<(), sqlx::Error> {
    let (mut changed, mut decided) = (Vec::new(), Vec::new());
    for entry in entries {
        let Entry::Write(write) = entry else { continue };
        let id = write.transaction_id;
        // A row that is gone has ended long ago.
        let Some(row) = standing.get(&id) else {
            replies.insert(id, Reply::Written(Err(Denied::Superseded)));
            continue;
        };
        let Some(definition) = row.definition() else {
            tracing::error!(transaction_id = %id, "the steps in the database are no saga");
            return Err(sqlx::Error::Decode("the steps in the database are no saga".into()));
        };
        let written = definition.apply(&row.saga, row.epoch, write.epoch, &write.write);
        if let Ok(after) = &written
            && *after != row.saga
        {
            changed.push((row, after.clone()));
            let accepted = definition.is_accepted(after) && !definition.is_accepted(&row.saga);
            let turned = after.state == SagaState::Backward && row.saga.state == SagaState::Forward;
            if accepted || turned {
                let refusal = write.refusal.as_ref().filter(|_| turned);
                decided.push(Decided { transaction_id: id, accepted, answer: write.client_answer, refusal });
            }
        }
        replies.insert(id, Reply::Written(written));
    }
    statements::change(connection, &changed).await?;
    decided.sort_unstable_by_key(|it| it.transaction_id);
    statements::decide(connection, &decided).await
}

async fn note(
    connection: &mut PgConnection,
    entries: &[Entry],
    standing: &Standing,
    replies: &mut Replies,
) -> Result<(), sqlx::Error> {
    let mut notes = Vec::new();
    for entry in entries {
        let Entry::Note(note) = entry else { continue };
        let owned = standing.get(&note.transaction_id).is_some_and(|row| row.epoch == note.epoch);
        if owned {
            notes.push(note);
        }
        replies.insert(note.transaction_id, Reply::Noted(owned));
    }
    statements::note(connection, &notes).await
}

async fn take_over(
    connection: &mut PgConnection,
    entries: &[Entry],
    standing: &Standing,
    replies: &mut Replies,
) -> Result<(), sqlx::Error> {
    let mut taken = Vec::new();
    for entry in entries {
        let Entry::TakeOver(take_over) = entry else { continue };
        let row = standing.get(&take_over.transaction_id).filter(|row| !row.saga.state.is_ended());
        let epoch = row.filter(|row| row.epoch == take_over.seen_epoch).map(|row| row.epoch + 1);
        if epoch.is_some() {
            taken.push(take_over);
        } else if let Some(row) =
            row.filter(|row| *row.owner_id == *take_over.owner_id && row.epoch == take_over.seen_epoch + 1)
        {
            // The first run of this very takeover, whose outcome was lost.
            replies.insert(take_over.transaction_id, Reply::TakenOver(Some(row.epoch)));
            continue;
        }
        replies.insert(take_over.transaction_id, Reply::TakenOver(epoch));
    }
    statements::take_over(connection, &taken).await
}

/// What is recorded as told to the client.
pub(super) fn answer_code(answer: ClientAnswer) -> i16 {
    super::super::answer_code(answer)
}
