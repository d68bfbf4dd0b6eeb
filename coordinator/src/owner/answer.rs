//! What a client is told, before it is put on the wire.
use chrono::{DateTime, Utc};
use participant::{DUPLICATE_REQUEST, Refusal};
use uuid::Uuid;

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The order is placed, under this id.
    Accepted {
        /// The attempt that placed it.
        order_id: Uuid,
        /// When.
        create_time: DateTime<Utc>,
    },
    /// A participant refused, and nothing stays.
    Rejected {
        /// The attempt.
        order_id: Uuid,
        /// Why, with the participant's name among the details.
        refusal: Refusal,
    },
    /// Given up; nothing stays.
    Aborted {
        /// The attempt.
        order_id: Uuid,
        /// Why.
        cause: Refusal,
    },
    /// The request id stands for another order.
    RequestReused {
        /// The order that it stands for.
        order_id: Option<Uuid>,
    },
    /// The outcome is in doubt.
    Unknown {
        /// The attempt.
        order_id: Uuid,
        /// What is in the way.
        cause: Refusal,
    },
}

/// Reasons that are the protocol's own: the transaction was given up, nobody refused it.
const OF_THE_PROTOCOL: &[&str] = &[
    "ABORTED",
    "CANCELLED",
    "DATABASE_UNAVAILABLE",
    DUPLICATE_REQUEST,
    "FENCED",
    "FORGOTTEN",
    "INVALID_ARGUMENT",
    "OWNER_LOST",
    "PARTICIPANT_UNAVAILABLE",
    "RECOVERED",
    "SHUTTING_DOWN",
    "TIMEOUT",
    "TRANSACTION_ABORTED",
    "UNDER_WAY",
    "UNREADABLE",
];

/// Whether a participant refused for a reason of its own, as opposed to a transaction that was given up.
pub fn is_refused(refusal: &Refusal) -> bool {
    !OF_THE_PROTOCOL.contains(&refusal.reason.as_str())
}
