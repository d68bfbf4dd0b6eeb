//! Deliberate mistakes that need no place of their own in the world; the others are where what they change is.
use super::message::Entry;
use super::storage::Urgency;
use crate::mutant::Mutant;
use protocol::Vote;

/// How an entry is written.
pub fn urgency(mutant: Option<Mutant>, entry: Entry) -> Urgency {
    let lazy_by_mistake = match entry {
        Entry::Prepare(_) => Some(Mutant::YesBeforeFlush),
        Entry::Stage(_) => Some(Mutant::StagingBeforeFlush),
        Entry::Commit { durable: true, .. } => Some(Mutant::EndBeforeFlush),
        Entry::AbortRecord { by_owner: true, .. } => Some(Mutant::LazyTimeoutCas),
        Entry::AbortRecord { by_owner: false, .. } | Entry::CommitRecord(_) => Some(Mutant::LazyRecoverCas),
        _ => None,
    };
    if mutant.is_some() && mutant == lazy_by_mistake {
        return Urgency::Lazy;
    }
    match entry {
        Entry::Commit { durable: false, .. } | Entry::Finish { .. } => Urgency::Lazy,
        Entry::Commit { durable: true, .. } | Entry::Abort { .. } | Entry::Forgotten(_) | Entry::End(_) => {
            Urgency::Soon
        }
        Entry::Prepare(_) | Entry::Fence(_) | Entry::Stage(_) => Urgency::Now,
        Entry::InsertAborted(_) | Entry::AbortRecord { .. } | Entry::CommitRecord(_) => Urgency::Now,
    }
}

/// What an owner takes a vote for.
pub fn as_owner_reads(mutant: Option<Mutant>, vote: Vote) -> Vote {
    match (vote, mutant) {
        (Vote::Forgotten, Some(Mutant::OwnerTakesForgottenForNo)) => Vote::No,
        (Vote::Unknown, Some(Mutant::OwnerTakesDoubtForNo)) => Vote::No,
        (vote, _) => vote,
    }
}

/// What a recovery takes the answer to a fence for.
pub fn as_recovery_reads(mutant: Option<Mutant>, vote: Vote) -> Vote {
    match (vote, mutant) {
        (Vote::Forgotten, Some(Mutant::RecoverIgnoresForgotten)) => Vote::Unknown,
        (vote, _) => vote,
    }
}
