//! What nearly all batches are, in one statement: all of one origin, all held, all new. It takes the holds, inserts the log's
//! rows and closes the batches that were committed meanwhile.
//!
//! In steps, each of these is a round trip to the database, and which branches are held is known before their rows are written
//! only if they are written twice. Here the statement decides by itself whether everything is as expected, and if it is not it
//! fails and leaves nothing: the batch is run again in steps. Where a refusal is met the next batches are not tried this way,
//! because refusals come in swarms (a SKU is sold out).
//!
//! Here, as in all statements that each order needs, arrays are unnested in the select list: in FROM, Postgres first puts the elements
//! of each into a store of their own. A lone branch comes as values, not as arrays of one (see [`crate::columns`]).
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Encode, PgConnection, Postgres, Type};
use uuid::Uuid;

use super::batches::NewBatch;
use super::waiting::Closing;
use crate::columns::{Column, Columns};
use crate::postgres::{Failure, classify, conflict};
use crate::resource::HoldAll;

/// So many batches go in steps after the first that failed; twice as many after each other one.
const FEWEST_IN_STEPS: u32 = 16;
const MOST_IN_STEPS: u32 = 1024;

/// Whether the next batch is likely to be as expected.
#[derive(Debug, Default)]
pub struct Likely {
    /// How many are to go in steps before one is tried again.
    in_steps: AtomicU32,
    /// How many went so after the last failure.
    last: AtomicU32,
}

impl Likely {
    /// Whether it is; each that is not is counted.
    pub fn next(&self) -> bool {
        let left = |batches: u32| batches.checked_sub(1);
        self.in_steps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_err()
    }

    /// Takes the result of a batch that was tried: one that has met something unexpected is to be run again, in steps.
    pub fn learn<T>(&self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        let last = self.last.load(Ordering::Relaxed);
        match result {
            Ok(done) => {
                self.last.store(last / 2, Ordering::Relaxed);
                Ok(done)
            }
            // A duplicate says nothing about refusals; see [`crate::duplicates`].
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Err(sqlx::Error::Database(error)),
            Err(error) if classify(&error) == Failure::Refused => {
                let next = (last * 2).clamp(FEWEST_IN_STEPS, MOST_IN_STEPS);
                self.last.store(next, Ordering::Relaxed);
                self.in_steps.store(next, Ordering::Relaxed);
                Err(conflict())
            }
            Err(error) => Err(error),
        }
    }
}

/// A statement that is put together, and its arguments.
struct Statement {
    sql: String,
    columns: Columns,
}

impl Statement {
    /// Adds an argument; answers its place.
    fn bind<'q, T: Encode<'q, Postgres> + Type<Postgres>>(&mut self, value: T) -> Result<usize, sqlx::Error> {
        self.columns.add_value(value).map_err(sqlx::Error::Encode)
    }

    /// Adds a column of the rows.
    fn column<'q, T>(&mut self, column: Vec<T>, sql_type: &str) -> Result<Column, sqlx::Error>
    where
        T: Encode<'q, Postgres> + Type<Postgres>,
        Vec<T>: Encode<'q, Postgres> + Type<Postgres>,
    {
        self.columns.name(column, sql_type).map_err(sqlx::Error::Encode)
    }

    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.sql.write_fmt(text);
    }
}

/// Holds all branches of a batch, inserts their rows as PREPARED and closes batches of which as much is left as is known here; or
/// fails, if any of that can't be done, and has done nothing.
pub async fn write<B>(
    connection: &mut PgConnection,
    batch: &mut NewBatch<'_>,
    hold_all: HoldAll,
    closing: &[Closing<B>],
    revision: Uuid,
) -> Result<(), sqlx::Error> {
    let max_deadline_unix_ms = batch.max_deadline();
    batch.sort();
    let HoldAll { with, is_held, rows, arguments, on_row } = hold_all;
    let columns = Columns::after(arguments, batch.rows.len());
    let mut statement = Statement { sql: String::with_capacity(3_000), columns };
    let sql = &mut statement;
    let revision = sql.bind(revision)?;
    sql.add(format_args!("WITH {with}"));
    let (mut are_closed, mut after_closing) = (String::new(), "");
    if !closing.is_empty() {
        let batch_ids = sql.bind(closing.iter().map(|batch| batch.batch_id).collect::<Vec<_>>())?;
        let revisions = sql.bind(closing.iter().map(|batch| batch.revision).collect::<Vec<_>>())?;
        let undecided = sql.bind(closing.iter().map(Closing::undecided).collect::<Vec<_>>())?;
        sql.add(format_args!(
            " closed AS (
                 UPDATE branch_batch SET state = 2, undecided = 0, revision = ${revision}, decide_time = now()
                 FROM (SELECT unnest(${batch_ids}::uuid[]) AS batch_id, unnest(${revisions}::uuid[]) AS revision,
                              unnest(${undecided}::integer[]) AS undecided) AS c
                 WHERE branch_batch.batch_id = c.batch_id AND branch_batch.decide_time IS NULL
                   AND branch_batch.revision = c.revision AND branch_batch.undecided = c.undecided
                 RETURNING 1
             ),"
        ));
        are_closed = format!("(SELECT count(*) FROM closed) = cardinality(${batch_ids}::uuid[]) AND");
        // Batches are locked before what their branches hold, as by whoever decides rows one by one.
        after_closing = "WHERE (SELECT count(*) FROM closed) IS NOT NULL";
    }
    let ids = sql.column(batch.rows.iter().map(|(it, _)| it.transaction_id).collect(), "uuid")?;
    let deadlines = sql.column(batch.rows.iter().map(|(it, _)| it.deadline_unix_ms).collect(), "bigint")?;
    let branches = sql.column(batch.rows.iter().map(|(_, branch)| *branch).collect(), "bytea")?;
    let (each_id, ids, each_deadline, each_branch) = (ids.each, ids.all, deadlines.each, branches.each);
    let (count, first_id, last_id) = match sql.columns.is_one() {
        true => ("1".to_owned(), each_id.clone(), each_id.clone()),
        false => (format!("cardinality({ids})"), format!("({ids})[1]"), format!("({ids})[cardinality({ids})]")),
    };
    let batch_id = sql.bind(batch.batch_id)?;
    let participants = sql.bind(&*batch.origin.participants)?;
    let owner_id = sql.bind(&*batch.origin.owner_id)?;
    let max_deadline = sql.bind(max_deadline_unix_ms)?;
    sql.add(format_args!(
        " batch AS (
             INSERT INTO branch_batch (batch_id, state, undecided, rows_left, revision, participants, owner_id, transaction_ids,
                                       max_deadline_unix_ms, first_transaction_id, last_transaction_id)
             VALUES (${batch_id}::uuid, 1, {count}, {count}, ${revision}::uuid, ${participants}::text, ${owner_id}::text, {ids},
                     ${max_deadline}::bigint, {first_id}, {last_id})
         ), logged AS (
             INSERT INTO branch_log (transaction_id, deadline_unix_ms, state, batch_id, branch)
             SELECT n.transaction_id, n.deadline_unix_ms,
                    CASE WHEN {are_closed} {is_held}
                              AND n.deadline_unix_ms > (SELECT deadline_unix_ms FROM log_watermark WHERE sole FOR KEY SHARE)
                         THEN 1::smallint ELSE log_unexpected() END,
                    ${batch_id}::uuid, n.branch
             FROM (SELECT {each_id} AS transaction_id, {each_deadline} AS deadline_unix_ms, {each_branch} AS branch) AS n
         ) {rows} {after_closing}"
    ));
    let Statement { sql, columns } = statement;
    // What is put together has no text from outside: that comes as arguments.
    let rows = sqlx::query_with(AssertSqlSafe(sql), columns.into_arguments()).fetch_all(connection).await?;
    rows.iter().try_for_each(on_row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(likely: &Likely) {
        assert!(likely.next());
        let unexpected = Err::<(), _>(sqlx::Error::RowNotFound);
        assert_eq!(classify(&likely.learn(unexpected).unwrap_err()), Failure::Retry);
    }

    fn in_steps(likely: &Likely) -> u32 {
        let mut count = 0;
        while !likely.next() {
            count += 1;
        }
        count
    }

    #[test]
    #[allow(clippy::unwrap_used)]
    fn batches_go_in_steps_for_the_longer_the_more_often_they_are_refused() {
        let likely = Likely::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            refuse(&likely);
            waits.push(in_steps(&likely));
        }
        assert_eq!(waits, [16, 32, 64, 128, 256, 512, 1024, 1024, 1024]);
        for _ in 0..20 {
            assert!(likely.next());
            likely.learn(Ok(())).unwrap();
        }
        refuse(&likely);
        assert_eq!(in_steps(&likely), 16);
    }
}
