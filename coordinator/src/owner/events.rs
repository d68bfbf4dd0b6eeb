//! What can happen to an attempt, and the reasons that go with it.
use std::time::Duration;

use participant::Refusal;
use participant::clock::now_unix_ms;
use protocol::owner::Holder;
use protocol::record::{Abort, RecordState, Stage};
use protocol::{Decision, Vote};
use uuid::Uuid;

use super::answer::{Answer, is_refused};
use crate::participants::Voted;
use crate::store::{Doubt, Record};

/// What happened.
pub enum Happened {
    /// It begins.
    Begun,
    /// A time came that was scheduled.
    TimePassed,
    /// A participant voted, by its place.
    Voted(usize, Voted),
    /// The STAGING insert returned; with the record's reason, where it was found aborted.
    Staged(Result<Stage, Doubt>, Option<Refusal>),
    /// The abort of the own record returned; with the record's reason, which may be another's who was faster.
    Aborted(Result<Abort, Doubt>, Option<Refusal>),
    /// The request's holder was read.
    Holder(Result<Option<Record>, sqlx::Error>),
    /// The holder's recovery ended.
    Recovered,
}

/// The reason of a vote that is not yes, always with the participant's name.
pub fn reason(vote: Vote, refusal: Option<Refusal>, participant: &str) -> Refusal {
    let refusal = refusal.filter(|refusal| !refusal.reason.is_empty()).unwrap_or_else(|| match vote {
        Vote::Forgotten => Refusal::new("FORGOTTEN", format!("{participant} has passed the transaction's deadline")),
        Vote::No => Refusal::new("ABORTED", format!("{participant} holds no branch of the transaction")),
        Vote::Yes | Vote::Unknown => Refusal::new("PARTICIPANT_UNAVAILABLE", format!("{participant} is in doubt")),
    });
    refusal.with("participant", participant)
}

/// The deadline passed.
pub fn timeout(timeout_ms: u128, waiting: &[&str]) -> Refusal {
    let missing = match waiting {
        [] => "the coordinator's own record".to_owned(),
        names => format!("the vote of {}", names.join(" and ")),
    };
    Refusal::new("TIMEOUT", format!("not decided within {timeout_ms} ms: {missing} did not come in time"))
}

/// The coordinator's database is in the way.
pub fn database(doubt: &Doubt) -> Refusal {
    Refusal::new("DATABASE_UNAVAILABLE", format!("the coordinator's database can't be reached: {doubt}"))
}

/// An order needs a participant that the coordinator was not told of.
pub fn no_such_participant(name: &str) -> Voted {
    Voted::unknown("PARTICIPANT_UNAVAILABLE", format!("no participant is called {name:?}; see --participants"))
}

/// What stands for the attempt that holds the request.
pub fn holder(holder: Option<&Record>, request_digest: &[u8]) -> Holder {
    match holder {
        None => Holder::Gone,
        Some(holder) if holder.request_digest != request_digest => Holder::OtherDigest,
        Some(holder) => match holder.state {
            RecordState::Committed => Holder::Terminal(Decision::Commit),
            RecordState::Aborted => Holder::Terminal(Decision::Abort),
            RecordState::Staging => Holder::Staging { deadline_passed: holder.deadline_unix_ms < now_unix_ms() },
        },
    }
}

/// The answer that the holder's outcome is. `order_id` only stands in for a holder that was not kept.
pub fn of_holder(decision: Decision, holder: Option<Record>, order_id: Uuid) -> Answer {
    let Some(holder) = holder else {
        return Answer::Unknown { order_id, cause: Refusal::new("UNKNOWN", "the request's holder was not read") };
    };
    let order_id = holder.transaction_id;
    match (decision, holder.refusal) {
        (Decision::Commit, _) => Answer::Accepted { order_id, create_time: holder.create_time },
        (Decision::Abort, Some(refusal)) if is_refused(&refusal) => Answer::Rejected { order_id, refusal },
        (Decision::Abort, cause) => Answer::Aborted {
            order_id,
            cause: cause.unwrap_or_else(|| Refusal::new("TRANSACTION_ABORTED", "the transaction was aborted")),
        },
    }
}

/// How long to wait before the next try: nothing before the first, then doubling.
pub fn pause(tries: u32, first: Duration, longest: Duration) -> Duration {
    match tries {
        0 => Duration::ZERO,
        tries => first.saturating_mul(1 << (tries - 1).min(16)).min(longest),
    }
}
