//! The statements about batches: what was prepared in one local transaction, of one origin, and is nearly always committed
//! together.
//!
//! A row that says PREPARED, of a closed batch, is COMMITTED. So a commit of all that is left of a batch is one change of
//! its row; whatever else is decided is written on the rows, and lowers the batch's count of undecided ones in the same
//! local transaction. Nobody decides a row without the lock of its batch, which is taken before any row is looked at: so
//! what is read under it stays as it is, and each row is decided once.
//!
//! Rows are looked for by a join with their ids: `= ANY($1)` would look into every partition of the log for each.
use std::collections::HashSet;

use protocol::branch::BranchState;
use sqlx::PgConnection;
use uuid::Uuid;

use super::entry::Origin;
use super::waiting::Closing;
use super::{ids, state_code};
use crate::{Refusal, TransactionRef, duplicates};

/// A batch to be inserted.
#[derive(Debug)]
pub struct NewBatch<'a> {
    /// Its name.
    pub batch_id: Uuid,
    /// The origin of all of its rows.
    pub origin: &'a Origin,
    /// Its rows, with the branches as they were asked for.
    pub rows: Vec<(TransactionRef, &'a [u8])>,
}

/// How far the deadlines of a batch are apart, at most: it is collected with the latest of them, and one that is hours away
/// (that of a saga's transaction may be) is not to keep all the others.
const SPAN_MS: i64 = 100_000;

impl NewBatch<'_> {
    /// What is the same for all of its rows.
    pub fn kind(&self) -> (&Origin, i64) {
        (self.origin, self.rows.first().map_or(0, |(transaction, _)| span(transaction)))
    }

    /// The latest deadline of its rows.
    pub fn max_deadline(&self) -> i64 {
        self.rows.iter().map(|(transaction, _)| transaction.deadline_unix_ms).max().unwrap_or_default()
    }

    /// Puts its rows in the order of their ids, in which they are inserted.
    pub fn sort(&mut self) {
        self.rows.sort_unstable_by_key(|(transaction, _)| transaction.transaction_id);
    }
}

/// Which deadlines are near enough to be of one batch.
pub fn span(transaction: &TransactionRef) -> i64 {
    transaction.deadline_unix_ms.div_euclid(SPAN_MS)
}

/// The statement reads the watermark FOR KEY SHARE, which keeps the collector's drain waiting until this local transaction
/// has ended.
macro_rules! insert {
    ($before:literal, $after:literal) => {
        concat!(
            "WITH watermark AS MATERIALIZED (
                SELECT deadline_unix_ms FROM log_watermark WHERE sole FOR KEY SHARE
             ), ",
            $before,
            "INSERT INTO branch_log (transaction_id, deadline_unix_ms, state, batch_id, branch)
             SELECT n.transaction_id, n.deadline_unix_ms, 1, $4::uuid, n.branch
             FROM unnest($1::uuid[], $2::bigint[], $3::bytea[]) AS n (transaction_id, deadline_unix_ms, branch), watermark
             WHERE n.deadline_unix_ms > watermark.deadline_unix_ms",
            $after
        )
    };
}

const INSERT: &str = insert!(
    "batch AS (
         INSERT INTO branch_batch (batch_id, state, undecided, rows_left, revision, participants, owner_id, transaction_ids,
                                   max_deadline_unix_ms, first_transaction_id, last_transaction_id)
         VALUES ($4::uuid, 1, cardinality($1::uuid[]), cardinality($1::uuid[]), $5::uuid, $6::text, $7::text, $1::uuid[],
                 $8::bigint, ($1::uuid[])[1], ($1::uuid[])[cardinality($1::uuid[])])
     ) ",
    ""
);

const INSERT_WITH_CARE: &str = insert!(
    "inserted AS ( ",
    " ON CONFLICT DO NOTHING RETURNING transaction_id
     ), batch AS (
         INSERT INTO branch_batch (batch_id, state, undecided, rows_left, revision, participants, owner_id, transaction_ids,
                                   max_deadline_unix_ms, first_transaction_id, last_transaction_id)
         SELECT $4::uuid, 1, cardinality(ids), cardinality(ids), $5::uuid, $6::text, $7::text, ids, $8::bigint,
                ids[1], ids[cardinality(ids)]
         FROM (SELECT array_agg(transaction_id ORDER BY transaction_id) AS ids FROM inserted) AS of_batch
         WHERE ids IS NOT NULL
     ) SELECT transaction_id FROM inserted"
);

macro_rules! bind {
    ($sql:expr, $batch:expr, $revision:expr, $query:path) => {{
        let max_deadline = $batch.max_deadline();
        $batch.sort();
        let NewBatch { batch_id, origin, rows } = $batch;
        $query($sql)
            .bind(rows.iter().map(|(transaction, _)| transaction.transaction_id).collect::<Vec<_>>())
            .bind(rows.iter().map(|(transaction, _)| transaction.deadline_unix_ms).collect::<Vec<_>>())
            .bind(rows.iter().map(|(_, branch)| *branch).collect::<Vec<_>>())
            .bind(*batch_id)
            .bind($revision)
            .bind(&*origin.participants)
            .bind(&*origin.owner_id)
            .bind(max_deadline)
    }};
}

/// Inserts PREPARED rows, all of which are expected to be new and above the watermark: if one is not, the local transaction
/// is to be run again with care.
pub async fn insert(
    connection: &mut PgConnection,
    batch: &mut NewBatch<'_>,
    revision: Uuid,
) -> Result<(), sqlx::Error> {
    let inserted = bind!(INSERT, batch, revision, sqlx::query).execute(connection).await?;
    duplicates::all(inserted.rows_affected(), batch.rows.len())
}

/// Inserts PREPARED rows where the deadline is above the watermark and none stands; returns which were inserted.
pub async fn insert_with_care(
    connection: &mut PgConnection,
    batch: &mut NewBatch<'_>,
    revision: Uuid,
) -> Result<Vec<Uuid>, sqlx::Error> {
    bind!(INSERT_WITH_CARE, batch, revision, sqlx::query_scalar).fetch_all(connection).await
}

/// Closes batches of which as much is left as is known here, and the same; returns which. The others are left as they are.
///
/// Here, and wherever batches are named, that one is open is asked by its time: they would be looked for among all that are open if the
/// state were asked for, which an index begins with.
pub async fn close<B>(
    connection: &mut PgConnection,
    batches: &[Closing<B>],
    revision: Uuid,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let closed: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE branch_batch SET state = 2, undecided = 0, revision = $4, decide_time = now()
         FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS c (batch_id, revision, undecided)
         WHERE branch_batch.batch_id = c.batch_id AND branch_batch.decide_time IS NULL
           AND branch_batch.revision = c.revision AND branch_batch.undecided = c.undecided
         RETURNING branch_batch.batch_id",
    )
    .bind(batches.iter().map(|batch| batch.batch_id).collect::<Vec<_>>())
    .bind(batches.iter().map(|batch| batch.revision).collect::<Vec<_>>())
    .bind(batches.iter().map(Closing::undecided).collect::<Vec<_>>())
    .bind(revision)
    .fetch_all(connection)
    .await?;
    Ok(closed.into_iter().collect())
}

/// Locks the open batches of those of these transactions whose rows say PREPARED, in the order of their ids; returns them
/// with their revisions.
pub async fn lock(
    connection: &mut PgConnection,
    references: &[TransactionRef],
) -> Result<Vec<(Uuid, Uuid)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT batch_id, revision FROM branch_batch
         WHERE decide_time IS NULL AND batch_id = ANY(ARRAY(
             SELECT batch_id FROM unnest($1::uuid[]) AS asked (id) JOIN branch_log ON transaction_id = asked.id AND state = 1
         ))
         ORDER BY batch_id FOR NO KEY UPDATE",
    )
    .bind(ids(references))
    .fetch_all(connection)
    .await
}

/// What is decided of rows one by one.
#[derive(Debug)]
pub struct Decision<'a> {
    /// The decision.
    pub state: BranchState,
    /// Which transactions, and why it is an abort.
    pub rows: &'a [(TransactionRef, Option<&'a Refusal>)],
    /// The batches whose rows are decided; open and locked. Whatever is of another one is left as it is.
    pub batch_ids: Vec<Uuid>,
    /// Whether the branches are wanted.
    pub with_branches: bool,
}

/// A row that was decided.
#[derive(Debug, sqlx::FromRow)]
pub struct Decided {
    /// Which transaction.
    pub transaction_id: Uuid,
    /// Its batch.
    pub batch_id: Uuid,
    /// The branch, if it was wanted.
    pub branch: Option<Vec<u8>>,
}

/// Decides those rows that say PREPARED, and counts them off their batches; returns which did.
pub async fn decide(
    connection: &mut PgConnection,
    decision: &Decision<'_>,
    revision: Uuid,
) -> Result<Vec<Decided>, sqlx::Error> {
    let Decision { state, rows, batch_ids, with_branches } = decision;
    sqlx::query_as(
        "WITH decided AS (
             UPDATE branch_log SET state = $3, decide_time = now(), refusal = d.refusal::jsonb
             FROM unnest($1::uuid[], $2::text[]) AS d (transaction_id, refusal)
             WHERE branch_log.transaction_id = d.transaction_id AND branch_log.state = 1
               AND branch_log.batch_id = ANY($4::uuid[])
             RETURNING branch_log.transaction_id, branch_log.batch_id, CASE WHEN $6 THEN branch_log.branch END AS branch
         ), lowered AS (
             UPDATE branch_batch b
             SET undecided = b.undecided - d.count, revision = $5,
                 state = CASE WHEN b.undecided = d.count THEN 2 ELSE 1 END,
                 decide_time = CASE WHEN b.undecided = d.count THEN now() END
             FROM (SELECT batch_id, count(*)::integer AS count FROM decided GROUP BY batch_id) d
             WHERE b.batch_id = d.batch_id
         )
         SELECT transaction_id, batch_id, branch FROM decided",
    )
    .bind(rows.iter().map(|(reference, _)| reference.transaction_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, refusal)| refusal.map(Refusal::to_json)).collect::<Vec<_>>())
    .bind(state_code(*state))
    .bind(batch_ids)
    .bind(revision)
    .bind(with_branches)
    .fetch_all(connection)
    .await
}

/// Deletes rows of the transactions in `$1` and counts them off their batches; answers `(transaction, batch)`.
/// [`delete_empty`] comes after it.
macro_rules! delete_rows {
    ($which:literal) => {
        concat!(
            "WITH deleted AS (
                 DELETE FROM branch_log USING unnest($1::uuid[]) AS of (id) WHERE transaction_id = of.id AND ",
            $which,
            " RETURNING transaction_id, batch_id
             ), counted AS (
                 UPDATE branch_batch b SET rows_left = b.rows_left - d.count
                 FROM (SELECT batch_id, count(*)::integer AS count FROM deleted GROUP BY batch_id) d
                 WHERE b.batch_id = d.batch_id
             )
             SELECT transaction_id, batch_id FROM deleted"
        )
    };
}
pub(super) use delete_rows;

/// Deletes those of these batches of which no row is left.
pub async fn delete_empty(
    connection: &mut PgConnection,
    batch_ids: impl Iterator<Item = Uuid>,
) -> Result<(), sqlx::Error> {
    let batch_ids: HashSet<Uuid> = batch_ids.collect();
    if batch_ids.is_empty() {
        return Ok(());
    }
    sqlx::query("DELETE FROM branch_batch WHERE batch_id = ANY($1::uuid[]) AND rows_left = 0")
        .bind(batch_ids.into_iter().collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}
