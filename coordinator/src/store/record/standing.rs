//! What records say by now, read and locked for whoever is to decide them.
use std::collections::HashMap;

use participant::postgres::conflict;
use protocol::record::RecordState;
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::state_of;
use super::{Entry, NewRecord, Round, batch};

/// A record that stands.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// Where it stands, with what its batch says.
    pub state: RecordState,
    /// Whether its outcome is the request's.
    pub holds_request: bool,
    /// Its batch.
    pub batch_id: Option<Uuid>,
}

impl Round<'_> {
    /// Locks the batches of the records that are going to be decided one by one.
    pub(super) async fn lock_batches(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut ids = Vec::new();
        for entry in self.entries {
            match entry {
                Entry::InsertAborted(record, _) | Entry::Abort(record, _) => ids.push(record.transaction_id),
                Entry::Commit(transaction_id) => ids.push(*transaction_id),
                Entry::Finish(finish) => ids.push(finish.transaction_id),
                Entry::Stage(_) | Entry::Close(_) => (),
            }
        }
        self.lock_batches_of(connection, &ids).await
    }

    /// Locks the batches of these records.
    pub(super) async fn lock_batches_of(
        &mut self,
        connection: &mut PgConnection,
        transaction_ids: &[Uuid],
    ) -> Result<(), sqlx::Error> {
        if !transaction_ids.is_empty() {
            self.locked.extend(batch::lock(connection, transaction_ids).await?);
        }
        Ok(())
    }

    /// The records that stand, locked until the end of the local transaction, their batches as well.
    pub(super) async fn standing(
        &self,
        connection: &mut PgConnection,
        transaction_ids: &[Uuid],
    ) -> Result<HashMap<Uuid, Standing>, sqlx::Error> {
        let standing = standing_by_id(connection, transaction_ids).await?;
        let is_locked = |record: &Standing| record.batch_id.is_none_or(|batch_id| self.locked.contains(&batch_id));
        match standing.values().all(is_locked) {
            true => Ok(standing),
            // It was inserted after the batches were locked, and may be closed right now; run again and lock its batch.
            false => Err(conflict()),
        }
    }
}

/// The records that stand, locked until the end of the local transaction. Their batches are not: one that says STAGING may
/// be COMMITTED by its batch at any time.
pub async fn standing(
    connection: &mut PgConnection,
    records: &[&NewRecord],
) -> Result<HashMap<Uuid, Standing>, sqlx::Error> {
    let ids: Vec<Uuid> = records.iter().map(|record| record.transaction_id).collect();
    standing_by_id(connection, &ids).await
}

async fn standing_by_id(connection: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<Uuid, Standing>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, i16, bool, Option<Uuid>)> = sqlx::query_as(
        "SELECT r.transaction_id, CASE WHEN r.state = 1 AND b.state = 2 THEN 2::smallint ELSE r.state END, \
             r.holds_request, r.batch_id \
         FROM record r LEFT JOIN record_batch b ON b.batch_id = r.batch_id \
         WHERE r.transaction_id = ANY($1::uuid[]) ORDER BY r.transaction_id FOR NO KEY UPDATE OF r",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    let standing =
        |(id, state, holds_request, batch_id)| Ok((id, Standing { state: state_of(state)?, holds_request, batch_id }));
    rows.into_iter().map(standing).collect()
}

/// State and holds_request, of a record that stands or not.
pub fn split(standing: Option<&Standing>) -> (Option<RecordState>, bool) {
    standing.map_or((None, false), |record| (Some(record.state), record.holds_request))
}
