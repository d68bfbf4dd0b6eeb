//! A participant's rules: one log row per transaction, and what each message does to it.
//!
//! Each function takes the row that stands and whether the transaction's deadline is at or below the participant's
//! watermark, both read in the local transaction that carries out the answer. A standing row is always answered, even
//! below the watermark; below it nothing is ever inserted.
use crate::Vote;

/// State of a log row. No row is `None` where it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BranchState {
    /// Voted yes; what it needs is held. In doubt until the decision arrives.
    Prepared,
    /// Final: the hold took effect.
    Committed,
    /// Final: refused, fenced or aborted; nothing is held.
    Aborted,
}

/// What to do with a PREPARE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Prepare {
    /// Answer this; write nothing.
    Answer(Vote),
    /// Try to take the hold. Held: write PREPARED, then vote yes. Refused: write ABORTED, then vote no. Both forced, and
    /// the hold in the same local transaction as the row.
    TryHold,
}

/// What a PREPARE does.
pub fn prepare(row: Option<BranchState>, below_watermark: bool) -> Prepare {
    match row {
        // A committed branch had voted yes, and the repeat of a vote must be the vote.
        Some(BranchState::Prepared | BranchState::Committed) => Prepare::Answer(Vote::Yes),
        Some(BranchState::Aborted) => Prepare::Answer(Vote::No),
        None if below_watermark => Prepare::Answer(Vote::Forgotten),
        None => Prepare::TryHold,
    }
}

/// What a FENCE does: the vote that stands afterwards, and whether an ABORTED row is inserted (forced) for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fence {
    /// What to answer, once the insert (if any) is durable.
    pub vote: Vote,
    /// Insert a row in state ABORTED first.
    pub insert_aborted: bool,
}

/// What a FENCE does. Afterwards no late PREPARE can be voted yes.
pub fn fence(row: Option<BranchState>, below_watermark: bool) -> Fence {
    let (vote, insert_aborted) = match row {
        Some(BranchState::Prepared | BranchState::Committed) => (Vote::Yes, false),
        Some(BranchState::Aborted) => (Vote::No, false),
        None if below_watermark => (Vote::Forgotten, false),
        None => (Vote::No, true),
    };
    Fence { vote, insert_aborted }
}

/// What a decision does to the row and to what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settle {
    /// PREPARED becomes COMMITTED and the hold takes effect; may be lazy.
    Apply,
    /// PREPARED becomes ABORTED and the hold is given back.
    Release,
    /// Insert a row in state ABORTED, which a late PREPARE will meet (forced).
    InsertAborted,
    /// Already so: acknowledge.
    Already,
    /// No row and below the watermark: acknowledge as ignored, write nothing.
    Ignore,
    /// The message contradicts what stands: raise an alarm, never acknowledge, change nothing.
    Alarm,
}

/// What a COMMIT does.
pub fn commit(row: Option<BranchState>, below_watermark: bool) -> Settle {
    match row {
        Some(BranchState::Prepared) => Settle::Apply,
        Some(BranchState::Committed) => Settle::Already,
        Some(BranchState::Aborted) => Settle::Alarm,
        None if below_watermark => Settle::Ignore,
        None => Settle::Alarm,
    }
}

/// What an ABORT does.
pub fn abort(row: Option<BranchState>, below_watermark: bool) -> Settle {
    match row {
        Some(BranchState::Prepared) => Settle::Release,
        Some(BranchState::Aborted) => Settle::Already,
        Some(BranchState::Committed) => Settle::Alarm,
        None if below_watermark => Settle::Ignore,
        None => Settle::InsertAborted,
    }
}

/// What the answer FORGOTTEN *from Recover* does: a prepared branch was never committed anywhere, so it aborts;
/// anything else is ignored.
pub fn forgotten(row: Option<BranchState>) -> Settle {
    match row {
        Some(BranchState::Prepared) => Settle::Release,
        Some(BranchState::Committed | BranchState::Aborted) | None => Settle::Ignore,
    }
}

/// What an END does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Delete the row, acknowledge.
    Delete,
    /// No row: acknowledge.
    Already,
    /// Not below the watermark yet: ask again later.
    Later,
    /// The branch is not committed: raise an alarm, never acknowledge.
    Alarm,
}

/// What an END does: the coordinator says that record and all participants are durably COMMITTED.
pub fn end(row: Option<BranchState>, below_watermark: bool) -> End {
    match row {
        None => End::Already,
        Some(BranchState::Committed) if below_watermark => End::Delete,
        Some(BranchState::Committed) => End::Later,
        Some(BranchState::Prepared | BranchState::Aborted) => End::Alarm,
    }
}
