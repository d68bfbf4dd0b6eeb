//! The coordinator's database: one record per attempt, at most one of them holding a request.
//!
//! Each function takes the record that stands, read in the local transaction that carries out the answer; the
//! database's unique indexes make "none stands" and "the request is free" atomic with the insert.

/// State of a record. No record is `None` where it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordState {
    /// Votes are being collected, or the commit is only implied by them.
    Staging,
    /// Final.
    Committed,
    /// Final.
    Aborted,
}

impl RecordState {
    /// Whether the state never changes again.
    pub fn is_terminal(self) -> bool {
        self != RecordState::Staging
    }
}

/// What a STAGING insert finds and does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The record stands as STAGING and holds its request: inserted now (forced), or by an earlier try of this insert.
    Staged,
    /// Another attempt holds the request; nothing was written.
    HeldByOther,
    /// A recovery was faster: the attempt's own record is already final.
    Terminal {
        /// Its state.
        state: RecordState,
        /// Whether it holds its request, so that its outcome is the request's.
        holds_request: bool,
    },
    /// The deadline is at or below the watermark; nothing was written.
    BelowWatermark,
}

/// What the owner's STAGING insert does. `holds_request`: whether a standing record holds its request;
/// `request_free`: no other attempt holds the request.
pub fn stage(own: Option<RecordState>, holds_request: bool, request_free: bool, below_watermark: bool) -> Stage {
    match own {
        Some(RecordState::Staging) => Stage::Staged,
        Some(state) => Stage::Terminal { state, holds_request },
        None if below_watermark => Stage::BelowWatermark,
        None if !request_free => Stage::HeldByOther,
        None => Stage::Staged,
    }
}

/// What an abort of a record finds and does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Abort {
    /// The record stands as ABORTED, durably.
    Aborted {
        /// Whether the aborted attempt holds its request, so that its outcome is the request's.
        holds_request: bool,
    },
    /// The record was already COMMITTED; nothing changed.
    Committed,
    /// The record stands as STAGING; nothing changed. Only [`insert_aborted`] says so.
    Staging,
    /// No record, and the deadline is at or below the watermark; nothing was written.
    BelowWatermark,
}

/// A forced compare-and-set of (none or STAGING) to ABORTED. An inserted tombstone takes the request if it is free.
///
/// Only the owner before it has answered, and a recovery that has fenced and met a no, may call it.
/// `holds_request`: whether a standing record holds its request.
pub fn abort(own: Option<RecordState>, holds_request: bool, request_free: bool, below_watermark: bool) -> Abort {
    match own {
        Some(RecordState::Staging | RecordState::Aborted) => Abort::Aborted { holds_request },
        Some(RecordState::Committed) => Abort::Committed,
        None if below_watermark => Abort::BelowWatermark,
        None => Abort::Aborted { holds_request: request_free },
    }
}

/// A forced insert of ABORTED where no record stands, and nothing else: how a recovery keeps a late STAGING out.
///
/// Unlike [`abort`] it never touches a STAGING record, whose owner may already have accepted.
pub fn insert_aborted(
    own: Option<RecordState>,
    holds_request: bool,
    request_free: bool,
    below_watermark: bool,
) -> Abort {
    match own {
        Some(RecordState::Staging) => Abort::Staging,
        other => abort(other, holds_request, request_free, below_watermark),
    }
}

/// What a commit of a record finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Commit {
    /// The record stands as COMMITTED.
    Committed,
    /// The record was already ABORTED; nothing changed.
    Aborted,
    /// No record stands: it was final and has been collected.
    Collected,
}

/// A compare-and-set of STAGING to COMMITTED: forced for a recovery that met only yes, lazy for an owner that has
/// accepted.
pub fn commit(own: Option<RecordState>) -> Commit {
    match own {
        Some(RecordState::Staging | RecordState::Committed) => Commit::Committed,
        Some(RecordState::Aborted) => Commit::Aborted,
        None => Commit::Collected,
    }
}
