//! One function for each invariant.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    BranchFact, Check, ClientAnswer, Clock, Invariant, RecordFact, SagaFact, StepFact, TransactionId, Violation, sagas,
};
use crate::Decision;
use crate::branch::BranchState;
use crate::record::RecordState;

/// Everything known about one transaction.
#[derive(Default)]
pub(super) struct Known<'a> {
    pub(super) record: Option<&'a RecordFact>,
    pub(super) branches: Vec<&'a BranchFact>,
    pub(super) shown: Option<Decision>,
    pub(super) saga: Option<&'a SagaFact>,
    pub(super) steps: Vec<&'a StepFact>,
}

impl Known<'_> {
    fn at(&self, state: BranchState) -> Vec<&str> {
        self.branches.iter().filter(|row| row.state == state).map(|row| row.participant.as_str()).collect()
    }

    fn record_state(&self) -> Option<RecordState> {
        self.record.map(|record| record.state)
    }

    /// Committed, as far as anyone says so.
    fn takes_effect(&self) -> bool {
        self.record_state() == Some(RecordState::Committed)
            || self.shown == Some(Decision::Commit)
            || !self.at(BranchState::Committed).is_empty()
    }

    fn participants(&self) -> &[String] {
        let of_rows = || self.branches.iter().map(|row| row.participants.as_slice()).find(|list| !list.is_empty());
        self.record.map(|record| record.participants.as_slice()).or_else(of_rows).unwrap_or_default()
    }

    fn deadline_unix_ms(&self) -> Option<i64> {
        self.record
            .map(|record| record.deadline_unix_ms)
            .or_else(|| self.branches.first().map(|row| row.deadline_unix_ms))
    }
}

/// Everything known, by transaction.
pub(super) type Transactions<'a> = BTreeMap<TransactionId, Known<'a>>;

pub(super) fn atomicity(transactions: &Transactions) -> Check {
    let mut check = Check::new(Invariant::Atomicity);
    for (id, known) in transactions.iter().filter(|(_, known)| !known.branches.is_empty()) {
        check.checked_count += 1;
        let (committed, aborted) = (known.at(BranchState::Committed), known.at(BranchState::Aborted));
        if !committed.is_empty() && !aborted.is_empty() {
            let detail = format!("committed at {} but aborted at {}", committed.join(", "), aborted.join(", "));
            check.violated(*id, detail);
        }
    }
    check
}

pub(super) fn validity(transactions: &Transactions, clock: &Clock) -> Check {
    let mut check = Check::new(Invariant::Validity);
    // A saga has no branches; what it needs of its steps is saga-wholeness.
    for (id, known) in transactions.iter().filter(|(_, known)| known.saga.is_none() && known.takes_effect()) {
        check.checked_count += 1;
        let old = known.deadline_unix_ms().is_none_or(|deadline| clock.may_be_collected(deadline));
        // Rows are collected only once every one of them is committed.
        let may_be_collected = old && known.at(BranchState::Prepared).is_empty();
        let stands: BTreeSet<&str> = known.branches.iter().map(|row| row.participant.as_str()).collect();
        for participant in known.participants() {
            if !stands.contains(participant.as_str()) && !may_be_collected {
                check.violated(*id, format!("committed, but {participant} has no row of it"));
            }
        }
        for participant in known.at(BranchState::Aborted) {
            check.violated(*id, format!("committed, but {participant} never prepared it"));
        }
    }
    check
}

pub(super) fn decision_stability(transactions: &Transactions) -> Check {
    let mut check = Check::new(Invariant::DecisionStability);
    for (id, known) in transactions {
        let Some((first, state)) = known.record.and_then(|record| Some((record.first_decision?, record.state))) else {
            continue;
        };
        check.checked_count += 1;
        let (stays, contrary) = match first {
            Decision::Commit => (RecordState::Committed, BranchState::Aborted),
            Decision::Abort => (RecordState::Aborted, BranchState::Committed),
        };
        if state != stays {
            check.violated(*id, format!("decided {first:?} first, but the record says {state:?}"));
        }
        for participant in known.at(contrary) {
            check.violated(*id, format!("decided {first:?} first, but {participant} is {contrary:?}"));
        }
    }
    check
}

pub(super) fn answer_honesty(transactions: &Transactions) -> Check {
    let mut check = Check::new(Invariant::AnswerHonesty);
    for (id, known) in transactions {
        let answer = known.record.and_then(|record| record.client_answer);
        let told = match answer {
            Some(ClientAnswer::Accepted) => Some(("answered as accepted", Decision::Commit)),
            Some(ClientAnswer::Rejected) => Some(("answered as rejected", Decision::Abort)),
            Some(ClientAnswer::Unknown) | None => None,
        };
        let shown = known.shown.map(|decision| match decision {
            Decision::Commit => ("shown as confirmed", decision),
            Decision::Abort => ("shown as refused", decision),
        });
        for (how, decision) in told.into_iter().chain(shown) {
            check.checked_count += 1;
            let (record, branch) = match decision {
                Decision::Commit => (RecordState::Aborted, BranchState::Aborted),
                Decision::Abort => (RecordState::Committed, BranchState::Committed),
            };
            let contrary = known.at(branch);
            if known.record_state() == Some(record) {
                check.violated(*id, format!("{how}, but the record is {record:?}"));
            } else if !contrary.is_empty() {
                check.violated(*id, format!("{how}, but {branch:?} at {}", contrary.join(", ")));
            }
        }
    }
    check
}

pub(super) fn agreement(transactions: &Transactions, clock: &Clock) -> Check {
    let mut check = Check::new(Invariant::Agreement);
    for (id, known) in transactions.iter().filter(|(_, known)| !known.branches.is_empty()) {
        check.checked_count += 1;
        let contrary = match known.record_state() {
            Some(RecordState::Committed) => BranchState::Aborted,
            Some(RecordState::Aborted) | None => BranchState::Committed,
            Some(RecordState::Staging) => continue, // the decision is what the rows say
        };
        for row in known.branches.iter().filter(|row| row.state == contrary) {
            match known.record_state() {
                Some(state) => {
                    check.violated(*id, format!("the record is {state:?}, but {} is {contrary:?}", row.participant));
                }
                // A row whose END was lost may outlive its record.
                None if !clock.may_be_collected(row.deadline_unix_ms) => {
                    check.violated(*id, format!("{} is {contrary:?}, but no record stands", row.participant));
                }
                None => {}
            }
        }
    }
    check
}

pub(super) fn no_orphan_holds(transactions: &Transactions, clock: &Clock) -> Check {
    let mut check = Check::new(Invariant::NoOrphanHolds);
    for (id, known) in transactions {
        for row in known.branches.iter().filter(|row| row.state == BranchState::Prepared) {
            check.checked_count += 1;
            let settled = known.record_state().filter(|state| state.is_terminal());
            if let Some(state) = settled.filter(|_| clock.overdue(row.deadline_unix_ms)) {
                check.violated(*id, format!("{} still holds for it, but the record is {state:?}", row.participant));
            }
        }
    }
    check
}

/// The attempts at one request.
#[derive(Default)]
struct Attempts {
    holding: Vec<TransactionId>,
    effective: Vec<TransactionId>,
}

pub(super) fn one_order_per_request(transactions: &Transactions) -> Check {
    let mut check = Check::new(Invariant::OneOrderPerRequest);
    let mut requests: HashMap<(&str, &str), Attempts> = HashMap::new();
    for (id, known) in transactions {
        let Some(record) = known.record.filter(|record| !record.request_id.is_empty()) else { continue };
        let attempts = requests.entry((&record.client_id, &record.request_id)).or_default();
        if record.holds_request {
            attempts.holding.push(*id);
        }
        if known.takes_effect() {
            attempts.effective.push(*id);
        }
    }
    for ((client, request), attempts) in requests {
        check.checked_count += 1;
        for (what, transactions) in [("hold", attempts.holding), ("took effect for", attempts.effective)] {
            if transactions.len() > 1 {
                let detail = format!("{} attempts {what} request {request} of client {client}", transactions.len());
                check.violations.push(Violation { transactions, detail });
            }
        }
    }
    check.violations.sort_by(|a, b| a.transactions.cmp(&b.transactions));
    check
}

pub(super) fn in_doubt_resolves(transactions: &Transactions, clock: &Clock) -> Check {
    let mut check = Check::new(Invariant::InDoubtResolves);
    for (id, known) in transactions {
        if known.saga.is_some() {
            check.checked_count += u64::from(known.saga.is_some_and(|saga| !saga.state.is_ended()));
            if let Some(detail) = sagas::waiting(known, clock) {
                check.violated(*id, detail);
            }
            continue;
        }
        let staging = known.record.filter(|record| record.state == RecordState::Staging);
        let prepared = known.branches.iter().filter(|row| row.state == BranchState::Prepared);
        let waiting = staging
            .map(|record| ("the record is STAGING".to_owned(), record.deadline_unix_ms))
            .into_iter()
            .chain(prepared.map(|row| (format!("{} is in doubt", row.participant), row.deadline_unix_ms)));
        for (what, deadline_unix_ms) in waiting {
            check.checked_count += 1;
            if clock.overdue(deadline_unix_ms) {
                let late_ms = clock.now_unix_ms.saturating_sub(deadline_unix_ms);
                check.violated(*id, format!("{what} {late_ms} ms after the deadline"));
            }
        }
    }
    check
}
