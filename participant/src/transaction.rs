//! What names a transaction in every message about it.
use proto::assent::transaction::v1 as wire;
use uuid::Uuid;

/// What names a transaction in every message about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionRef {
    /// The attempt.
    pub transaction_id: Uuid,
    /// Its deadline, in milliseconds since the Unix epoch.
    pub deadline_unix_ms: i64,
}

impl From<TransactionRef> for wire::TransactionRef {
    fn from(reference: TransactionRef) -> Self {
        wire::TransactionRef {
            transaction_id: reference.transaction_id.to_string(),
            deadline_unix_ms: reference.deadline_unix_ms,
        }
    }
}
