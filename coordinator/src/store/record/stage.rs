//! Inserting records: STAGING ones as a batch with its row, ABORTED ones as they are.
//!
//! What nearly all runs are is one statement, which needs no BEGIN and no COMMIT: new records of one batch, and other batches whose
//! records were all accepted.
use std::collections::{HashMap, HashSet};

use participant::postgres::conflict;
use participant::{Refusal, duplicates};
use protocol::record::{self, Stage};
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, PgConnection};
use uuid::Uuid;

use super::batch::count;
use super::{Closing, Entry, Finish, NewBatch, NewRecord, Reply, Round, split, standing};

/// How far the deadlines of a batch are apart, at most: it is collected with the latest of them, and one that is hours away
/// (that of a saga's child may be) is not to keep all the others.
const SPAN_MS: i64 = 100_000;

/// How a run is carried out by one statement.
pub(super) struct AtOnce<'a> {
    /// With the places of their entries.
    stages: Vec<(usize, &'a NewRecord)>,
    closings: Vec<&'a Closing>,
}

impl<'a> AtOnce<'a> {
    /// If it is: there is something to stage, all for one batch, and whatever else there is closes batches as usual.
    pub(super) fn of(entries: &'a [Entry]) -> Option<Self> {
        let (mut stages, mut closings) = (Vec::new(), Vec::new());
        for (place, entry) in entries.iter().enumerate() {
            match entry {
                Entry::Stage(record) => stages.push((place, &**record)),
                Entry::Close(closing) if closing.finishes.iter().all(Finish::is_usual) => closings.push(closing),
                _ => return None,
            }
        }
        let (_, first) = stages.first()?;
        let is_one_batch = stages.iter().all(|(_, other)| batch_of(other) == batch_of(first));
        closings.sort_unstable_by_key(|closing| closing.batch_id);
        is_one_batch.then_some(AtOnce { stages, closings })
    }
}

impl Round<'_> {
    /// Inserts STAGING records and closes batches by one statement. If anything is not as expected it fails, and has closed batches
    /// at most.
    pub(super) async fn carry_out_at_once(
        &mut self,
        connection: &mut PgConnection,
        AtOnce { mut stages, closings }: AtOnce<'_>,
    ) -> Result<(), sqlx::Error> {
        self.stage_batch(connection, &mut stages, &closings).await?;
        for (entry, reply) in self.entries.iter().zip(&mut self.replies) {
            if matches!(entry, Entry::Close(_)) {
                *reply = Some(Reply::Finished);
            }
        }
        Ok(())
    }

    /// Inserts STAGING records. All are expected to meet no other and to be above the watermark, unless `careful`: one that
    /// does not fails the run.
    pub(super) async fn stage(&mut self, connection: &mut PgConnection, careful: bool) -> Result<(), sqlx::Error> {
        let mut stages: Vec<(usize, &NewRecord)> = Vec::new();
        for (place, entry) in self.entries.iter().enumerate() {
            if let Entry::Stage(record) = entry {
                stages.push((place, record));
            }
        }
        stages.sort_unstable_by_key(|(_, it)| batch_of(it));
        for stages in stages.chunk_by_mut(|(_, one), (_, other)| batch_of(one) == batch_of(other)) {
            if careful {
                stages.sort_unstable_by_key(|(_, it)| in_order(it));
                self.stage_with_care(connection, stages).await?;
            } else {
                self.stage_batch(connection, stages, &[]).await?;
            }
        }
        Ok(())
    }

    /// Inserts those of one batch, which are expected to meet no other, and closes others.
    async fn stage_batch(
        &mut self,
        connection: &mut PgConnection,
        stages: &mut [(usize, &NewRecord)],
        closings: &[&Closing],
    ) -> Result<(), sqlx::Error> {
        stages.sort_unstable_by_key(|(_, it)| in_order(it));
        let batch_id = Uuid::now_v7();
        let records: Vec<&NewRecord> = stages.iter().map(|(_, record)| *record).collect();
        stage_new(connection, batch_id, &records, closings).await?;
        self.opened(batch_id, records.iter().map(|record| record.transaction_id).collect());
        for (place, _) in stages {
            self.answer(*place, Reply::Stage(Stage::Staged));
        }
        Ok(())
    }

    /// The same for one owner's, where they may meet others.
    async fn stage_with_care(
        &mut self,
        connection: &mut PgConnection,
        stages: &[(usize, &NewRecord)],
    ) -> Result<(), sqlx::Error> {
        let watermark = lock_watermark(connection).await?;
        let is_above = |record: &&NewRecord| record.deadline_unix_ms > watermark;
        let above: Vec<&NewRecord> = stages.iter().map(|(_, record)| *record).filter(is_above).collect();
        let batch_id = Uuid::now_v7();
        let inserted = stage(connection, batch_id, &above).await?;
        let is_left = |record: &&NewRecord| !inserted.contains(&record.transaction_id);
        let left: Vec<&NewRecord> = stages.iter().map(|(_, record)| *record).filter(is_left).collect();
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
            self.answer(*place, Reply::Stage(stage));
        }
        if !inserted.is_empty() {
            self.opened(batch_id, inserted.into_iter().collect());
        }
        Ok(())
    }

    fn opened(&mut self, batch_id: Uuid, members: Vec<Uuid>) {
        self.locked.insert(batch_id);
        self.staged.push(NewBatch { batch_id, members });
    }
}

/// What is the same for all records of a batch. In practice all in a run are of the process' own and about as urgent.
fn batch_of(record: &NewRecord) -> (&str, i64) {
    (&record.owner_id, record.deadline_unix_ms.div_euclid(SPAN_MS))
}

/// In which order records are inserted, by every coordinator.
fn in_order(record: &NewRecord) -> (&str, &str, Uuid) {
    (&record.client_id, &record.request_id, record.transaction_id)
}

/// Reads the watermark and keeps the collector's drain waiting until this local transaction has ended.
pub async fn lock_watermark(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT deadline_unix_ms FROM watermark WHERE sole FOR KEY SHARE").fetch_one(connection).await
}

/// The new records and what is the same for all of them; what is shorter than the others is filled up with NULL.
macro_rules! new_records {
    () => {
        "(SELECT unnest($1::uuid[]) AS transaction_id, unnest($2::text[]) AS client_id, unnest($3::text[]) AS request_id, \
              unnest($4::bytea[]) AS request_digest, unnest($5::bigint[]) AS deadline_unix_ms, \
              unnest($6::text[]) AS participants, unnest($7::text[]) AS owner_id, unnest($8::text[]) AS refusal) AS n"
    };
}

macro_rules! insert_staging {
    ($rest:literal) => {
        concat!(
            "INSERT INTO record (transaction_id, client_id, request_id, request_digest, owner_id, deadline_unix_ms, \
                 participants, state, holds_request, batch_id) \
             SELECT n.transaction_id, n.client_id, n.request_id, n.request_digest, $9, n.deadline_unix_ms, \
                 coalesce(n.participants, $10), 1, true, $11::uuid FROM ",
            new_records!(),
            $rest
        )
    };
}

macro_rules! stage_new {
    ($closed:literal, $are_closed:literal) => {
        concat!(
            "WITH lowest AS MATERIALIZED (SELECT deadline_unix_ms FROM watermark WHERE sole FOR KEY SHARE), ",
            $closed,
            "batch AS (INSERT INTO record_batch \
                 (batch_id, undecided, record_count, owner_id, transaction_ids, max_deadline_unix_ms, participants) \
                 SELECT $11, $13, $13, $9, $1, $14, $12 WHERE (SELECT deadline_unix_ms FROM lowest) < $15",
            $are_closed,
            ") ",
            insert_staging!(" WHERE (SELECT deadline_unix_ms FROM lowest) < $15"),
            $are_closed
        )
    };
}

/// The same for one record, where nothing is closed: with values instead of arrays there is a third less of its plan to make ready.
const STAGE_ONE: &str = "WITH lowest AS MATERIALIZED (SELECT deadline_unix_ms FROM watermark WHERE sole FOR KEY SHARE), \
     batch AS (INSERT INTO record_batch \
         (batch_id, undecided, record_count, owner_id, transaction_ids, max_deadline_unix_ms, participants) \
         SELECT $8, 1, 1, $6, ARRAY[$1], $5, $9 FROM lowest WHERE lowest.deadline_unix_ms < $5) \
     INSERT INTO record (transaction_id, client_id, request_id, request_digest, deadline_unix_ms, owner_id, participants, \
         state, holds_request, batch_id) \
     SELECT $1, $2, $3, $4, $5, $6, $7, 1, true, $8 FROM lowest WHERE lowest.deadline_unix_ms < $5";

/// Inserts STAGING records that are expected to be above the watermark and to meet no other, and closes batches of which as many are
/// expected to be undecided as are finished: if anything is not so no record is inserted, because the statement may be a local
/// transaction of its own. Waits for other coordinators' inserts of the same.
///
/// The inserting statement reads the watermark as [`lock_watermark`] does.
async fn stage_new(
    connection: &mut PgConnection,
    batch_id: Uuid,
    records: &[&NewRecord],
    closings: &[&Closing],
) -> Result<(), sqlx::Error> {
    if let ([record], []) = (records, closings) {
        let staged = sqlx::query_with(STAGE_ONE, staging_values(batch_id, record)?).execute(connection).await?;
        return duplicates::all(staged.rows_affected(), 1);
    }
    let mut columns = staging_columns(batch_id, records)?;
    let first_deadline = records.iter().map(|record| record.deadline_unix_ms).min().unwrap_or_default();
    let mut add = || -> Result<(), sqlx::error::BoxDynError> {
        columns.add(count(records.len()))?;
        columns.add(max_deadline(records))?;
        columns.add(first_deadline)?;
        if !closings.is_empty() {
            columns.add(closings.iter().map(|closing| closing.batch_id).collect::<Vec<_>>())?;
            columns.add(closings.iter().map(|closing| count(closing.finishes.len())).collect::<Vec<_>>())?;
        }
        Ok(())
    };
    add().map_err(sqlx::Error::Encode)?;
    let stage = match closings {
        [] => stage_new!("", ""),
        _ => stage_new!(
            "closed AS ( \
                 UPDATE record_batch b SET state = 2, undecided = 0, decide_time = now() \
                 FROM (SELECT unnest($16::uuid[]) AS batch_id, unnest($17::integer[]) AS undecided) AS c \
                 WHERE b.batch_id = c.batch_id AND b.decide_time IS NULL AND b.undecided = c.undecided RETURNING 1), ",
            " AND (SELECT count(*) FROM closed) = cardinality($16::uuid[])"
        ),
    };
    let staged = sqlx::query_with(stage, columns).execute(connection).await?;
    duplicates::all(staged.rows_affected(), records.len())
}

/// Inserts STAGING records where they meet no other, as a batch if there are any; returns what was inserted.
async fn stage(
    connection: &mut PgConnection,
    batch_id: Uuid,
    records: &[&NewRecord],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    if records.is_empty() {
        return Ok(HashSet::new());
    }
    let stage = concat!(
        "WITH staged AS (",
        insert_staging!(" ON CONFLICT DO NOTHING RETURNING transaction_id"),
        "), batch AS (INSERT INTO record_batch \
                 (batch_id, undecided, record_count, owner_id, transaction_ids, max_deadline_unix_ms, participants) \
             SELECT $11, count(*), count(*), $9, array_agg(transaction_id), $13, $12 FROM staged HAVING count(*) > 0) \
         SELECT transaction_id FROM staged"
    );
    let mut columns = staging_columns(batch_id, records)?;
    columns.add(max_deadline(records)).map_err(sqlx::Error::Encode)?;
    let inserted: Vec<Uuid> = sqlx::query_scalar_with(stage, columns).fetch_all(connection).await?;
    Ok(inserted.into_iter().collect())
}

fn max_deadline(records: &[&NewRecord]) -> i64 {
    records.iter().map(|record| record.deadline_unix_ms).max().unwrap_or_default()
}

/// STAGING records of one owner as the columns that are inserted. Mostly they are of the same participants, which are then
/// sent once.
fn staging_columns(batch_id: Uuid, records: &[&NewRecord]) -> Result<PgArguments, sqlx::Error> {
    let first = records.first();
    let participants = first.map(|record| &*record.participants).unwrap_or_default();
    let are_alike = records.iter().all(|record| record.participants == participants);
    let each: Vec<&str> = records.iter().filter(|_| !are_alike).map(|record| &*record.participants).collect();
    let named = named(each.iter().copied().chain([participants]));
    let mut columns = columns(records, each, Vec::new(), Vec::new())?;
    let add = || -> Result<(), sqlx::error::BoxDynError> {
        columns.add(first.map(|record| &*record.owner_id).unwrap_or_default())?;
        columns.add(participants)?;
        columns.add(batch_id)?;
        columns.add(named)
    };
    add().map_err(sqlx::Error::Encode)?;
    Ok(columns)
}

/// The participants that these lists name, each once.
fn named<'a>(participants: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut named: Vec<&str> =
        participants.flat_map(|names| names.split(',')).filter(|name| !name.is_empty()).collect();
    named.sort_unstable();
    named.dedup();
    named
}

/// A STAGING record as the values of [`STAGE_ONE`].
fn staging_values(batch_id: Uuid, record: &NewRecord) -> Result<PgArguments, sqlx::Error> {
    let mut values = PgArguments::default();
    let mut add = || -> Result<(), sqlx::error::BoxDynError> {
        values.add(record.transaction_id)?;
        values.add(&*record.client_id)?;
        values.add(&*record.request_id)?;
        values.add(record.request_digest.as_slice())?;
        values.add(record.deadline_unix_ms)?;
        values.add(&*record.owner_id)?;
        values.add(&*record.participants)?;
        values.add(batch_id)?;
        values.add(named(std::iter::once(&*record.participants)))
    };
    add().map_err(sqlx::Error::Encode)?;
    Ok(values)
}

/// Records as columns; those that are not given here are empty, and all NULL.
fn columns(
    records: &[&NewRecord],
    participants: Vec<&str>,
    owner_ids: Vec<&str>,
    refusals: Vec<Option<String>>,
) -> Result<PgArguments, sqlx::Error> {
    let mut columns = PgArguments::default();
    let add = || -> Result<(), sqlx::error::BoxDynError> {
        columns.add(records.iter().map(|record| record.transaction_id).collect::<Vec<_>>())?;
        columns.add(records.iter().map(|record| record.client_id.as_str()).collect::<Vec<_>>())?;
        columns.add(records.iter().map(|record| record.request_id.as_str()).collect::<Vec<_>>())?;
        columns.add(records.iter().map(|record| record.request_digest.as_slice()).collect::<Vec<_>>())?;
        columns.add(records.iter().map(|record| record.deadline_unix_ms).collect::<Vec<_>>())?;
        columns.add(participants)?;
        columns.add(owner_ids)?;
        columns.add(refusals)
    };
    add().map_err(sqlx::Error::Encode)?;
    Ok(columns)
}

/// Inserts ABORTED records where they meet no other; returns what was inserted.
async fn insert_aborted(
    connection: &mut PgConnection,
    records: &[&NewRecord],
    holds_request: bool,
    refusals: &HashMap<Uuid, &Refusal>,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    if records.is_empty() {
        return Ok(HashSet::new());
    }
    let insert = concat!(
        "INSERT INTO record (transaction_id, client_id, request_id, request_digest, owner_id, deadline_unix_ms, \
             participants, refusal, state, holds_request, first_decision, decide_time, ended) \
         SELECT n.transaction_id, n.client_id, n.request_id, n.request_digest, n.owner_id, n.deadline_unix_ms, \
             n.participants, n.refusal::jsonb, 3, $9, 3, now(), true FROM ",
        new_records!(),
        " ON CONFLICT DO NOTHING RETURNING transaction_id"
    );
    let participants = records.iter().map(|record| &*record.participants).collect();
    let owner_ids = records.iter().map(|record| &*record.owner_id).collect();
    let reason = |record: &&NewRecord| refusals.get(&record.transaction_id).map(|refusal| refusal.to_json());
    let mut columns = columns(records, participants, owner_ids, records.iter().map(reason).collect())?;
    columns.add(holds_request).map_err(sqlx::Error::Encode)?;
    let inserted: Vec<Uuid> = sqlx::query_scalar_with(insert, columns).fetch_all(connection).await?;
    Ok(inserted.into_iter().collect())
}

/// Inserts ABORTED records, each taking its request if that is known and free; returns which did.
pub(super) async fn insert_tombstones(
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

/// Which of these records' requests are held, by whomever.
pub async fn held_requests(
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
