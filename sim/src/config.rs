//! What one exploration covers. A bigger exploration is only another configuration.
use crate::mutant::Mutant;

/// Attempts at one client request or at several, and what may go wrong.
#[derive(Debug, Clone)]
pub struct Config {
    /// The content's digest of each attempt's request; as many attempts as digests. Their deadlines are in this order.
    pub digests: Vec<u8>,
    /// The id of the request that each is an attempt at; all the same by default. As long as `digests`.
    pub requests: Vec<u8>,
    /// How many units of one SKU the first participant has, of which each attempt needs one: it refuses when none is
    /// left, and only then. Without a number it refuses as it likes.
    pub units: Option<i8>,
    /// Whether each attempt is known to be a retry, so that its record goes first. As long as `digests`.
    pub insert_first: Vec<bool>,
    /// Participants of each attempt.
    pub participants: usize,
    /// Participants that may refuse: those with a lower number.
    pub may_refuse: usize,
    /// Runs of Recover at the same time. Their number over time is not bounded.
    pub recoveries: usize,
    /// Whether a recovery knows which request the transaction is an attempt at, so that its tombstone may take it. One
    /// that begins at a participant's row does not.
    pub recoveries_know_request: bool,
    /// Owners may crash.
    pub owner_crashes: bool,
    /// The answer to an owner's PREPARE may be doubt (apart from its deadline passing, which always may).
    pub vote_doubt: bool,
    /// A participant's database may crash and lose what was not flushed.
    pub participant_crashes: bool,
    /// The coordinator's database may crash and lose what was not flushed.
    pub record_crashes: bool,
    /// The participants' watermarks may advance, and rows be collected.
    pub participant_collection: bool,
    /// The coordinator's watermark may advance, and records be collected.
    pub record_collection: bool,
    /// END is said up to a horizon as well, not only of each transaction, if participants' rows are collected.
    pub end_horizons: bool,
    /// The attempts lie further apart than requests are retained: an earlier attempt's record may be collected under a
    /// later attempt. What is promised for all attempts at a request is then not promised, all else is.
    pub past_retention: bool,
    /// A deliberate mistake.
    pub mutant: Option<Mutant>,
}

impl Config {
    /// `attempts` equal attempts over `participants` participants, one recovery at a time, every fault allowed.
    pub fn everything(attempts: usize, participants: usize) -> Self {
        Config {
            digests: vec![0; attempts],
            requests: vec![0; attempts],
            units: None,
            insert_first: vec![false; attempts],
            participants,
            may_refuse: participants,
            recoveries: 1,
            recoveries_know_request: false,
            owner_crashes: true,
            vote_doubt: true,
            participant_crashes: true,
            record_crashes: true,
            participant_collection: true,
            record_collection: true,
            end_horizons: true,
            past_retention: false,
            mutant: None,
        }
    }

    /// The same without watermarks and collection.
    pub fn without_collection(self) -> Self {
        Config { participant_collection: false, record_collection: false, ..self }
    }

    /// The same where END is only said of each transaction.
    pub fn without_horizons(self) -> Self {
        Config { end_horizons: false, ..self }
    }

    /// The same without crashes of databases.
    pub fn without_lost_writes(self) -> Self {
        Config { participant_crashes: false, record_crashes: false, ..self }
    }

    /// The same with each attempt at a request of its own, and this many units of the SKU that all of them want.
    pub fn of_one_sku(self, units: i8) -> Self {
        Config { requests: (0u8..).take(self.attempts()).collect(), units: Some(units), ..self }
    }

    /// The same with this mistake made.
    pub fn with(self, mutant: Mutant) -> Self {
        Config { mutant: Some(mutant), ..self }
    }

    /// How many attempts there are.
    pub fn attempts(&self) -> usize {
        self.digests.len()
    }

    /// Whether a participant may refuse as it likes.
    pub(crate) fn chooses(&self, participant: usize) -> bool {
        participant < self.may_refuse && !(participant == 0 && self.units.is_some())
    }

    /// Whether this mistake is made.
    pub(crate) fn makes(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}
