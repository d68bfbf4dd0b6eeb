//! Finds what is known of a transaction of which only the id is given.
use futures::future::join_all;
use participant::TransactionRef;
use uuid::Uuid;

use crate::coordinator::Coordinator;
use crate::participants::{BranchRow, CallError};
use crate::store::Record;

/// What is known of a transaction.
pub struct Located {
    /// The record, if one stands.
    pub record: Option<Record>,
    /// Each participant's row, if one stands, or why it could not be asked; in the order of --participants.
    pub rows: Vec<(String, Result<Option<BranchRow>, CallError>)>,
}

/// Reads the record and asks every participant.
pub async fn locate(coordinator: &Coordinator, transaction_id: Uuid) -> Result<Located, sqlx::Error> {
    let asked = coordinator
        .participants
        .iter()
        .map(|participant| async move { (participant.name.clone(), participant.branch(transaction_id).await) });
    let (record, rows) = tokio::join!(coordinator.store.record(transaction_id), join_all(asked));
    Ok(Located { record: record?, rows })
}

impl Located {
    /// The rows that stand.
    pub fn standing(&self) -> impl Iterator<Item = &BranchRow> {
        self.rows.iter().filter_map(|(_, row)| row.as_ref().ok()?.as_ref())
    }

    /// Why participants could not be asked.
    pub fn errors(&self) -> impl Iterator<Item = &CallError> {
        self.rows.iter().filter_map(|(_, row)| row.as_ref().err())
    }

    /// What names the transaction, and its participants as far as they are known; none where nothing stands anywhere.
    pub fn reference(&self, transaction_id: Uuid) -> Option<(TransactionRef, Vec<String>)> {
        if let Some(record) = &self.record {
            let reference = TransactionRef { transaction_id, deadline_unix_ms: record.deadline_unix_ms };
            return Some((reference, record.participants.clone()));
        }
        // A row that a PREPARE wrote knows the participants; others know only the deadline.
        let row = self.standing().max_by_key(|row| row.participants.len())?;
        Some((row.transaction, row.participants.clone()))
    }
}
