//! A participant's rules for a saga's steps: one row per (transaction, step), written once, and what each message does
//! to it.
//!
//! Each function takes the row that stands and whether the deadline that it is judged by is at or below the
//! participant's watermark, both read in the local transaction that carries out the answer. Every write is forced. A
//! standing row is always answered, even below the watermark; below it nothing is ever inserted.
use crate::branch::End;

/// State of a step's row. No row is `None` where it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StepRow {
    /// It took effect.
    Executed,
    /// Refused: it had no effect, and never will.
    Refused,
    /// Its effect was undone, or it never had one and never will: then the row is a tombstone.
    Compensated,
}

/// What became of an EXECUTE, as the coordinator learns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StepResult {
    /// It took effect, durably.
    Executed,
    /// It was refused, durably.
    Refused,
    /// A compensation came first: it has no effect any more, or never had.
    Compensated,
    /// No row stands and the message's deadline is at or below the watermark; nothing was written, and nothing will be under
    /// this deadline or an earlier one.
    Forgotten,
    /// Doubt: an error, a timeout, or a refusal that is not kept.
    Unknown,
}

/// What to do with an EXECUTE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Execute {
    /// Answer this; write nothing.
    Answer(StepResult),
    /// Try to carry it out. Done: write EXECUTED in the same local transaction. Refused: write REFUSED, or nothing at all
    /// if the step may not fail for good ([`keeps_refusal`]).
    Try,
}

/// What an EXECUTE does; `below_watermark` by the message's deadline.
pub fn execute(row: Option<StepRow>, below_watermark: bool) -> Execute {
    match row {
        Some(StepRow::Executed) => Execute::Answer(StepResult::Executed),
        Some(StepRow::Refused) => Execute::Answer(StepResult::Refused),
        Some(StepRow::Compensated) => Execute::Answer(StepResult::Compensated),
        None if below_watermark => Execute::Answer(StepResult::Forgotten),
        None => Execute::Try,
    }
}

/// Whether a refusal is written down. That of a step after the pivot is not: it is asked again until it is carried out.
pub fn keeps_refusal(must_succeed: bool) -> bool {
    !must_succeed
}

/// What to do with a COMPENSATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compensate {
    /// Undo the effect; EXECUTED becomes COMPENSATED in the same local transaction.
    Undo,
    /// Insert a row in state COMPENSATED, which a late EXECUTE will meet.
    InsertTombstone,
    /// There is no effect, and never will be: acknowledge.
    Already,
    /// No row and below the watermark: no EXECUTE can be carried out any more; acknowledge, write nothing.
    Ignore,
}

/// What a COMPENSATE does; `below_watermark` by the message's deadline, which is the latest that any EXECUTE of the step
/// has named.
pub fn compensate(row: Option<StepRow>, below_watermark: bool) -> Compensate {
    match row {
        Some(StepRow::Executed) => Compensate::Undo,
        Some(StepRow::Refused | StepRow::Compensated) => Compensate::Already,
        None if below_watermark => Compensate::Ignore,
        None => Compensate::InsertTombstone,
    }
}

/// What an END does: the coordinator says that the saga has ended. `below_watermark` by the later of the row's and the
/// message's deadline, so that no EXECUTE of the step can be carried out once its row is gone.
pub fn end(row: Option<StepRow>, below_watermark: bool) -> End {
    match row {
        None => End::Already,
        Some(_) if below_watermark => End::Delete,
        Some(_) => End::Later,
    }
}
