//! The invariants across the databases, checked on plain facts read from them.
//!
//! The facts may be read one after the other while the system works, so a violation found in them is a candidate: read
//! its transactions again after a moment and check once more. What is really broken stays broken, because everything
//! checked here is about states that never change again, or about states that had to change by now.
mod checks;
mod sagas;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::Decision;
use crate::branch::BranchState;
use crate::record::RecordState;
use crate::saga::SagaState;
use crate::step::StepRow;
use checks::Transactions;

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
    /// 0 <= held + reserved <= on hand.
    NoOversell,
    /// The stock is what its movements come to.
    StockConserved,
    /// Nothing is for sale that somebody waits for who would take it.
    WaitersFirst,
    /// Every booking sums to zero, and the balances are what was booked.
    MoneyConserved,
    /// At most one attempt at a request takes effect.
    OneOrderPerRequest,
    /// Nothing stays in doubt long after its deadline.
    InDoubtResolves,
    /// A saga that has ended is wholly done or wholly compensated.
    SagaWholeness,
    /// An order is what its history comes to, and that follows the table of transitions.
    OrderLife,
}

impl Invariant {
    /// All of them, in the order they are reported.
    pub const ALL: [Invariant; 14] = [
        Invariant::Atomicity,
        Invariant::Validity,
        Invariant::DecisionStability,
        Invariant::AnswerHonesty,
        Invariant::Agreement,
        Invariant::NoOrphanHolds,
        Invariant::NoOversell,
        Invariant::StockConserved,
        Invariant::WaitersFirst,
        Invariant::MoneyConserved,
        Invariant::OneOrderPerRequest,
        Invariant::InDoubtResolves,
        Invariant::SagaWholeness,
        Invariant::OrderLife,
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
            Invariant::StockConserved => "stock-conserved",
            Invariant::WaitersFirst => "waiters-first",
            Invariant::MoneyConserved => "money-conserved",
            Invariant::OneOrderPerRequest => "one-order-per-request",
            Invariant::InDoubtResolves => "in-doubt-resolves",
            Invariant::SagaWholeness => "saga-wholeness",
            Invariant::OrderLife => "order-life",
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

/// A coordinator's row of a saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SagaFact {
    /// The transaction.
    pub transaction: TransactionId,
    /// Where it stands.
    pub state: SagaState,
    /// An operator has paused it.
    pub paused: bool,
    /// Its steps: their names, and who carries each out.
    pub steps: Vec<(String, String)>,
}

/// A participant's row of a saga's step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFact {
    /// The transaction.
    pub transaction: TransactionId,
    /// Whose row it is.
    pub participant: String,
    /// The step's name.
    pub step: String,
    /// Its state.
    pub state: StepRow,
    /// The latest deadline known here.
    pub deadline_unix_ms: i64,
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
    /// The coordinator's sagas.
    pub sagas: Vec<SagaFact>,
    /// The rows of steps of all participants.
    pub steps: Vec<StepFact>,
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

/// Checks every invariant that shows across the databases: all but [`Invariant::NoOversell`],
/// [`Invariant::StockConserved`], [`Invariant::WaitersFirst`] and [`Invariant::MoneyConserved`], which each participant can
/// see for itself.
pub fn check(facts: &Facts, clock: &Clock) -> Vec<Check> {
    let mut transactions: Transactions = Transactions::new();
    for record in &facts.records {
        transactions.entry(record.transaction).or_default().record = Some(record);
    }
    for row in &facts.branches {
        transactions.entry(row.transaction).or_default().branches.push(row);
    }
    for saga in &facts.sagas {
        transactions.entry(saga.transaction).or_default().saga = Some(saga);
    }
    for row in &facts.steps {
        transactions.entry(row.transaction).or_default().steps.push(row);
    }
    for shown in &facts.shown {
        transactions.entry(shown.transaction).or_default().shown = shown.decision;
    }
    vec![
        checks::atomicity(&transactions),
        checks::validity(&transactions, clock),
        checks::decision_stability(&transactions),
        checks::answer_honesty(&transactions),
        checks::agreement(&transactions, clock),
        checks::no_orphan_holds(&transactions, clock),
        checks::one_order_per_request(&transactions),
        checks::in_doubt_resolves(&transactions, clock),
        sagas::wholeness(&transactions, clock),
    ]
}
