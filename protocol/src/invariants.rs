//! The invariants across the databases, checked on plain facts read from them.
//!
//! The facts may be read one after the other while the system works, so a violation found in them is a candidate: read
//! its transactions again after a moment and check once more. What is really broken stays broken, because everything
//! checked here is about states that never change again, or about states that had to change by now.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use crate::Decision;
use crate::branch::BranchState;
use crate::record::RecordState;

/// A transaction's id: its UUID as a number.
pub type TransactionId = u128;

/// The invariants, under the names used everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// No transaction is committed at one participant and aborted at another.
    Atomicity,
    /// What is committed was prepared by every participant.
    Validity,
    /// A decision never changes.
    DecisionStability,
    /// What was answered as accepted never aborts, what was answered as rejected never commits.
    AnswerHonesty,
    /// The coordinator's record and the participants' logs agree.
    Agreement,
    /// What is held is held for a transaction in doubt.
    NoOrphanHolds,
    /// 0 <= held <= on hand.
    NoOversell,
    /// Every booking sums to zero, and the balances are what was booked.
    MoneyConserved,
    /// At most one attempt at a request takes effect.
    OneOrderPerRequest,
    /// Nothing stays in doubt long after its deadline.
    InDoubtResolves,
}

impl Invariant {
    /// All of them, in the order they are reported.
    pub const ALL: [Invariant; 10] = [
        Invariant::Atomicity,
        Invariant::Validity,
        Invariant::DecisionStability,
        Invariant::AnswerHonesty,
        Invariant::Agreement,
        Invariant::NoOrphanHolds,
        Invariant::NoOversell,
        Invariant::MoneyConserved,
        Invariant::OneOrderPerRequest,
        Invariant::InDoubtResolves,
    ];

    /// Its public name.
    pub fn name(self) -> &'static str {
        match self {
            Invariant::Atomicity => "atomicity",
            Invariant::Validity => "validity",
            Invariant::DecisionStability => "decision-stability",
            Invariant::AnswerHonesty => "answer-honesty",
            Invariant::Agreement => "agreement",
            Invariant::NoOrphanHolds => "no-orphan-holds",
            Invariant::NoOversell => "no-oversell",
            Invariant::MoneyConserved => "money-conserved",
            Invariant::OneOrderPerRequest => "one-order-per-request",
            Invariant::InDoubtResolves => "in-doubt-resolves",
        }
    }

    /// The invariant of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Invariant::ALL.into_iter().find(|invariant| invariant.name() == name)
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a client was told about its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAnswer {
    /// It took effect.
    Accepted,
    /// It did not, and never will.
    Rejected,
    /// Nobody knew.
    Unknown,
}

/// A coordinator's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFact {
    /// The transaction.
    pub transaction: TransactionId,
    /// Its state.
    pub state: RecordState,
    /// The state that was decided first, where one was.
    pub first_decision: Option<Decision>,
    /// The names of its participants.
    pub participants: Vec<String>,
    /// Its deadline.
    pub deadline_unix_ms: i64,
    /// Whose request it is.
    pub client_id: String,
    /// The request; empty if the client gave it no name.
    pub request_id: String,
    /// Whether the attempt holds the request.
    pub holds_request: bool,
    /// What the client was told, where that is recorded.
    pub client_answer: Option<ClientAnswer>,
}

/// A participant's log row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchFact {
    /// The transaction.
    pub transaction: TransactionId,
    /// Whose row it is.
    pub participant: String,
    /// Its state.
    pub state: BranchState,
    /// The names of all participants; empty on a row that a fence or an abort wrote.
    pub participants: Vec<String>,
    /// The transaction's deadline.
    pub deadline_unix_ms: i64,
}

/// What a service shows its readers of a transaction, such as the state of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownFact {
    /// The transaction.
    pub transaction: TransactionId,
    /// What it is shown as; `None` while pending.
    pub decision: Option<Decision>,
}

/// What was read from the databases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The coordinator's records.
    pub records: Vec<RecordFact>,
    /// The log rows of all participants.
    pub branches: Vec<BranchFact>,
    /// What is shown.
    pub shown: Vec<ShownFact>,
}

/// What time means for the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// When the facts were read.
    pub now_unix_ms: i64,
    /// How long after its deadline a transaction may be in doubt.
    pub in_doubt_grace_ms: i64,
    /// How far the watermarks stay behind the clock: what is older may have been collected.
    pub watermark_lag_ms: i64,
}

impl Clock {
    fn may_be_collected(&self, deadline_unix_ms: i64) -> bool {
        deadline_unix_ms.saturating_add(self.watermark_lag_ms) <= self.now_unix_ms
    }

    fn overdue(&self, deadline_unix_ms: i64) -> bool {
        deadline_unix_ms.saturating_add(self.in_doubt_grace_ms) < self.now_unix_ms
    }
}

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The transactions concerned.
    pub transactions: Vec<TransactionId>,
    /// What is wrong.
    pub detail: String,
}

/// One invariant, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which one.
    pub invariant: Invariant,
    /// How many things were checked.
    pub checked_count: u64,
    /// What violates it; empty if it holds.
    pub violations: Vec<Violation>,
}

impl Check {
    fn new(invariant: Invariant) -> Self {
        Check { invariant, checked_count: 0, violations: Vec::new() }
    }

    fn violated(&mut self, transaction: TransactionId, detail: String) {
        self.violations.push(Violation { transactions: vec![transaction], detail });
    }
}

/// Everything known about one transaction.
#[derive(Default)]
struct Known<'a> {
    record: Option<&'a RecordFact>,
    branches: Vec<&'a BranchFact>,
    shown: Option<Decision>,
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

/// Checks every invariant that shows across the databases: all but [`Invariant::NoOversell`] and
/// [`Invariant::MoneyConserved`], which each participant can see for itself.
pub fn check(facts: &Facts, clock: &Clock) -> Vec<Check> {
    let mut transactions: BTreeMap<TransactionId, Known> = BTreeMap::new();
    for record in &facts.records {
        transactions.entry(record.transaction).or_default().record = Some(record);
    }
    for row in &facts.branches {
        transactions.entry(row.transaction).or_default().branches.push(row);
    }
    for shown in &facts.shown {
        transactions.entry(shown.transaction).or_default().shown = shown.decision;
    }
    vec![
        atomicity(&transactions),
        validity(&transactions, clock),
        decision_stability(&transactions),
        answer_honesty(&transactions),
        agreement(&transactions, clock),
        no_orphan_holds(&transactions, clock),
        one_order_per_request(&transactions),
        in_doubt_resolves(&transactions, clock),
    ]
}

type Transactions<'a> = BTreeMap<TransactionId, Known<'a>>;

fn atomicity(transactions: &Transactions) -> Check {
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

fn validity(transactions: &Transactions, clock: &Clock) -> Check {
    let mut check = Check::new(Invariant::Validity);
    for (id, known) in transactions.iter().filter(|(_, known)| known.takes_effect()) {
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

fn decision_stability(transactions: &Transactions) -> Check {
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

fn answer_honesty(transactions: &Transactions) -> Check {
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

fn agreement(transactions: &Transactions, clock: &Clock) -> Check {
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

fn no_orphan_holds(transactions: &Transactions, clock: &Clock) -> Check {
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

fn one_order_per_request(transactions: &Transactions) -> Check {
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

fn in_doubt_resolves(transactions: &Transactions, clock: &Clock) -> Check {
    let mut check = Check::new(Invariant::InDoubtResolves);
    for (id, known) in transactions {
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000_000;
    const RECENT: i64 = NOW - 10_000;
    const ANCIENT: i64 = NOW - 10_000_000;
    const CLOCK: Clock = Clock { now_unix_ms: NOW, in_doubt_grace_ms: 2_000, watermark_lag_ms: 600_000 };

    fn names() -> Vec<String> {
        ["inventory", "order", "payment"].map(str::to_owned).to_vec()
    }

    fn record(transaction: TransactionId, state: RecordState) -> RecordFact {
        let first_decision = match state {
            RecordState::Staging => None,
            RecordState::Committed => Some(Decision::Commit),
            RecordState::Aborted => Some(Decision::Abort),
        };
        RecordFact {
            transaction,
            state,
            first_decision,
            participants: names(),
            deadline_unix_ms: RECENT,
            client_id: "shop".to_owned(),
            request_id: format!("request-{transaction}"),
            holds_request: true,
            client_answer: match state {
                RecordState::Staging => None,
                RecordState::Committed => Some(ClientAnswer::Accepted),
                RecordState::Aborted => Some(ClientAnswer::Rejected),
            },
        }
    }

    fn rows(transaction: TransactionId, state: BranchState) -> Vec<BranchFact> {
        let row = |participant| BranchFact {
            transaction,
            participant,
            state,
            participants: names(),
            deadline_unix_ms: RECENT,
        };
        names().into_iter().map(row).collect()
    }

    /// One committed and one aborted transaction, as they should be.
    fn sound() -> Facts {
        Facts {
            records: vec![record(1, RecordState::Committed), record(2, RecordState::Aborted)],
            branches: [rows(1, BranchState::Committed), rows(2, BranchState::Aborted)].concat(),
            shown: vec![
                ShownFact { transaction: 1, decision: Some(Decision::Commit) },
                ShownFact { transaction: 2, decision: Some(Decision::Abort) },
            ],
        }
    }

    fn violated(facts: &Facts) -> Vec<Invariant> {
        let violated = |check: &Check| !check.violations.is_empty();
        check(facts, &CLOCK).iter().filter(|check| violated(check)).map(|check| check.invariant).collect()
    }

    #[test]
    fn sound_facts_hold_and_are_counted() {
        assert_eq!(violated(&sound()), []);
        for check in check(&sound(), &CLOCK) {
            let in_doubt = matches!(check.invariant, Invariant::NoOrphanHolds | Invariant::InDoubtResolves);
            assert_eq!(check.checked_count > 0, !in_doubt, "{}", check.invariant);
        }
    }

    #[test]
    fn a_transaction_under_way_violates_nothing() {
        let mut facts = sound();
        let mut staging = record(3, RecordState::Staging);
        staging.deadline_unix_ms = NOW + 1_000;
        facts.records.push(staging);
        facts.branches.extend(rows(3, BranchState::Prepared).into_iter().take(2).map(|mut row| {
            row.deadline_unix_ms = NOW + 1_000;
            row
        }));
        facts.shown.push(ShownFact { transaction: 3, decision: None });
        // Accepted implicitly: a row may be committed before the record says so.
        facts.records.push(record(4, RecordState::Staging));
        facts.branches.extend(rows(4, BranchState::Committed));
        assert_eq!(violated(&facts), [Invariant::InDoubtResolves]);
        facts.records.last_mut().unwrap().deadline_unix_ms = NOW;
        assert_eq!(violated(&facts), []);
    }

    #[test]
    fn atomicity_is_violated_by_a_commit_beside_an_abort() {
        let mut facts = sound();
        facts.records.push(record(3, RecordState::Staging));
        facts.records[2].deadline_unix_ms = NOW;
        facts.branches.extend(rows(3, BranchState::Committed));
        facts.branches.last_mut().unwrap().state = BranchState::Aborted;
        // A commit that one participant never prepared is invalid as well.
        assert_eq!(violated(&facts), [Invariant::Atomicity, Invariant::Validity]);
    }

    #[test]
    fn validity_is_violated_by_a_commit_that_a_participant_does_not_know() {
        let mut facts = sound();
        facts.branches.retain(|row| row.transaction != 1 || row.participant != "payment");
        assert_eq!(violated(&facts), [Invariant::Validity]);
        // Long ago: collected.
        facts.records[0].deadline_unix_ms = ANCIENT;
        assert_eq!(violated(&facts), []);
        // But never while another participant is still in doubt.
        facts.branches[0].state = BranchState::Prepared;
        facts.branches[0].deadline_unix_ms = NOW;
        assert_eq!(violated(&facts), [Invariant::Validity]);
    }

    #[test]
    fn decision_stability_is_violated_by_a_record_that_changed_its_mind() {
        let mut facts = sound();
        facts.records[1].first_decision = Some(Decision::Commit);
        facts.records[1].client_answer = None;
        assert!(violated(&facts).contains(&Invariant::DecisionStability));
        let mut facts = sound();
        facts.records[0].state = RecordState::Staging;
        facts.records[0].deadline_unix_ms = NOW;
        assert_eq!(violated(&facts), [Invariant::DecisionStability]);
    }

    #[test]
    fn answer_honesty_is_violated_by_an_answer_that_did_not_last() {
        let mut facts = sound();
        facts.records[1].client_answer = Some(ClientAnswer::Accepted);
        assert_eq!(violated(&facts), [Invariant::AnswerHonesty]);
        let mut facts = sound();
        facts.records[0].client_answer = Some(ClientAnswer::Rejected);
        assert_eq!(violated(&facts), [Invariant::AnswerHonesty]);
        let mut facts = sound();
        facts.shown[0].decision = Some(Decision::Abort);
        assert_eq!(violated(&facts), [Invariant::AnswerHonesty]);
        // Doubt that was said to be doubt is honest either way.
        let mut facts = sound();
        facts.records[0].client_answer = Some(ClientAnswer::Unknown);
        assert_eq!(violated(&facts), []);
    }

    #[test]
    fn agreement_is_violated_by_a_log_that_contradicts_the_record() {
        let mut facts = sound();
        for row in facts.branches.iter_mut().filter(|row| row.transaction == 2) {
            row.state = BranchState::Committed;
        }
        assert!(violated(&facts).contains(&Invariant::Agreement));
        // Committed without any record.
        let mut facts = sound();
        facts.records.remove(0);
        assert_eq!(violated(&facts), [Invariant::Agreement]);
        for row in &mut facts.branches {
            row.deadline_unix_ms = ANCIENT;
        }
        assert_eq!(violated(&facts), []);
    }

    #[test]
    fn no_orphan_holds_is_violated_by_a_hold_of_a_settled_transaction() {
        let mut facts = sound();
        facts.branches[4].state = BranchState::Prepared;
        assert_eq!(violated(&facts), [Invariant::NoOrphanHolds, Invariant::InDoubtResolves]);
        facts.branches[4].deadline_unix_ms = NOW - 1_000;
        assert_eq!(violated(&facts), []);
    }

    #[test]
    fn one_order_per_request_is_violated_by_two_effects_or_two_holders() {
        let mut facts = sound();
        facts.records[1].request_id = facts.records[0].request_id.clone();
        assert_eq!(violated(&facts), [Invariant::OneOrderPerRequest]); // both hold it
        facts.records[1].holds_request = false;
        assert_eq!(violated(&facts), []); // an attempt that lost
        facts.records.push(RecordFact { holds_request: false, ..record(3, RecordState::Committed) });
        facts.records[2].request_id = facts.records[0].request_id.clone();
        facts.branches.extend(rows(3, BranchState::Committed));
        assert_eq!(violated(&facts), [Invariant::OneOrderPerRequest]); // both took effect
        facts.records[2].client_id = "another shop".to_owned();
        assert_eq!(violated(&facts), []);
    }

    #[test]
    fn in_doubt_resolves_is_violated_by_what_waits_past_its_deadline() {
        let mut facts = sound();
        facts.records.push(record(3, RecordState::Staging));
        assert_eq!(violated(&facts), [Invariant::InDoubtResolves]);
        let mut facts = sound();
        facts.branches.extend(rows(3, BranchState::Prepared));
        let found = check(&facts, &CLOCK).into_iter().find(|check| check.invariant == Invariant::InDoubtResolves);
        let found = found.unwrap();
        assert_eq!((found.checked_count, found.violations.len()), (3, 3));
        assert_eq!(found.violations[0].transactions, [3]);
    }

    #[test]
    fn names_are_found_again() {
        for invariant in Invariant::ALL {
            assert_eq!(Invariant::of_name(invariant.name()), Some(invariant));
        }
        assert_eq!(Invariant::of_name("agreeableness"), None);
    }
}
