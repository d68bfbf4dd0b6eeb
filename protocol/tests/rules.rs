//! The rules of branches and records, checked over every case there is: there are few enough.
use protocol::Vote;
use protocol::branch::{self, BranchState, End, Prepare, Settle};
use protocol::collection;
use protocol::record::{self, Abort, Commit, RecordState, Stage};

const BOTH: [bool; 2] = [false, true];
const ROWS: [Option<BranchState>; 4] =
    [None, Some(BranchState::Prepared), Some(BranchState::Committed), Some(BranchState::Aborted)];
const RECORDS: [Option<RecordState>; 4] =
    [None, Some(RecordState::Staging), Some(RecordState::Committed), Some(RecordState::Aborted)];

#[test]
fn a_standing_row_is_answered_alike_on_both_sides_of_the_watermark() {
    for row in ROWS.into_iter().filter(Option::is_some) {
        assert_eq!(branch::prepare(row, false), branch::prepare(row, true));
        assert_eq!(branch::fence(row, false), branch::fence(row, true));
        assert_eq!(branch::commit(row, false), branch::commit(row, true));
        assert_eq!(branch::abort(row, false), branch::abort(row, true));
    }
}

#[test]
fn nothing_is_inserted_below_the_watermark() {
    assert_eq!(branch::prepare(None, true), Prepare::Answer(Vote::Forgotten));
    assert!(!branch::fence(None, true).insert_aborted);
    assert_eq!(branch::abort(None, true), Settle::Ignore);
    assert_eq!(branch::commit(None, true), Settle::Ignore);
    for (holds, free) in BOTH.into_iter().flat_map(|holds| BOTH.map(|free| (holds, free))) {
        assert_eq!(record::stage(None, holds, free, true), Stage::BelowWatermark);
        assert_eq!(record::abort(None, holds, free, true), Abort::BelowWatermark);
        assert_eq!(record::insert_aborted(None, holds, free, true), Abort::BelowWatermark);
    }
}

/// The row after a decision, as a store keeps it.
fn after(row: Option<BranchState>, settle: Settle) -> Option<BranchState> {
    match settle {
        Settle::Apply => Some(BranchState::Committed),
        Settle::Release | Settle::InsertAborted => Some(BranchState::Aborted),
        Settle::Already | Settle::Ignore | Settle::Alarm => row,
    }
}

#[test]
fn a_final_row_never_changes() {
    for row in [Some(BranchState::Committed), Some(BranchState::Aborted)] {
        for below in BOTH {
            assert_eq!(after(row, branch::commit(row, below)), row);
            assert_eq!(after(row, branch::abort(row, below)), row);
            assert_eq!(after(row, branch::forgotten(row)), row);
            assert!(!branch::fence(row, below).insert_aborted);
            assert_ne!(branch::prepare(row, below), Prepare::TryHold);
        }
    }
}

#[test]
fn a_message_repeated_is_acknowledged_and_changes_nothing_more() {
    for row in ROWS {
        for message in [branch::commit, branch::abort] {
            let first = message(row, false);
            if first != Settle::Alarm {
                assert_eq!(message(after(row, first), false), Settle::Already);
            }
        }
    }
}

#[test]
fn a_fenced_row_never_votes_yes_afterwards() {
    for row in ROWS {
        let fence = branch::fence(row, false);
        if fence.vote == Vote::No {
            let stands = if fence.insert_aborted { Some(BranchState::Aborted) } else { row };
            assert_eq!(branch::prepare(stands, false), Prepare::Answer(Vote::No));
        }
    }
}

#[test]
fn a_final_record_never_changes() {
    for (holds, free) in BOTH.into_iter().flat_map(|holds| BOTH.map(|free| (holds, free))) {
        for below in BOTH {
            let committed = Some(RecordState::Committed);
            assert_eq!(record::abort(committed, holds, free, below), Abort::Committed);
            assert_eq!(record::insert_aborted(committed, holds, free, below), Abort::Committed);
            assert!(matches!(record::stage(committed, holds, free, below), Stage::Terminal { .. }));
            let aborted = Some(RecordState::Aborted);
            assert_eq!(record::abort(aborted, holds, free, below), Abort::Aborted { holds_request: holds });
            assert!(matches!(record::stage(aborted, holds, free, below), Stage::Terminal { .. }));
        }
    }
    assert_eq!(record::commit(Some(RecordState::Aborted)), Commit::Aborted);
    assert_eq!(record::commit(None), Commit::Collected);
}

#[test]
fn a_tombstone_never_touches_a_staging_record() {
    for (holds, free) in BOTH.into_iter().flat_map(|holds| BOTH.map(|free| (holds, free))) {
        for below in BOTH {
            assert_eq!(record::insert_aborted(Some(RecordState::Staging), holds, free, below), Abort::Staging);
        }
    }
}

#[test]
fn a_request_that_is_held_is_never_taken() {
    for below in BOTH {
        assert_ne!(record::stage(None, false, false, below), Stage::Staged);
        assert_ne!(record::abort(None, false, false, below), Abort::Aborted { holds_request: true });
    }
}

#[test]
fn only_what_is_settled_and_below_the_watermark_is_collected() {
    for state in RECORDS.into_iter().flatten() {
        for (ended, below) in BOTH.into_iter().flat_map(|ended| BOTH.map(|below| (ended, below))) {
            for (holds, over) in BOTH.into_iter().flat_map(|holds| BOTH.map(|over| (holds, over))) {
                if collection::may_delete_record(state, ended, below, holds, over) {
                    assert!(state.is_terminal() && below && (over || !holds));
                    assert!(ended || state == RecordState::Aborted);
                }
            }
        }
    }
    for state in ROWS.into_iter().flatten() {
        assert_eq!(collection::may_delete_branch(state, true, false), state == BranchState::Aborted);
        assert_eq!(collection::may_delete_branch(state, true, true), state != BranchState::Prepared);
        assert!(BOTH.iter().all(|ended| !collection::may_delete_branch(state, false, *ended)));
        assert_eq!(branch::end(Some(state), true) == End::Delete, state == BranchState::Committed);
    }
}

#[test]
fn a_horizon_is_no_higher_than_what_was_asked_the_watermark_and_what_is_open() {
    assert_eq!(collection::horizon(10, 20, None), 10);
    assert_eq!(collection::horizon(20, 10, Some(30)), 10);
    assert_eq!(collection::horizon(20, 20, Some(15)), 14, "what is open lies above it");
    assert_eq!(collection::horizon(i64::MAX, i64::MAX, Some(i64::MIN)), i64::MIN);
}

#[test]
fn a_horizon_is_common_only_if_everyone_has_confirmed_one() {
    assert_eq!(collection::common_horizon(10, []), Some(10));
    assert_eq!(collection::common_horizon(10, [Some(12), Some(7)]), Some(7), "nobody raises it");
    assert_eq!(collection::common_horizon(10, [Some(12), None]), None);
}
