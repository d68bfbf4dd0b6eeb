//! Deliberate mistakes, each a known trap of the protocol.
//!
//! They live in what the model puts around the machines (which inputs they are given, what becomes of their commands,
//! what the stores do), so that the production code holds no switch.

/// A deliberate mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// Recover finds no record and sends ABORT without inserting the tombstone.
    PresumedAbortWithoutTombstone,
    /// Recover inserts no tombstone when another attempt holds the request.
    NoTombstoneIfRequestHeld,
    /// Recover's tombstone overwrites a STAGING record that came in since it looked.
    TombstoneOverStaging,
    /// FENCE answers no without writing it down.
    FenceWithoutWrite,
    /// A refusal is answered but not written down.
    RefusalNotWritten,
    /// The owner sends ABORT along with the compare-and-set instead of after it.
    OwnerAbortsBeforeCas,
    /// Recover sends COMMIT along with the compare-and-set instead of after it.
    RecoverCommitsBeforeCas,
    /// The owner takes its record as durable as soon as the insert is sent.
    StagedBeforeDurable,
    /// The owner says rejected at the first no, whatever became of its record.
    RejectedBeforeStaged,
    /// At its deadline the owner says aborted and leaves it at that.
    TimeoutWithoutCas,
    /// Yes is answered before the row is flushed.
    YesBeforeFlush,
    /// The record counts as STAGING before it is flushed.
    StagingBeforeFlush,
    /// The transaction ends before the participants have flushed their COMMITTED.
    EndBeforeFlush,
    /// The transaction ends though its COMMITTED record, seen by the collector, is not flushed.
    EndOfUnflushedRecord,
    /// END is said up to a horizon that no participant has confirmed.
    EndHorizonUnconfirmed,
    /// END is said up to a horizon above a STAGING record.
    EndHorizonAboveStaging,
    /// END is said up to a horizon whose COMMITTED records, seen by the collector, are not flushed.
    EndHorizonOfUnflushedRecords,
    /// A participant confirms a horizon before it has flushed its COMMITTED.
    HorizonConfirmedBeforeFlush,
    /// A participant confirms a horizon above its watermark.
    HorizonConfirmedAboveWatermark,
    /// Recover's compare-and-set to COMMITTED or ABORTED is lazy.
    LazyRecoverCas,
    /// The owner's compare-and-set after a timeout is lazy.
    LazyTimeoutCas,
    /// Inserts ignore the watermarks.
    NoWatermark,
    /// The owner counts FORGOTTEN as no.
    OwnerTakesForgottenForNo,
    /// The owner counts doubt as no.
    OwnerTakesDoubtForNo,
    /// Recover counts FORGOTTEN as doubt.
    RecoverIgnoresForgotten,
    /// A participant ignores the answer FORGOTTEN from Recover.
    BranchIgnoresForgotten,
    /// Recover takes a collected record for one that never was.
    CollectedReadAsAbsent,
    /// An attempt that lost the request goes on counting its own votes.
    LoserCountsItsVotes,
    /// An attempt that lost the request aborts the holder's record.
    LoserAbortsHolder,
    /// An attempt that lost the request aborts its branches, then tries its insert again.
    LoserRetriesInsert,
    /// Participants keep one row for each request instead of one for each transaction.
    KeyedByRequest,
    /// The holder's outcome is told although its request had another content.
    AdoptedAcrossDigests,
    /// The unique index on requests is missing.
    RequestNotUnique,
    /// A participant holds stock by what it read before, in another local transaction.
    StockReadBefore,
    /// A hold is given back for every ABORT that arrives.
    ReleasedAgain,
    /// The stock is flushed later than the row that says that some of it is held.
    StockFlushedLater,
}
