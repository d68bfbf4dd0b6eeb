//! What names a transaction in every message about it.
use std::fmt::Display;

use proto::assent::transaction::v1 as wire;
use tonic::Status;
use uuid::Uuid;

use crate::clock::now_unix_ms;
use crate::status;

/// How far ahead a deadline may lie: what is prepared is held until then whatever happens, so a mistaken unit or clock must
/// not hold it for years.
const MAX_AHEAD_MS: i64 = 24 * 3_600_000;

/// What names a transaction in every message about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionRef {
    /// The attempt.
    pub transaction_id: Uuid,
    /// Its deadline, in milliseconds since the Unix epoch.
    pub deadline_unix_ms: i64,
}

impl TransactionRef {
    /// Reads and checks what names a transaction at `field` of a request.
    pub fn read(field: impl Display, reference: Option<wire::TransactionRef>) -> Result<Self, Status> {
        let reference = reference.ok_or_else(|| status::invalid(field.to_string(), "is missing"))?;
        let transaction_id = read_id(format_args!("{field}.transaction_id"), &reference.transaction_id)?;
        let deadline_unix_ms = reference.deadline_unix_ms;
        if deadline_unix_ms <= 0 || deadline_unix_ms > now_unix_ms().saturating_add(MAX_AHEAD_MS) {
            return Err(status::invalid(
                format!("{field}.deadline_unix_ms"),
                format!("must be in milliseconds since the Unix epoch and at most a day ahead, not {deadline_unix_ms}"),
            ));
        }
        Ok(TransactionRef { transaction_id, deadline_unix_ms })
    }
}

/// Reads a transaction's id at `field` of a request.
pub fn read_id(field: impl Display, text: &str) -> Result<Uuid, Status> {
    Uuid::try_parse(text).map_err(|_| status::invalid(field.to_string(), format!("must be a UUID, not {text:?}")))
}

impl From<TransactionRef> for wire::TransactionRef {
    fn from(reference: TransactionRef) -> Self {
        wire::TransactionRef {
            transaction_id: reference.transaction_id.to_string(),
            deadline_unix_ms: reference.deadline_unix_ms,
        }
    }
}
