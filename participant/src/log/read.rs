//! Reads of the log.
use protocol::branch::BranchState;
use sqlx::postgres::PgRow;
use sqlx::{Connection, FromRow, PgConnection, Row as _};
use uuid::Uuid;

use super::{Log, Row, state_code, state_of};
use crate::audit::{Check, Violation};
use crate::metrics::InDoubt;
use crate::{PreparedBranch, Refusal, Resource, TransactionRef, names};

/// The columns of a row, read from one of the log's views; they are read by name.
macro_rules! select_row {
    ($rest:literal) => {
        concat!(
            "SELECT transaction_id, deadline_unix_ms, state, participants, owner_id, refusal::text AS refusal, ",
            "create_time, decide_time FROM ",
            $rest
        )
    };
}

impl FromRow<'_, PgRow> for Row {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let participants: String = row.try_get("participants")?;
        let refusal: Option<String> = row.try_get("refusal")?;
        Ok(Row {
            transaction: TransactionRef {
                transaction_id: row.try_get("transaction_id")?,
                deadline_unix_ms: row.try_get("deadline_unix_ms")?,
            },
            state: state_of(row.try_get("state")?)?,
            participants: names::split(&participants),
            owner_id: row.try_get("owner_id")?,
            refusal: refusal.as_deref().map(Refusal::from_json),
            create_time: row.try_get("create_time")?,
            decide_time: row.try_get("decide_time")?,
        })
    }
}

impl Log {
    /// One row.
    pub async fn get(&self, transaction_id: Uuid) -> Result<Option<Row>, sqlx::Error> {
        sqlx::query_as(select_row!("branch_with_state WHERE transaction_id = $1"))
            .bind(transaction_id)
            .fetch_optional(&self.pool)
            .await
    }

    /// Rows after `after`, in the order of their ids; of one state, or all.
    pub async fn list(&self, state: Option<BranchState>, after: Uuid, limit: i64) -> Result<Vec<Row>, sqlx::Error> {
        let query = match state {
            Some(BranchState::Prepared) => sqlx::query_as(select_row!(
                "branch_in_doubt WHERE transaction_id > $1 ORDER BY transaction_id LIMIT $2"
            )),
            _ => sqlx::query_as(select_row!(
                "branch_with_state WHERE ($3::smallint IS NULL OR state = $3) AND transaction_id > $1
                 ORDER BY transaction_id LIMIT $2"
            )),
        };
        let query = query.bind(after).bind(limit);
        match state {
            Some(BranchState::Prepared) => query.fetch_all(&self.pool).await,
            state => query.bind(state.map(state_code)).fetch_all(&self.pool).await,
        }
    }

    /// Rows in doubt whose deadline passed before `now_unix_ms`, after `after`, in the order of their ids.
    pub async fn overdue(&self, now_unix_ms: i64, after: Uuid, limit: i64) -> Result<Vec<Row>, sqlx::Error> {
        sqlx::query_as(select_row!(
            "branch_in_doubt WHERE transaction_id > $1 AND deadline_unix_ms < $2 ORDER BY transaction_id LIMIT $3"
        ))
        .bind(after)
        .bind(now_unix_ms)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
    }

    /// How much is in doubt.
    pub async fn in_doubt(&self) -> Result<InDoubt, sqlx::Error> {
        let (count, oldest_seconds) = sqlx::query_as(
            "SELECT coalesce(sum(undecided), 0), coalesce(extract(epoch FROM now() - min(create_time)), 0)::float8
             FROM branch_batch WHERE state = 1",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(InDoubt { count, oldest_seconds })
    }

    /// Has the service check its invariants, in one snapshot with the rows in doubt.
    pub async fn audit<R: Resource>(&self, resource: &R) -> Result<Vec<Check>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let mut snapshot =
            PgConnection::begin_with(&mut connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // Before the snapshot is taken: a partition that goes in between would be gone from the one, with its batches still in
        // the other.
        sqlx::query("LOCK TABLE branch_log IN ACCESS SHARE MODE").execute(&mut *snapshot).await?;
        let rows: Vec<(Uuid, Vec<u8>)> =
            sqlx::query_as("SELECT transaction_id, branch FROM branch_in_doubt ORDER BY transaction_id")
                .fetch_all(&mut *snapshot)
                .await?;
        let prepared = decode_all(resource, rows)?;
        let mut checks = resource.audit(&mut snapshot, &prepared).await?;
        checks.push(check_log(&mut snapshot).await?);
        snapshot.rollback().await?;
        Ok(checks)
    }
}

/// A log that counts its own rows wrongly, or has rows that contradict themselves, agrees with nobody: what is decided by its batches
/// is then not what its rows say.
async fn check_log(snapshot: &mut PgConnection) -> Result<Check, sqlx::Error> {
    let checked_count = sqlx::query_scalar("SELECT count(*) FROM branch_batch").fetch_one(&mut *snapshot).await?;
    let miscounted: Vec<(Uuid, Option<Uuid>, String)> = sqlx::query_as(
        "SELECT coalesce(b.batch_id, l.batch_id), l.prepared_id,
                CASE WHEN b.batch_id IS NULL THEN format('%s rows of a batch that is not there', l.count)
                     ELSE format('a batch %s with %s rows, %s of them undecided, has %s, and %s say PREPARED',
                                 CASE b.state WHEN 1 THEN 'open' ELSE 'closed' END, b.rows_left, b.undecided,
                                 coalesce(l.count, 0), coalesce(l.prepared, 0)) END
         FROM branch_batch b FULL JOIN (
             SELECT batch_id, count(*) AS count, count(*) FILTER (WHERE state = 1) AS prepared,
                    (min(transaction_id::text) FILTER (WHERE state = 1))::uuid AS prepared_id
             FROM branch_log WHERE batch_id IS NOT NULL GROUP BY batch_id
         ) l USING (batch_id)
         WHERE b.batch_id IS NULL OR b.rows_left <> coalesce(l.count, 0)
            OR (b.state = 1 AND b.undecided <> coalesce(l.prepared, 0))
         UNION ALL
         SELECT batch_id, transaction_ids[1],
                format('a batch in state %s, with %s of %s rows undecided and decided at %s', state, undecided, rows_left,
                       coalesce(decide_time::text, 'no time'))
         FROM branch_batch
         WHERE state NOT IN (1, 2) OR (state = 1) <> (undecided > 0) OR (state = 1) <> (decide_time IS NULL)
            OR undecided < 0 OR undecided > rows_left
         UNION ALL
         SELECT batch_id, transaction_ids[1],
                format('a batch whose rows are said to be between %s and %s, and that has others', first_transaction_id,
                       last_transaction_id)
         FROM branch_batch
         WHERE first_transaction_id <> transaction_ids[1]
            OR last_transaction_id <> transaction_ids[cardinality(transaction_ids)]",
    )
    .fetch_all(&mut *snapshot)
    .await?;
    let contradicting: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT transaction_id,
                format('a row in state %s, %s a batch and %s a branch, decided at %s', state,
                       CASE WHEN batch_id IS NULL THEN 'without' ELSE 'with' END,
                       CASE WHEN branch IS NULL THEN 'without' ELSE 'with' END, coalesce(decide_time::text, 'no time'))
         FROM branch_log
         WHERE state NOT BETWEEN 1 AND 3 OR (state = 1) <> (decide_time IS NULL)
            OR state = 1 AND (branch IS NULL OR batch_id IS NULL)",
    )
    .fetch_all(snapshot)
    .await?;
    let of_batch = |(batch_id, transaction_id, detail): (Uuid, Option<Uuid>, String)| Violation {
        transaction_id: transaction_id.map(|id| id.to_string()).unwrap_or_default(),
        subject: format!("batch {batch_id}"),
        detail,
    };
    let of_row = |(transaction_id, detail): (Uuid, String)| Violation {
        transaction_id: transaction_id.to_string(),
        subject: String::new(),
        detail,
    };
    let violations = miscounted.into_iter().map(of_batch).chain(contradicting.into_iter().map(of_row)).collect();
    Ok(Check { invariant: "agreement", checked_count, violations })
}

/// Branches as they stand in the log. They were decoded before they were written, so one that can't be read now means
/// that someone has tampered with the table, or that the service no longer reads what it once wrote.
pub(super) fn decode_all<R: Resource>(
    resource: &R,
    rows: Vec<(Uuid, Vec<u8>)>,
) -> Result<Vec<PreparedBranch<R::Branch>>, sqlx::Error> {
    let decode = |(transaction_id, bytes): (Uuid, Vec<u8>)| match resource.decode(&bytes) {
        Ok(branch) => Ok(PreparedBranch { transaction_id, branch: branch.into() }),
        Err(error) => {
            tracing::error!(%transaction_id, %error, "a branch in the log can't be read");
            Err(sqlx::Error::Decode(error.into()))
        }
    };
    rows.into_iter().map(decode).collect()
}
