//! Deliberate mistakes, each a known trap of sagas. They live in what the model puts around the machine and the rules.

/// A deliberate mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SagaMutant {
    /// COMPENSATE goes out along with the turn instead of after it.
    CompensatesBeforeTurn,
    /// The turn is lost in a crash of the coordinator's database.
    LazyTurn,
    /// A result is lost in a crash of the coordinator's database.
    LazyResult,
    /// The next step is started along with the result's write instead of after it.
    ResultNotDurable,
    /// The client is told accepted as soon as the last step has answered.
    AcceptedBeforeDurable,
    /// The client is told refused as soon as the turn is wanted.
    RefusedBeforeTurn,
    /// A write puts down what its writer believes, whoever owns the saga by now.
    BlindWrite,
    /// What is given up turns though the pivot may have taken effect.
    TurnPastThePivot,
    /// A step whose result is not known counts as never started.
    UnknownNotCompensated,
    /// All compensations go out at once.
    CompensatesInAnyOrder,
    /// The saga ends before its compensations are acknowledged.
    EndsBeforeCompensated,
    /// A late EXECUTE finds no tombstone.
    NoTombstone,
    /// A compensation is acknowledged before it is flushed.
    LazyCompensation,
    /// A result is answered before it is flushed.
    LazyExecution,
    /// A refusal is answered but not written down.
    RefusalNotWritten,
    /// Each EXECUTE is carried out: the key is not written down.
    NoKey,
    /// After FORGOTTEN a new deadline is named before it is durable.
    RenewNotDurable,
    /// EXECUTE ignores the watermark.
    NoWatermark,
    /// END deletes by the row's own deadline.
    EndByOwnDeadline,
    /// END deletes whatever the watermark is.
    EndWithoutWatermark,
    /// A refusal of a step after the pivot is kept.
    RetriableRefusalKept,
}
