//! The rows of batches: locked before any of their records is decided, counted down with each, and closed at once when the
//! owner finishes all that is left.
//!
//! What a closing says of records that it does not touch is right because it is exact: every decision of a record lowers
//! the count under the row's lock, the records that are not finished here are durably final (see [`super::finishes`]), and
//! the count is that of those that are. So the records that say STAGING are these and no others. A closing that does not
//! meet its count changes nothing, and its records are finished one by one.
use std::collections::HashSet;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Closing, Entry, Finish, Reply, Round, decide};

impl Round<'_> {
    /// Closes batches.
    pub(super) async fn close(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut closings: Vec<&Closing> = Vec::new();
        for (entry, reply) in self.entries.iter().zip(&mut self.replies) {
            if let Entry::Close(closing) = entry {
                closings.push(closing);
                *reply = Some(Reply::Finished);
            }
        }
        if closings.is_empty() {
            return Ok(());
        }
        closings.sort_unstable_by_key(|closing| closing.batch_id);
        let closed = close(connection, &closings).await?;
        let (mut exceptions, mut left): (Vec<&Finish>, Vec<&Finish>) = (Vec::new(), Vec::new());
        for closing in closings {
            match closed.contains(&closing.batch_id) {
                true => exceptions.extend(closing.finishes.iter().filter(|finish| !finish.is_usual())),
                false => left.extend(&closing.finishes),
            }
        }
        decide::write(connection, exceptions).await?;
        let ids: Vec<Uuid> = left.iter().map(|finish| finish.transaction_id).collect();
        self.lock_batches_of(connection, &ids).await?;
        self.finish_each(connection, left).await
    }
}

/// Closes the batches of which as many records are undecided as are finished here; returns which.
///
/// Here, and wherever batches are named, that one is open or closed is asked by its time: they would be looked for among all that
/// are if the state were asked for, which an index begins with.
async fn close(connection: &mut PgConnection, closings: &[&Closing]) -> Result<HashSet<Uuid>, sqlx::Error> {
    let closed: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE record_batch b SET state = 2, undecided = 0, decide_time = now() \
         FROM unnest($1::uuid[], $2::integer[]) AS c (batch_id, undecided) \
         WHERE b.batch_id = c.batch_id AND b.decide_time IS NULL AND b.undecided = c.undecided RETURNING b.batch_id",
    )
    .bind(closings.iter().map(|closing| closing.batch_id).collect::<Vec<_>>())
    .bind(closings.iter().map(|closing| count(closing.finishes.len())).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(closed.into_iter().collect())
}

/// Locks the batches of these records until the end of the local transaction, in the order of their ids; returns them.
pub async fn lock(connection: &mut PgConnection, transaction_ids: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT b.batch_id FROM record_batch b \
         WHERE b.batch_id IN (SELECT r.batch_id FROM record r WHERE r.transaction_id = ANY($1::uuid[])) \
         ORDER BY b.batch_id FOR NO KEY UPDATE OF b",
    )
    .bind(transaction_ids)
    .fetch_all(connection)
    .await
}

/// Counts records that said STAGING until now, given by their batches; closes the batches that have no other.
pub async fn lower(connection: &mut PgConnection, mut batch_ids: Vec<Uuid>) -> Result<(), sqlx::Error> {
    if batch_ids.is_empty() {
        return Ok(());
    }
    batch_ids.sort_unstable();
    let decided: Vec<(Uuid, i32)> = batch_ids
        .chunk_by(|one, other| one == other)
        .filter_map(|batch| batch.first().map(|batch_id| (*batch_id, count(batch.len()))))
        .collect();
    sqlx::query(
        "UPDATE record_batch b SET undecided = b.undecided - d.decided, \
             state = CASE WHEN b.undecided = d.decided THEN 2 ELSE 1 END, \
             decide_time = CASE WHEN b.undecided = d.decided THEN now() END \
         FROM unnest($1::uuid[], $2::integer[]) AS d (batch_id, decided) \
         WHERE b.batch_id = d.batch_id AND b.decide_time IS NULL",
    )
    .bind(decided.iter().map(|(batch_id, _)| *batch_id).collect::<Vec<_>>())
    .bind(decided.iter().map(|(_, decided)| *decided).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// How many records, as the database counts them.
pub fn count(records: usize) -> i32 {
    i32::try_from(records).unwrap_or(i32::MAX)
}
