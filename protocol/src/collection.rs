//! What garbage collection may delete, in the coordinator's database and in a participant's.
//!
//! Every database has one persisted watermark over deadlines. It is advanced first, and every insert checks it
//! atomically with the advance, so that nothing can be inserted below it afterwards. A watermark may pass open
//! transactions: their rows stand, and standing rows are always answered.
use crate::branch::BranchState;
use crate::record::RecordState;

/// Whether a record may be deleted.
///
/// `ended`: the record and all participants are durably COMMITTED and the participants were told END, of it or up to a
/// horizon that is not below its deadline.
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

/// Whether a participant's own collector may delete a row.
///
/// `has_ended`: the deadline is at or below the horizon up to which END was said. One that was committed goes by that, or by
/// an END of its own (see [`crate::branch::end`]).
pub fn may_delete_branch(state: BranchState, below_watermark: bool, has_ended: bool) -> bool {
    below_watermark
        && match state {
            BranchState::Prepared => false,
            BranchState::Committed => has_ended,
            BranchState::Aborted => true,
        }
}

/// The highest horizon, no higher than `asked`, at or below which everything is decided in a database, and stays so.
///
/// `watermark`: drained, so that nothing is inserted at or below it any more. `first_open`: the earliest deadline of what is
/// undecided; of the coordinator's records, of those as well that name a participant that it can't ask. It counts once the
/// local transaction that has looked is on disk: a decision that was written lazily may be lost until then.
pub fn horizon(asked: i64, watermark: i64, first_open: Option<i64>) -> i64 {
    let before_open = first_open.map_or(i64::MAX, |deadline| deadline.saturating_sub(1));
    asked.min(watermark).min(before_open)
}

/// The horizon up to which END may be said: that of the coordinator's records, as far as all participants confirm it. None
/// as long as one of them has not.
pub fn common_horizon(own: i64, confirmed: impl IntoIterator<Item = Option<i64>>) -> Option<i64> {
    confirmed.into_iter().try_fold(own, |lowest, confirmed| Some(lowest.min(confirmed?)))
}
