//! A transaction that the kit makes up, with the row that must stand for it at the participant.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::assent::transaction::v1 as wire;
use protocol::branch::BranchState;
use uuid::Uuid;

use super::oracle::Standing;

/// Who drives the kit's transactions.
pub const OWNER: &str = "conformance-kit";
/// A deadline that is below every watermark: the first second of 1970.
const LONG_AGO_UNIX_MS: i64 = 1_000;
/// Deadlines of the kit's transactions lie so far ahead; none of its checks takes as long.
const AHEAD: Duration = Duration::from_secs(300);

/// A transaction, what is asked of the participant in it, and what must stand there.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Its id.
    pub id: Uuid,
    /// Its deadline.
    pub deadline_unix_ms: i64,
    /// The branch, in the participant's own language.
    pub branch: Vec<u8>,
    /// The participants that it names.
    pub participants: Vec<String>,
    /// The owner that it names.
    pub owner_id: String,
    /// What the rules say of it.
    pub standing: Standing,
}

impl Probe {
    /// A new transaction with a branch that the participant takes.
    pub fn new(participant: &str, branch: Vec<u8>) -> Self {
        Probe {
            id: Uuid::now_v7(),
            deadline_unix_ms: now_unix_ms().saturating_add(millis(AHEAD)),
            branch,
            participants: vec![participant.to_owned(), "another".to_owned()],
            owner_id: OWNER.to_owned(),
            standing: Standing { row: None, below: false, takes: true },
        }
    }

    /// The same, with this deadline, which is above the watermark.
    pub fn due(mut self, deadline_unix_ms: i64) -> Self {
        self.deadline_unix_ms = deadline_unix_ms;
        self
    }

    /// The same, from before the watermark.
    pub fn long_ago(mut self) -> Self {
        self.deadline_unix_ms = LONG_AGO_UNIX_MS;
        self.standing.below = true;
        self
    }

    /// What names it in messages.
    pub fn reference(&self) -> wire::TransactionRef {
        wire::TransactionRef { transaction_id: self.id.to_string(), deadline_unix_ms: self.deadline_unix_ms }
    }

    /// As PREPARE carries it.
    pub fn to_prepare(&self) -> wire::PrepareBranch {
        wire::PrepareBranch {
            transaction: Some(self.reference()),
            participants: self.participants.clone(),
            owner_id: self.owner_id.clone(),
            branch: self.branch.clone(),
        }
    }

    /// As ABORT carries it.
    pub fn to_abort(&self) -> wire::AbortBranch {
        let refusal = wire::Refusal {
            reason: "CONFORMANCE".to_owned(),
            message: "the conformance kit aborts it".to_owned(),
            ..wire::Refusal::default()
        };
        wire::AbortBranch { transaction: Some(self.reference()), refusal: Some(refusal) }
    }
}

/// A row's state in words.
pub fn state_name(row: Option<BranchState>) -> &'static str {
    match row {
        None => "no row",
        Some(BranchState::Prepared) => "PREPARED",
        Some(BranchState::Committed) => "COMMITTED",
        Some(BranchState::Aborted) => "ABORTED",
    }
}

/// The clock.
pub fn now_unix_ms() -> i64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
