//! The commit protocol's rules, once and pure: `(state, event) -> (state, commands)`.
//!
//! Nothing here does I/O, reads a clock or draws a random number. The running services, the replay of a log, the
//! simulator and the model checker all drive these same machines; what they add is only transport and storage.
//!
//! - [`branch`]: what a participant does with a message, given the log row that stands.
//! - [`record`]: what the coordinator's database does with an operation, given the record that stands.
//! - [`owner`]: one attempt, driven by the coordinator that took the client's request.
//! - [`recovery`]: one run of Recover, by any coordinator, at any time.
//! - [`step`]: what a participant does with a message about a saga's step, given the row that stands.
//! - [`saga`]: the saga's row, and the machine that drives it.
//! - [`collection`]: what garbage collection may delete.
//! - [`invariants`]: what must hold across the databases, checked on facts read from them.
//!
//! The protocol is a two-phase commit whose commit point is implicit (a durable STAGING record and every vote yes), as
//! in CockroachDB's parallel commits, with durable refusals and fencing in place of timestamp-cache pushes.
pub mod branch;
pub mod collection;
pub mod invariants;
pub mod owner;
pub mod record;
pub mod recovery;
pub mod saga;
pub mod step;

/// The final decision on a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Decision {
    /// Every branch takes effect.
    Commit,
    /// No branch takes effect.
    Abort,
}

/// A participant's vote, as its coordinator learns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vote {
    /// Prepared, durably.
    Yes,
    /// Refused, durably.
    No,
    /// Doubt: an error, a timeout, or not known whether it became durable. Never counts as no.
    Unknown,
    /// No row stands and the deadline is at or below the participant's watermark; nothing was written.
    Forgotten,
}
