//! What the log's writer is asked to do, one message about a transaction each, and what it answers.
use std::sync::Arc;

use protocol::Vote;
use protocol::branch::{End, Settle};
use protocol::step::{Compensate, StepResult};

use super::steps::StepRef;
use crate::{Refusal, TransactionRef};

/// Who takes part in a transaction and who drives it: the same for many, which share it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Names of all participants, joined by commas.
    pub participants: String,
    /// The coordinator incarnation that drives the attempt.
    pub owner_id: String,
}

/// One message about a transaction.
#[derive(Debug)]
pub enum Entry<B> {
    /// PREPARE.
    Prepare {
        /// Which transaction.
        transaction: TransactionRef,
        /// Who takes part and who drives it.
        origin: Arc<Origin>,
        /// The branch as it came.
        bytes: Vec<u8>,
        /// The branch, decoded.
        branch: Arc<B>,
    },
    /// FENCE.
    Fence(TransactionRef),
    /// COMMIT; answered only when durable, if that is asked for.
    Commit {
        /// Which transaction.
        transaction: TransactionRef,
        /// Answer only when durable.
        durable: bool,
    },
    /// ABORT, and why.
    Abort(TransactionRef, Refusal),
    /// Recover answered FORGOTTEN.
    Forgotten(TransactionRef),
    /// END.
    End(TransactionRef),
    /// EXECUTE of a saga's step.
    Execute {
        /// Which step.
        step: StepRef,
        /// What is to be done, as it came.
        bytes: Vec<u8>,
        /// The same, decoded; or why it can't be.
        branch: Result<Arc<B>, Refusal>,
        /// A refusal is not kept.
        must_succeed: bool,
    },
    /// COMPENSATE of a saga's step, and why.
    Compensate(StepRef, Refusal),
    /// END of a saga's step.
    EndStep(StepRef),
}

impl<B> Entry<B> {
    pub(super) fn transaction(&self) -> TransactionRef {
        match self {
            Entry::Prepare { transaction, .. }
            | Entry::Fence(transaction)
            | Entry::Commit { transaction, .. }
            | Entry::Abort(transaction, _)
            | Entry::Forgotten(transaction)
            | Entry::End(transaction) => *transaction,
            Entry::Execute { step, .. } | Entry::Compensate(step, _) | Entry::EndStep(step) => step.transaction,
        }
    }

    /// Whether it is about a step of a saga.
    pub(super) fn is_step(&self) -> bool {
        matches!(self, Entry::Execute { .. } | Entry::Compensate(..) | Entry::EndStep(_))
    }
}

/// A message's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To PREPARE and FENCE; with the reason of a no.
    Voted(Vote, Option<Refusal>),
    /// To COMMIT, ABORT and FORGOTTEN: what was done.
    Settled(Settle),
    /// To END: what was done.
    Ended(End),
    /// To EXECUTE; with the reason of what is not done.
    Stepped(StepResult, Option<Refusal>),
    /// To COMPENSATE: what was done.
    Compensated(Compensate),
    /// It may or may not have happened.
    Unknown(String),
}
