//! What garbage collection may delete, in the coordinator's database and in a participant's.
//!
//! Every database has one persisted watermark over deadlines. It is advanced first, and every insert checks it
//! atomically with the advance, so that nothing can be inserted below it afterwards. A watermark may pass open
//! transactions: their rows stand, and standing rows are always answered.
use crate::branch::BranchState;
use crate::record::RecordState;

/// Whether a record may be deleted.
///
/// `ended`: the record and all participants are durably COMMITTED and the participants were told END.
/// `retention_over`: the deadline plus the retention of requests lies in the past; asked only of a record that
/// `holds_request`, because its loss would let a repeated request place a second order.
pub fn may_delete_record(
    state: RecordState,
    ended: bool,
    below_watermark: bool,
    holds_request: bool,
    retention_over: bool,
) -> bool {
    let settled = match state {
        RecordState::Staging => false,
        RecordState::Committed => ended,
        RecordState::Aborted => true,
    };
    settled && below_watermark && (retention_over || !holds_request)
}

/// Whether a participant's own collector may delete a row. A committed one goes only by END (see [`crate::branch::end`]).
pub fn may_delete_branch(state: BranchState, below_watermark: bool) -> bool {
    state == BranchState::Aborted && below_watermark
}
