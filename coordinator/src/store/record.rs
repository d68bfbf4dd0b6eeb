//! The record writer: carries out batches of [`protocol::record`]'s operations as one local transaction.
//!
//! A batch runs kind by kind (stages, aborts, commits, finishes), each kind with set-based statements that see what the
//! one before wrote: the same as carrying out its entries one after the other in that order. Rows are touched in sorted
//! order, so that two coordinators on one database rarely deadlock; when they do, the batch is run again.
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::mem::Discriminant;
use std::sync::Arc;

use participant::Refusal;
use participant::duplicates::{self, Duplicates};
use participant::group_commit::{Urgency, Work};
use participant::postgres::conflict;
use protocol::Decision;
use protocol::record::{self, Abort, Commit, RecordState, Stage};
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, PgConnection};
use uuid::Uuid;

use super::{ClientAnswer, Doubt, answer_code, decided_state, state_code, state_of};

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
    /// To a finish.
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
}

impl Work for RecordWork {
    type Entry = Entry;
    type Reply = Reply;
    /// One operation of a kind per transaction in a batch; different kinds run one after the other anyway.
    type Key = (Discriminant<Entry>, Uuid);

    fn key(entry: &Entry) -> Self::Key {
        let transaction_id = match entry {
            Entry::Stage(record) | Entry::InsertAborted(record, _) | Entry::Abort(record, _) => record.transaction_id,
            Entry::Commit(transaction_id) => *transaction_id,
            Entry::Finish(finish) => finish.transaction_id,
        };
        (std::mem::discriminant(entry), transaction_id)
    }

    fn urgency(entry: &Entry) -> Urgency {
        if matches!(entry, Entry::Finish(_)) { Urgency::Lazy } else { Urgency::Now }
    }

    async fn run(&self, connection: &mut PgConnection, entries: &[Entry]) -> Result<Vec<Reply>, sqlx::Error> {
        let mut batch = Batch { entries, replies: vec![None; entries.len()] };
        let inserts = |entry: &Entry| !matches!(entry, Entry::Commit(_) | Entry::Finish(_));
        if entries.iter().any(inserts) {
            let watermark = lock_watermark(connection).await?;
            let expected = self.duplicates.are_expected();
            self.duplicates.learn(expected, batch.stage(connection, watermark, expected).await)?;
            batch.abort(connection, watermark).await?;
        }
        batch.commit(connection).await?;
        batch.finish(connection).await?;
        // Every entry is of one of the four kinds; what were left out would be doubt, not a guess.
        let unanswered = || Reply::Unknown("the batch left it out".to_owned());
        Ok(batch.replies.into_iter().map(|reply| reply.unwrap_or_else(unanswered)).collect())
    }

    fn doubt(&self, _: &Entry, cause: &str) -> Reply {
        Reply::Unknown(cause.to_owned())
    }
}

struct Batch<'a> {
    entries: &'a [Entry],
    replies: Vec<Option<Reply>>,
}

impl Batch<'_> {
    async fn stage(
        &mut self,
        connection: &mut PgConnection,
        watermark: i64,
        duplicates_expected: bool,
    ) -> Result<(), sqlx::Error> {
        let mut stages: Vec<(usize, &NewRecord)> = Vec::new();
        for (place, entry) in self.entries.iter().enumerate() {
            if let Entry::Stage(record) = entry {
                stages.push((place, record));
            }
        }
        if stages.is_empty() {
            return Ok(());
        }
        stages.sort_unstable_by_key(|(_, record)| (&record.client_id, &record.request_id, record.transaction_id));
        let wanted: Vec<&NewRecord> = stages.iter().map(|(_, record)| *record).collect();
        let above: Vec<&NewRecord> =
            wanted.iter().copied().filter(|record| record.deadline_unix_ms > watermark).collect();
        if !duplicates_expected && above.len() == stages.len() {
            stage_new(connection, &above).await?;
            for (place, _) in stages {
                self.answer(place, Reply::Stage(Stage::Staged));
            }
            return Ok(());
        }
        let inserted = stage(connection, &above).await?;
        let left: Vec<&NewRecord> =
            wanted.into_iter().filter(|record| !inserted.contains(&record.transaction_id)).collect();
        let standing = standing(connection, &left).await?;
        let held = held_requests(connection, &left).await?;
        for (place, record) in stages {
            let stage = if inserted.contains(&record.transaction_id) {
                Stage::Staged
            } else {
                let (own, holds_request) = split(standing.get(&record.transaction_id));
                let request_free = !held.contains(&(record.client_id.clone(), record.request_id.clone()));
                let stage = record::stage(own, holds_request, request_free, record.deadline_unix_ms <= watermark);
                if stage == Stage::Staged && own.is_none() {
                    // Whatever was in the way has gone meanwhile.
                    return Err(conflict());
                }
                stage
            };
            self.answer(place, Reply::Stage(stage));
        }
        Ok(())
    }

    async fn abort(&mut self, connection: &mut PgConnection, watermark: i64) -> Result<(), sqlx::Error> {
        let mut aborts: Vec<(usize, &NewRecord, bool)> = Vec::new();
        let mut refusals: HashMap<Uuid, &Refusal> = HashMap::new();
        for (place, entry) in self.entries.iter().enumerate() {
            if let Entry::Abort(record, refusal) | Entry::InsertAborted(record, refusal) = entry {
                aborts.push((place, record, matches!(entry, Entry::Abort(..))));
                refusals.insert(record.transaction_id, refusal);
            }
        }
        if aborts.is_empty() {
            return Ok(());
        }
        // By transaction first: an abort and an insert of one transaction are neighbours, and only one row is inserted.
        aborts.sort_unstable_by_key(|(_, record, is_abort)| (record.transaction_id, !is_abort));
        let mut wanted: Vec<&NewRecord> = aborts.iter().map(|(_, record, _)| *record).collect();
        wanted.dedup_by_key(|record| record.transaction_id);
        let standing = standing(connection, &wanted).await?;
        let missing = wanted
            .iter()
            .copied()
            .filter(|record| !standing.contains_key(&record.transaction_id) && record.deadline_unix_ms > watermark)
            .collect();
        let took_request = insert_tombstones(connection, missing, &refusals).await?;
        let mut to_abort = Vec::new();
        for (place, record, is_abort) in aborts {
            let (own, holds_request) = split(standing.get(&record.transaction_id));
            let request_free = took_request.contains(&record.transaction_id);
            let below = record.deadline_unix_ms <= watermark;
            let abort = if is_abort {
                record::abort(own, holds_request, request_free, below)
            } else {
                record::insert_aborted(own, holds_request, request_free, below)
            };
            if own == Some(RecordState::Staging) && matches!(abort, Abort::Aborted { .. }) {
                to_abort.push(record.transaction_id);
            }
            self.answer(place, Reply::Abort(abort));
        }
        let reasons: Vec<String> =
            to_abort.iter().filter_map(|id| refusals.get(id)).map(|refusal| refusal.to_json()).collect();
        decide(connection, &to_abort, RecordState::Aborted, &reasons).await
    }

    async fn commit(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut commits: Vec<(usize, Uuid)> = Vec::new();
        for (place, entry) in self.entries.iter().enumerate() {
            if let Entry::Commit(transaction_id) = entry {
                commits.push((place, *transaction_id));
            }
        }
        if commits.is_empty() {
            return Ok(());
        }
        commits.sort_unstable_by_key(|(_, transaction_id)| *transaction_id);
        let ids: Vec<Uuid> = commits.iter().map(|(_, transaction_id)| *transaction_id).collect();
        let standing = standing_by_id(connection, &ids).await?;
        let staging: Vec<Uuid> =
            ids.into_iter().filter(|id| split(standing.get(id)).0 == Some(RecordState::Staging)).collect();
        decide(connection, &staging, RecordState::Committed, &[]).await?;
        for (place, transaction_id) in commits {
            let commit = record::commit(split(standing.get(&transaction_id)).0);
            self.answer(place, Reply::Commit(commit));
        }
        Ok(())
    }

    async fn finish(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut finishes: Vec<&Finish> = Vec::new();
        for (entry, reply) in self.entries.iter().zip(&mut self.replies) {
            if let Entry::Finish(finish) = entry {
                finishes.push(finish);
                *reply = Some(Reply::Finished);
            }
        }
        if finishes.is_empty() {
            return Ok(());
        }
        finishes.sort_unstable_by_key(|finish| finish.transaction_id);
        // The answer is kept whatever the state is; the state and the reason only where nothing was decided yet.
        sqlx::query(
            "WITH decided AS (DELETE FROM undecided WHERE transaction_id = ANY($5::uuid[])) \
             UPDATE record r SET \
                 client_answer = f.client_answer, \
                 refusal = CASE WHEN r.state = 1 THEN f.refusal::jsonb ELSE r.refusal END, \
                 decide_time = CASE WHEN r.state = 1 AND f.state <> 1 THEN now() ELSE r.decide_time END, \
                 first_decision = CASE WHEN r.state = 1 AND f.state <> 1 THEN f.state ELSE r.first_decision END, \
                 ended = r.ended OR (r.state = 1 AND f.state = 3), \
                 state = CASE WHEN r.state = 1 THEN f.state ELSE r.state END \
             FROM unnest($1::uuid[], $2::smallint[], $3::smallint[], $4::text[]) \
                 AS f (transaction_id, state, client_answer, refusal) \
             WHERE r.transaction_id = f.transaction_id",
        )
        .bind(finishes.iter().map(|finish| finish.transaction_id).collect::<Vec<_>>())
        .bind(
            finishes
                .iter()
                .map(|finish| state_code(finish.decision.map_or(RecordState::Staging, decided_state)))
                .collect::<Vec<_>>(),
        )
        .bind(finishes.iter().map(|finish| answer_code(finish.client_answer)).collect::<Vec<_>>())
        .bind(finishes.iter().map(|finish| finish.refusal.as_ref().map(Refusal::to_json)).collect::<Vec<_>>())
        .bind(
            finishes
                .iter()
                .filter(|finish| finish.decision.is_some())
                .map(|finish| finish.transaction_id)
                .collect::<Vec<_>>(),
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    fn answer(&mut self, place: usize, reply: Reply) {
        if let Some(slot) = self.replies.get_mut(place) {
            *slot = Some(reply);
        }
    }
}

/// Reads the watermark and keeps the collector's drain waiting until this local transaction has ended.
pub(super) async fn lock_watermark(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT deadline_unix_ms FROM watermark WHERE sole FOR KEY SHARE").fetch_one(connection).await
}

macro_rules! insert {
    ($conflict:literal) => {
        concat!(
            "INSERT INTO record (transaction_id, client_id, request_id, request_digest, owner_id, deadline_unix_ms, \
                 participants, refusal, state, holds_request, first_decision, decide_time, ended) \
             SELECT n.transaction_id, n.client_id, n.request_id, n.request_digest, n.owner_id, n.deadline_unix_ms, \
                 n.participants, n.refusal::jsonb, $9::smallint, $10::boolean, \
                 NULLIF($9::smallint, 1), CASE WHEN $9::smallint <> 1 THEN now() END, $9::smallint = 3 \
             FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::bigint[], $7::text[], \
                     $8::text[]) \
                 AS n (transaction_id, client_id, request_id, request_digest, owner_id, deadline_unix_ms, participants, \
                       refusal)",
            $conflict,
            " RETURNING transaction_id"
        )
    };
}

/// Inserts STAGING records that are expected to meet no other: one that does fails the statement. Waits for other
/// coordinators' inserts of the same.
async fn stage_new(connection: &mut PgConnection, records: &[&NewRecord]) -> Result<(), sqlx::Error> {
    let stage = concat!("WITH staged AS (", insert!(""), ") INSERT INTO undecided SELECT transaction_id FROM staged");
    let columns = columns(records, RecordState::Staging, true, &HashMap::new())?;
    let staged = sqlx::query_with(stage, columns).execute(connection).await?;
    duplicates::all(staged.rows_affected(), records.len())
}

/// Inserts STAGING records where they meet no other; returns what was inserted.
async fn stage(connection: &mut PgConnection, records: &[&NewRecord]) -> Result<HashSet<Uuid>, sqlx::Error> {
    let stage = concat!(
        "WITH staged AS (",
        insert!(" ON CONFLICT DO NOTHING"),
        "), noted AS (INSERT INTO undecided SELECT transaction_id FROM staged) SELECT transaction_id FROM staged"
    );
    insert(connection, stage, records, RecordState::Staging, true, &HashMap::new()).await
}

/// Inserts ABORTED records where they meet no other; returns what was inserted.
async fn insert_aborted(
    connection: &mut PgConnection,
    records: &[&NewRecord],
    holds_request: bool,
    refusals: &HashMap<Uuid, &Refusal>,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let insert_them = insert!(" ON CONFLICT DO NOTHING");
    insert(connection, insert_them, records, RecordState::Aborted, holds_request, refusals).await
}

async fn insert(
    connection: &mut PgConnection,
    statement: &'static str,
    records: &[&NewRecord],
    state: RecordState,
    holds_request: bool,
    refusals: &HashMap<Uuid, &Refusal>,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    if records.is_empty() {
        return Ok(HashSet::new());
    }
    let columns = columns(records, state, holds_request, refusals)?;
    let inserted: Vec<Uuid> = sqlx::query_scalar_with(statement, columns).fetch_all(connection).await?;
    Ok(inserted.into_iter().collect())
}

/// Records as the columns that are inserted.
fn columns(
    records: &[&NewRecord],
    state: RecordState,
    holds_request: bool,
    refusals: &HashMap<Uuid, &Refusal>,
) -> Result<PgArguments, sqlx::Error> {
    let reasons = records.iter().map(|record| refusals.get(&record.transaction_id).map(|refusal| refusal.to_json()));
    let mut columns = PgArguments::default();
    let add = || -> Result<(), sqlx::error::BoxDynError> {
        columns.add(records.iter().map(|record| record.transaction_id).collect::<Vec<_>>())?;
        columns.add(records.iter().map(|record| record.client_id.as_str()).collect::<Vec<_>>())?;
        columns.add(records.iter().map(|record| record.request_id.as_str()).collect::<Vec<_>>())?;
        columns.add(records.iter().map(|record| record.request_digest.as_slice()).collect::<Vec<_>>())?;
        columns.add(records.iter().map(|record| &*record.owner_id).collect::<Vec<_>>())?;
        columns.add(records.iter().map(|record| record.deadline_unix_ms).collect::<Vec<_>>())?;
        columns.add(records.iter().map(|record| &*record.participants).collect::<Vec<_>>())?;
        // What is shorter than the others is filled up with NULL.
        columns.add(if refusals.is_empty() { Vec::new() } else { reasons.collect::<Vec<_>>() })?;
        columns.add(state_code(state))?;
        columns.add(holds_request)
    };
    add().map_err(sqlx::Error::Encode)?;
    Ok(columns)
}

/// Inserts ABORTED records, each taking its request if that is known and free; returns which did.
async fn insert_tombstones(
    connection: &mut PgConnection,
    mut missing: Vec<&NewRecord>,
    refusals: &HashMap<Uuid, &Refusal>,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    missing.sort_unstable_by_key(|record| (&record.client_id, &record.request_id, record.transaction_id));
    let with_request: Vec<&NewRecord> =
        missing.iter().copied().filter(|record| !record.request_id.is_empty()).collect();
    let took_request = insert_aborted(connection, &with_request, true, refusals).await?;
    let mut others: Vec<&NewRecord> =
        missing.into_iter().filter(|record| !took_request.contains(&record.transaction_id)).collect();
    others.sort_unstable_by_key(|record| record.transaction_id);
    let inserted = insert_aborted(connection, &others, false, refusals).await?;
    if inserted.len() < others.len() {
        // Another writer inserted this very record meanwhile; run again and see it.
        return Err(conflict());
    }
    Ok(took_request)
}

/// Makes STAGING records final. `refusals` is empty, or one JSON text for each id.
async fn decide(
    connection: &mut PgConnection,
    ids: &[Uuid],
    state: RecordState,
    refusals: &[String],
) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "WITH decided AS (DELETE FROM undecided WHERE transaction_id = ANY($1::uuid[])) \
         UPDATE record r SET state = $3::smallint, first_decision = $3::smallint, decide_time = now(), \
             refusal = d.refusal::jsonb, ended = $3::smallint = 3 \
         FROM unnest($1::uuid[], $2::text[]) AS d (transaction_id, refusal) \
         WHERE r.transaction_id = d.transaction_id AND r.state = 1",
    )
    .bind(ids)
    .bind(refusals)
    .bind(state_code(state))
    .execute(connection)
    .await?;
    Ok(())
}

/// State and holds_request of the records that stand, locked until the end of the local transaction.
pub(super) async fn standing(
    connection: &mut PgConnection,
    records: &[&NewRecord],
) -> Result<HashMap<Uuid, (RecordState, bool)>, sqlx::Error> {
    let ids: Vec<Uuid> = records.iter().map(|record| record.transaction_id).collect();
    standing_by_id(connection, &ids).await
}

async fn standing_by_id(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, (RecordState, bool)>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, i16, bool)> = sqlx::query_as(
        "SELECT transaction_id, state, holds_request FROM record WHERE transaction_id = ANY($1::uuid[]) \
         ORDER BY transaction_id FOR NO KEY UPDATE",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|(id, state, holds_request)| Ok((id, (state_of(state)?, holds_request)))).collect()
}

/// Which of these records' requests are held, by whomever.
pub(super) async fn held_requests(
    connection: &mut PgConnection,
    records: &[&NewRecord],
) -> Result<HashSet<(String, String)>, sqlx::Error> {
    if records.is_empty() {
        return Ok(HashSet::new());
    }
    let held: Vec<(String, String)> = sqlx::query_as(
        "SELECT r.client_id, r.request_id FROM record r \
         JOIN unnest($1::text[], $2::text[]) AS q (client_id, request_id) \
             ON r.client_id = q.client_id AND r.request_id = q.request_id \
         WHERE r.holds_request",
    )
    .bind(records.iter().map(|record| record.client_id.as_str()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.request_id.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(held.into_iter().collect())
}

/// State and holds_request, of a record that stands or not.
pub(super) fn split(standing: Option<&(RecordState, bool)>) -> (Option<RecordState>, bool) {
    standing.map_or((None, false), |(state, holds_request)| (Some(*state), *holds_request))
}
