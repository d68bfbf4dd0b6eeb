//! The faults that are planted, one at a time, and the check that must find each.
use proto::assent::transaction::v1::{Acknowledgement, Vote};
use protocol::branch::BranchState::{Aborted, Committed, Prepared};

use super::participant::Effect;
use crate::participant::oracle::{Answer, Message, Standing};

/// A mistake in a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    HoldsNothing,
    HoldsAgain,
    PreparesCommittedAgain,
    RefusalLeavesNoRow,
    RefusalHolds,
    NoReason,
    GivesUpAtDeadline,
    AbortDeletes,
    FenceOnlyLooks,
    PreparesOverFence,
    FenceAborts,
    FenceDeniesCommitted,
    FenceTakesRefused,
    NoTombstone,
    CommitKeepsHold,
    CommitsTwice,
    NoDurableCommit,
    GivesBackTwice,
    AbortAfterCommitDone,
    AbortUndoesCommit,
    CommitsAborted,
    CommitOfAbortedDone,
    CommitOfUnknownDone,
    ReconsidersHeld,
    ReconsidersRefused,
    ReplacesNames,
    WatermarkBeforeRow,
    Unordered(Message),
    RefusedTogether,
    DuplicatesFail,
    SmallBatches,
    EmptyBatchesFail,
    LooksThenWrites(Message),
    EndOfUnknownAlarm,
    EndAboveWatermark,
    EndOfPreparedDone,
    EndOfAbortedDone,
    EndKeepsRow,
    NoWatermark,
    RefusesBelow,
    FenceInsertsBelow,
    CommitBelowAlarm,
    TombstoneBelow,
    EndBelowLater,
    TakesNoTransaction,
    HangsWithoutTransaction,
    TakesNoIds,
    TakesAnyDeadline,
    TakesAnyParticipants,
    TakesNoOwner,
    TakesAnyCount,
    TakesAnyPage,
    TakesGoodNeighbours,
    ForgetsOwner,
    FenceGivesNoReason,
    MissesAtPageEnd,
    ListsAllStates,
    VotesNotWritten,
    RefusalsNotWritten,
    DurableCommitsNotWritten,
    LazyCommitsLoseRow,
    AnswersBeforeWritten,
}

/// Each fault and the check that finds it.
pub const PLANTS: &[(Fault, &str)] = &[
    (Fault::HoldsNothing, "1.1"),
    (Fault::HoldsAgain, "2.1"),
    (Fault::PreparesCommittedAgain, "2.2"),
    (Fault::RefusalLeavesNoRow, "2.3"),
    (Fault::RefusalHolds, "2.3"),
    (Fault::NoReason, "2.4"),
    (Fault::GivesUpAtDeadline, "2.5"),
    (Fault::AbortDeletes, "2.6"),
    (Fault::FenceOnlyLooks, "3.1"),
    (Fault::FenceOnlyLooks, "3.2"),
    (Fault::FenceOnlyLooks, "3.3"),
    (Fault::PreparesOverFence, "3.3"),
    (Fault::FenceAborts, "3.4"),
    (Fault::FenceDeniesCommitted, "3.5"),
    (Fault::FenceTakesRefused, "3.6"),
    (Fault::NoTombstone, "3.7"),
    (Fault::NoTombstone, "3.8"),
    (Fault::CommitKeepsHold, "4.1"),
    (Fault::CommitsTwice, "4.2"),
    (Fault::NoDurableCommit, "4.3"),
    (Fault::GivesBackTwice, "4.4"),
    (Fault::AbortAfterCommitDone, "4.5"),
    (Fault::AbortUndoesCommit, "4.5"),
    (Fault::CommitsAborted, "4.6"),
    (Fault::CommitOfAbortedDone, "4.7"),
    (Fault::CommitOfUnknownDone, "4.8"),
    (Fault::ReconsidersHeld, "5.1"),
    (Fault::ReconsidersRefused, "5.2"),
    (Fault::ReplacesNames, "5.3"),
    (Fault::WatermarkBeforeRow, "5.4"),
    (Fault::Unordered(Message::Prepare), "6.1"),
    (Fault::RefusedTogether, "6.1"),
    (Fault::Unordered(Message::Fence), "6.2"),
    (Fault::Unordered(Message::Commit), "6.3"),
    (Fault::Unordered(Message::CommitDurably), "6.3"),
    (Fault::Unordered(Message::Abort), "6.4"),
    (Fault::Unordered(Message::End), "6.5"),
    (Fault::DuplicatesFail, "6.6"),
    (Fault::SmallBatches, "6.7"),
    (Fault::EmptyBatchesFail, "6.8"),
    (Fault::LooksThenWrites(Message::Prepare), "7.1"),
    (Fault::LooksThenWrites(Message::Commit), "7.2"),
    (Fault::LooksThenWrites(Message::Abort), "7.3"),
    (Fault::LooksThenWrites(Message::Prepare), "7.4"),
    (Fault::LooksThenWrites(Message::Fence), "7.4"),
    (Fault::LooksThenWrites(Message::Prepare), "7.5"),
    (Fault::LooksThenWrites(Message::Abort), "7.6"),
    (Fault::LooksThenWrites(Message::Prepare), "7.7"),
    (Fault::EndOfUnknownAlarm, "8.1"),
    (Fault::EndAboveWatermark, "8.2"),
    (Fault::EndOfPreparedDone, "8.3"),
    (Fault::EndOfAbortedDone, "8.4"),
    (Fault::EndKeepsRow, "8.5"),
    (Fault::NoWatermark, "9.1"),
    (Fault::RefusesBelow, "9.1"),
    (Fault::FenceInsertsBelow, "9.2"),
    (Fault::CommitBelowAlarm, "9.3"),
    (Fault::TombstoneBelow, "9.4"),
    (Fault::EndBelowLater, "9.5"),
    (Fault::TakesNoTransaction, "10.1"),
    (Fault::HangsWithoutTransaction, "10.1"),
    (Fault::TakesGoodNeighbours, "10.1"),
    (Fault::TakesNoIds, "10.2"),
    (Fault::TakesAnyDeadline, "10.3"),
    (Fault::TakesAnyParticipants, "10.4"),
    (Fault::TakesNoOwner, "10.5"),
    (Fault::TakesAnyCount, "10.6"),
    (Fault::TakesAnyPage, "10.7"),
    (Fault::ForgetsOwner, "11.1"),
    (Fault::FenceGivesNoReason, "11.2"),
    (Fault::MissesAtPageEnd, "11.3"),
    (Fault::ListsAllStates, "11.3"),
    (Fault::ListsAllStates, "11.4"),
    (Fault::VotesNotWritten, "12.1"),
    (Fault::RefusalsNotWritten, "12.2"),
    (Fault::DurableCommitsNotWritten, "12.3"),
    (Fault::LazyCommitsLoseRow, "12.4"),
    (Fault::AnswersBeforeWritten, "12.5"),
];

const DONE: Answer = Answer::Acknowledged(Acknowledgement::Done);
const ALARM: Answer = Answer::Acknowledged(Acknowledgement::Alarm);
const RETRY: Answer = Answer::Acknowledged(Acknowledgement::Retry);
const YES: Answer = Answer::Vote(Vote::Yes);
const NO: Answer = Answer::Vote(Vote::No);
const FORGOTTEN: Answer = Answer::Vote(Vote::Forgotten);

impl Fault {
    /// What the participant takes to stand, where it is mistaken about it.
    pub fn mistakes(self, message: Message, standing: Standing, refused_before: bool) -> Standing {
        let Standing { row, .. } = standing;
        match (self, message, row) {
            (Fault::PreparesCommittedAgain, Message::Prepare, Some(Committed))
            | (Fault::PreparesOverFence, Message::Prepare, Some(Aborted))
            | (Fault::ReconsidersHeld, Message::Prepare, Some(Prepared)) => Standing { row: None, ..standing },
            (Fault::ReconsidersRefused, Message::Prepare, Some(Aborted)) if refused_before => {
                Standing { row: None, ..standing }
            }
            (Fault::WatermarkBeforeRow, ..) if standing.below => Standing { row: None, ..standing },
            (Fault::NoWatermark, ..) => Standing { below: false, ..standing },
            (Fault::FenceInsertsBelow, Message::Fence, _)
            | (Fault::TombstoneBelow, Message::Abort, _)
            | (Fault::CommitBelowAlarm, Message::Commit | Message::CommitDurably, None) => {
                Standing { below: false, ..standing }
            }
            (Fault::RefusesBelow, Message::Prepare, None) if standing.below => {
                Standing { below: false, takes: false, ..standing }
            }
            (Fault::EndAboveWatermark, Message::End, Some(Committed)) => Standing { below: true, ..standing },
            _ => standing,
        }
    }

    /// What the participant does otherwise than it should.
    pub fn alter(self, message: Message, standing: Standing, effect: Effect) -> Effect {
        let Effect { row: new, held, taken, .. } = effect;
        let is_commit = matches!(message, Message::Commit | Message::CommitDurably);
        match (self, message, standing.row) {
            (Fault::HoldsNothing, ..) => Effect { held: 0, ..effect },
            (Fault::HoldsAgain, Message::Prepare, Some(Prepared)) => Effect { held: 1, ..effect },
            (Fault::RefusalLeavesNoRow, Message::Prepare, None) if new == Some(Aborted) => {
                Effect { row: None, ..effect }
            }
            (Fault::RefusalHolds, Message::Prepare, None) if new == Some(Aborted) => Effect { held: 1, ..effect },
            (Fault::AbortDeletes, Message::Abort, Some(Prepared)) => Effect { row: None, ..effect },
            (Fault::FenceOnlyLooks, Message::Fence, None) => Effect { row: None, ..effect },
            (Fault::FenceAborts, Message::Fence, Some(Prepared)) => {
                Effect { answer: NO, row: Some(Aborted), held: -1, taken }
            }
            (Fault::FenceDeniesCommitted, Message::Fence, Some(Committed)) => Effect { answer: NO, ..effect },
            (Fault::FenceTakesRefused, Message::Fence, Some(Aborted)) => Effect { answer: YES, ..effect },
            (Fault::NoTombstone, Message::Abort, None) => Effect { row: None, ..effect },
            (Fault::CommitKeepsHold, _, Some(Prepared)) if is_commit => Effect { held: 0, ..effect },
            (Fault::CommitsTwice, _, Some(Committed)) if is_commit => Effect { taken: 1, ..effect },
            (Fault::NoDurableCommit, Message::CommitDurably, Some(Committed)) => Effect { answer: RETRY, ..effect },
            (Fault::GivesBackTwice, Message::Abort, Some(Aborted)) => Effect { held: -1, ..effect },
            (Fault::AbortAfterCommitDone, Message::Abort, Some(Committed)) => Effect { answer: DONE, ..effect },
            (Fault::AbortUndoesCommit, Message::Abort, Some(Committed)) => {
                Effect { row: Some(Aborted), taken: -1, ..effect }
            }
            (Fault::CommitsAborted, _, Some(Aborted)) if is_commit => {
                Effect { answer: DONE, row: Some(Committed), held, taken: 1 }
            }
            (Fault::CommitOfAbortedDone, _, Some(Aborted)) if is_commit => Effect { answer: DONE, ..effect },
            (Fault::CommitOfUnknownDone, _, None) if is_commit => Effect { answer: DONE, ..effect },
            (Fault::EndOfUnknownAlarm, Message::End, None) => Effect { answer: ALARM, ..effect },
            (Fault::EndOfPreparedDone, Message::End, Some(Prepared))
            | (Fault::EndOfAbortedDone, Message::End, Some(Aborted)) => Effect { answer: DONE, row: None, ..effect },
            (Fault::EndKeepsRow, Message::End, Some(Committed)) if new.is_none() => {
                Effect { row: Some(Committed), ..effect }
            }
            (Fault::RefusesBelow, Message::Prepare, None) if effect.answer == FORGOTTEN => {
                Effect { answer: NO, ..effect }
            }
            (Fault::EndBelowLater, Message::End, None) if standing.below => Effect { answer: RETRY, ..effect },
            _ => effect,
        }
    }
}
