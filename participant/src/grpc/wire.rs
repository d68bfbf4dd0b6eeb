//! Conversions between the wire's types and the log's; what is not valid is refused here.
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use proto::assent::transaction::v1 as api;
use protocol::Vote;
use protocol::branch::{BranchState, End, Settle};
use protocol::step::Compensate;
use tonic::{Code, Status};

use crate::audit::{Check, Violation};
use crate::group_commit::Stopped;
use crate::log::{Reply, Row};
use crate::{Refusal, TransactionRef, metrics, names, status};

/// Entries in one request, at most.
pub const MAX_ENTRIES: usize = 5_000;
/// Violations of one invariant that are listed, at most.
const MAX_VIOLATIONS: usize = 100;

/// Checks the number of entries.
pub fn check_count(field: &str, count: usize) -> Result<(), Status> {
    match count <= MAX_ENTRIES {
        true => Ok(()),
        false => Err(status::invalid(field, format!("at most {MAX_ENTRIES} fit one request, not {count}"))),
    }
}

/// The transactions of a request.
pub fn references(transactions: Vec<api::TransactionRef>) -> Result<Vec<TransactionRef>, Status> {
    check_count("transactions", transactions.len())?;
    let read = |(place, each)| TransactionRef::read(format_args!("transactions[{place}]"), Some(each));
    transactions.into_iter().enumerate().map(read).collect()
}

/// Checks the names that a branch carries: this participant must be among them.
pub fn check_names(field: impl Display, own: &str, participants: &[String], owner_id: &str) -> Result<(), Status> {
    names::check(participants).map_err(|wrong| status::invalid(format!("{field}.participants"), wrong))?;
    if !participants.iter().any(|name| name == own) {
        return Err(status::invalid(
            format!("{field}.participants"),
            format!("must name this participant, {own:?} (is the address right?), not {participants:?}"),
        ));
    }
    names::check_one(owner_id).map_err(|wrong| status::invalid(format!("{field}.owner_id"), wrong))
}

/// A reason from outside.
pub fn refusal(refusal: Option<api::Refusal>) -> Refusal {
    match refusal {
        None => Refusal::new("ABORTED", "the coordinator aborted the transaction"),
        Some(api::Refusal { reason, message, metadata }) => Refusal::from_outside(reason, message, metadata),
    }
}

/// A reason on the wire.
pub fn refusal_to_wire(refusal: Refusal) -> api::Refusal {
    let Refusal { reason, message, metadata } = refusal;
    api::Refusal { reason, message, metadata: metadata.into_iter().collect() }
}

/// A vote and its reason. Whatever is no vote is doubt.
pub fn vote(reply: Reply) -> (api::Vote, Option<api::Refusal>) {
    let (vote, refusal) = vote_of(reply);
    let counter = match vote {
        api::Vote::Yes => &metrics::YES,
        api::Vote::No => &metrics::NO,
        api::Vote::Forgotten => &metrics::FORGOTTEN,
        api::Vote::Unknown | api::Vote::Unspecified => &metrics::UNKNOWN,
    };
    counter.add(1);
    (vote, refusal)
}

fn vote_of(reply: Reply) -> (api::Vote, Option<api::Refusal>) {
    match reply {
        Reply::Voted(Vote::Yes, _) => (api::Vote::Yes, None),
        Reply::Voted(Vote::No, refusal) => (api::Vote::No, refusal.map(refusal_to_wire)),
        Reply::Voted(Vote::Forgotten, _) => (api::Vote::Forgotten, None),
        Reply::Voted(Vote::Unknown, refusal) => (api::Vote::Unknown, refusal.map(refusal_to_wire)),
        Reply::Unknown(cause) => {
            (api::Vote::Unknown, Some(refusal_to_wire(Refusal::new("PARTICIPANT_UNAVAILABLE", cause))))
        }
        Reply::Settled(_) | Reply::Ended(_) | Reply::Stepped(..) | Reply::Compensated(_) => (api::Vote::Unknown, None),
    }
}

/// An acknowledgement. Whatever is none is to be sent again.
pub fn acknowledgement(reply: Reply) -> api::Acknowledgement {
    match reply {
        Reply::Settled(Settle::Apply | Settle::Release | Settle::InsertAborted | Settle::Already)
        | Reply::Compensated(Compensate::Undo | Compensate::InsertTombstone | Compensate::Already)
        | Reply::Ended(End::Delete | End::Already) => api::Acknowledgement::Done,
        Reply::Settled(Settle::Ignore) | Reply::Compensated(Compensate::Ignore) => api::Acknowledgement::Ignored,
        Reply::Settled(Settle::Alarm) | Reply::Ended(End::Alarm) => api::Acknowledgement::Alarm,
        Reply::Ended(End::Later) | Reply::Unknown(_) | Reply::Voted(..) | Reply::Stepped(..) => {
            api::Acknowledgement::Retry
        }
    }
}

/// A log row.
pub fn branch(row: Row) -> api::Branch {
    api::Branch {
        transaction: Some(row.transaction.into()),
        state: state(row.state).into(),
        participants: row.participants,
        owner_id: row.owner_id,
        refusal: row.refusal.map(refusal_to_wire),
        create_time: Some(timestamp(row.create_time)),
        decide_time: row.decide_time.map(timestamp),
    }
}

pub(super) fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    SystemTime::from(time).into()
}

fn state(state: BranchState) -> api::BranchState {
    match state {
        BranchState::Prepared => api::BranchState::Prepared,
        BranchState::Committed => api::BranchState::Committed,
        BranchState::Aborted => api::BranchState::Aborted,
    }
}

/// The state to filter by; none for all.
pub fn state_filter(state: i32) -> Result<Option<BranchState>, Status> {
    match api::BranchState::try_from(state) {
        Ok(api::BranchState::Unspecified) => Ok(None),
        Ok(api::BranchState::Prepared) => Ok(Some(BranchState::Prepared)),
        Ok(api::BranchState::Committed) => Ok(Some(BranchState::Committed)),
        Ok(api::BranchState::Aborted) => Ok(Some(BranchState::Aborted)),
        Err(_) => Err(status::invalid("state", format!("{state} is no state of a branch"))),
    }
}

/// A check of an invariant.
pub fn check(check: Check) -> api::InvariantCheck {
    let violation = |violation: Violation| api::InvariantViolation {
        transaction_id: violation.transaction_id,
        subject: violation.subject,
        detail: violation.detail,
    };
    api::InvariantCheck {
        invariant: check.invariant.to_owned(),
        checked_count: check.checked_count,
        violations: check.violations.into_iter().take(MAX_VIOLATIONS).map(violation).collect(),
    }
}

/// The writer is gone: the process stops.
pub fn stopped(stopped: Stopped) -> Status {
    let message = format!("the participant is stopping: {stopped}");
    status::unavailable("SHUTTING_DOWN", message, &BTreeMap::new(), Duration::from_millis(200))
}

/// A task of this process ended early; its log says why.
pub fn ended_early(error: &tokio::task::JoinError) -> Status {
    tracing::error!(%error, "a task ended early");
    status::error(Code::Internal, "INTERNAL", "the service's log says why", &BTreeMap::new())
}
