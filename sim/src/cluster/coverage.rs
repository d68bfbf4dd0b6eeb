//! How often things happened. Invariants hold trivially where nothing does, so the tests assert that everything did.

macro_rules! counted {
    ($($(#[$doc:meta])* $event:ident = $name:literal),* $(,)?) => {
        /// Something worth counting.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Counted {
            $($(#[$doc])* $event,)*
        }

        impl Counted {
            /// All of them.
            pub const ALL: &[Counted] = &[$(Counted::$event,)*];

            /// What it is called in reports.
            pub fn name(self) -> &'static str {
                match self {
                    $(Counted::$event => $name,)*
                }
            }
        }
    };
}

counted! {
    /// An attempt began.
    Attempt = "attempts",
    /// A client was told so.
    Accepted = "answered accepted",
    /// Likewise.
    Rejected = "answered rejected",
    /// Likewise.
    Aborted = "answered aborted",
    /// Likewise.
    OfHolderCommit = "answered with the holder's commit",
    /// Likewise.
    OfHolderAbort = "answered with the holder's abort",
    /// Likewise.
    RequestReused = "answered request re-used",
    /// Likewise.
    Unknown = "answered unknown",
    /// A call of a client got no answer.
    NoAnswer = "calls without an answer",
    /// A hold was taken.
    VoteYes = "votes yes",
    /// A participant refused.
    Refused = "votes no for want of stock or money",
    /// A vote below the watermark.
    VoteForgotten = "votes forgotten",
    /// An owner met doubt in place of a vote.
    VoteUnknown = "votes unknown",
    /// An attempt met another one that holds its request.
    HeldByOther = "requests found held by another attempt",
    /// An insert met a record that a recovery had written.
    StageTerminal = "stagings that met a final record",
    /// An insert came too late.
    StageBelowWatermark = "stagings below the watermark",
    /// An owner's operation on its record was in doubt.
    RecordInDoubt = "owners' operations in doubt",
    /// An attempt gave up following the holder.
    GaveUpFollowing = "attempts that gave up following the holder",
    /// An owner's compare-and-set found its record committed by a recovery.
    AdoptedCommit = "aborts that found their record committed",
    /// A recovery ended so.
    RecoveredCommit = "recoveries that committed",
    /// Likewise.
    RecoveredAbort = "recoveries that aborted",
    /// Likewise.
    RecoveredForgotten = "recoveries that answered forgotten",
    /// Likewise.
    RecoveredInDoubt = "recoveries in doubt",
    /// A tombstone was written.
    Tombstone = "tombstones of recoveries",
    /// A record appeared under a recovery's hands.
    RecoveryAgain = "recoveries begun again",
    /// A fence wrote a no.
    FenceNo = "fences that wrote a no",
    /// A fence met a yes.
    FenceYes = "fences that met a yes",
    /// A fence below the watermark.
    FenceForgotten = "fences answered forgotten",
    /// A takeover by another coordinator than the owner's.
    TakenOver = "transactions taken over",
    /// A prepared branch was aborted by FORGOTTEN.
    ForgottenReleased = "holds released by forgotten",
    /// An abort met no row.
    AbortTombstone = "aborts that met no row",
    /// A late message was ignored.
    Ignored = "decisions ignored below the watermark",
    /// A committed row was deleted.
    RowEnded = "rows deleted by END",
    /// A committed row was deleted by END up to a horizon.
    RowEndedByHorizon = "rows deleted by END up to a horizon",
    /// A participant confirmed less than it was asked.
    HorizonClipped = "horizons not confirmed in full",
    /// A coordinator said END up to a horizon.
    HorizonEnded = "horizons that all have confirmed",
    /// END came before the participant's watermark.
    EndLater = "ENDs put off",
    /// An aborted row was deleted.
    RowCollected = "aborted rows collected",
    /// A record was deleted.
    RecordCollected = "records collected",
    /// Among them one that held its request.
    RequestForgotten = "requests forgotten after their retention",
    /// A database lost a lazy commit.
    LostLazy = "lazy commits lost",
    /// A connection was lost in a COMMIT that was carried out.
    LostCommitDone = "commits in doubt that were carried out",
    /// A connection was lost in a COMMIT that was not.
    LostCommitUndone = "commits in doubt that were not",
    /// A dead process's batch was carried out all the same.
    DeadWrote = "batches of dead processes carried out",
    /// A process died.
    ProcessCrash = "process crashes",
    /// A database died.
    DatabaseCrash = "database crashes",
    /// A process stood still.
    Paused = "pauses",
    /// A coordinator worked on though its lease had run out.
    Zombie = "zombies that woke past their lease",
    /// The network was cut.
    Partitioned = "partitions",
    /// A message was lost.
    MessageLost = "messages lost",
    /// A message came twice.
    MessageTwice = "messages doubled",
    /// A message took seconds.
    MessageLate = "messages late",
    /// A clock jumped.
    ClockJumped = "clock jumps",
    /// A database took long.
    SlowDisk = "slow disks",
    /// A batch had more than one entry.
    Batched = "batches of several entries",
    /// A batch was committed lazily.
    LazyBatch = "lazy batches",
    /// A call named a request whose call had been answered.
    RepeatedCall = "calls repeated after their answer",
}

/// The counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    counts: Vec<u64>,
}

impl Default for Coverage {
    fn default() -> Self {
        Coverage { counts: vec![0; Counted::ALL.len()] }
    }
}

impl Coverage {
    /// One more.
    pub fn add(&mut self, counted: Counted, count: usize) {
        self.counts[counted as usize] += count as u64;
    }

    /// How often.
    pub fn count(&self, counted: Counted) -> u64 {
        self.counts[counted as usize]
    }

    /// All of another's as well.
    pub fn merge(&mut self, other: &Coverage) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }
}
