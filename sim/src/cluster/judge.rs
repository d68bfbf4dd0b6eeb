//! The verdict: what the databases hold, given to the production checks of [`protocol::invariants`], together with every
//! answer that a client got; and the numbers of the books.
use super::books::{Books, Holding, Order};
use super::message::Tx;
use super::plan::{COORDINATORS, NAMES, PARTICIPANTS};
use super::{DATABASE_CLOCK, World};
use protocol::Decision;
use protocol::branch::BranchState;
use protocol::invariants::{self, BranchFact, ClientAnswer, Clock, Facts, Invariant, RecordFact, ShownFact};
use protocol::record::RecordState;

impl World {
    /// What is not resolved yet, if anything is.
    pub(super) fn unresolved(&self) -> Option<String> {
        if let Some((tx, _)) = self.records.read().all().find(|(_, record)| record.state == RecordState::Staging) {
            return Some(format!("T{tx} is STAGING"));
        }
        for (p, log) in self.logs.iter().enumerate() {
            if let Some((tx, _)) = log.read().rows().find(|(_, row)| row.state == BranchState::Prepared) {
                return Some(format!("T{tx} is PREPARED at {}", NAMES[p]));
            }
        }
        if let Some(job) = self.jobs.iter().position(|job| !job.definite) {
            return Some(format!("order {job} has no definite answer"));
        }
        (0..COORDINATORS).find(|c| self.is_busy(*c)).map(|c| format!("coordinator-{} is not done", c + 1))
    }

    /// The last checks, when all is resolved.
    pub(super) fn judge(&mut self) {
        self.check_facts(0);
        let answers = self.witness.attempts.iter().flat_map(|attempt| attempt.told.iter().copied());
        if let Some(detail) = answers.into_iter().find_map(|told| self.witness.dishonest(told)) {
            self.violated(Invariant::AnswerHonesty, detail);
        }
        let effective: Vec<Tx> =
            (0..self.witness.attempts.len()).filter(|tx| self.witness.attempts[*tx].seen.takes_effect()).collect();
        for p in 0..PARTICIPANTS {
            if let Some((invariant, detail)) = self.wrong_sums(p, &effective) {
                self.violated(invariant, detail);
            }
        }
    }

    /// Has the production checks look at the databases. `in_doubt_grace_ms`: how long something may be in doubt.
    pub(super) fn check_facts(&mut self, in_doubt_grace_ms: i64) {
        let clock = Clock {
            now_unix_ms: self.clock_ms(DATABASE_CLOCK),
            in_doubt_grace_ms,
            // Clocks that were ahead have collected earlier, and deadlines of clocks behind lie earlier.
            watermark_lag_ms: self.plan.watermark_lag_ms - 2 * self.plan.skew_ms,
        };
        for check in invariants::check(&self.facts(), &clock) {
            if let Some(violation) = check.violations.first() {
                let detail = format!("{:?}: {}", violation.transactions, violation.detail);
                self.violated(check.invariant, detail);
            }
        }
    }

    fn facts(&self) -> Facts {
        let names = NAMES.map(str::to_owned).to_vec();
        let mut facts = Facts::default();
        for (tx, record) in self.records.read().all() {
            let attempt = &self.witness.attempts[tx];
            let told = attempt.told.iter().filter(|told| told.about == tx);
            let told = told.map(|told| match told.decision() {
                Some(Decision::Commit) => ClientAnswer::Accepted,
                Some(Decision::Abort) => ClientAnswer::Rejected,
                None => ClientAnswer::Unknown,
            });
            facts.records.push(RecordFact {
                transaction: tx as u128,
                state: record.state,
                first_decision: record.first_decision,
                participants: names.clone(),
                deadline_unix_ms: attempt.deadline_ms,
                client_id: "client".to_owned(),
                request_id: attempt.request.to_string(),
                holds_request: record.holds_request,
                client_answer: told.min_by_key(|answer| *answer == ClientAnswer::Unknown),
            });
        }
        for (p, log) in self.logs.iter().enumerate() {
            for (tx, row) in log.read().rows() {
                facts.branches.push(BranchFact {
                    transaction: tx as u128,
                    participant: NAMES[p].to_owned(),
                    state: row.state,
                    participants: if row.owner.is_some() { names.clone() } else { Vec::new() },
                    deadline_unix_ms: self.witness.attempts[tx].deadline_ms,
                });
            }
            if let Books::Orders(orders) = &log.read().books {
                for (tx, order) in orders.iter().enumerate().filter_map(|(tx, order)| Some((tx, (*order)?))) {
                    let decision = match order {
                        Order::Pending => None,
                        Order::Confirmed => Some(Decision::Commit),
                        Order::Refused => Some(Decision::Abort),
                    };
                    facts.shown.push(ShownFact { transaction: tx as u128, decision });
                }
            }
        }
        facts
    }

    /// Holds a participant's books against its log: at any time, in one local transaction.
    pub(super) fn check_books(&mut self, p: usize) {
        let log = self.logs[p].read();
        let holdings = log.books.holdings();
        if let Some(place) = holdings.iter().position(|holding| !holding.is_sound()) {
            let detail = format!("{} has {:?} of {place}", NAMES[p], holdings[place]);
            return self.violated(Invariant::NoOversell, detail);
        }
        let mut held = [0i64; 8];
        for listed in log.prepared() {
            let content = &self.witness.contents[self.witness.attempts[listed.tx].content];
            for (place, amount) in log.books.asks(content) {
                held[place] += amount;
            }
        }
        let wrong = (0..holdings.len()).find(|place| held[*place] != holdings[*place].held);
        if let Some(place) = wrong {
            let detail =
                format!("{} holds {:?} of {place}, its prepared rows {}", NAMES[p], holdings[place], held[place]);
            self.violated(Invariant::NoOrphanHolds, detail);
        }
    }

    /// What is wrong with a participant's sums in the end.
    fn wrong_sums(&self, p: usize, effective: &[Tx]) -> Option<(Invariant, String)> {
        let books = &self.logs[p].read().books;
        let content = |tx: &Tx| &self.witness.contents[self.witness.attempts[*tx].content];
        let begun = match books {
            Books::Inventory(_) => &self.plan.stock,
            Books::Orders(orders) => {
                let shows = |tx: Tx| orders.get(tx).copied().flatten() == Some(Order::Confirmed);
                let wrong = (0..orders.len()).find(|tx| shows(*tx) != effective.contains(tx))?;
                return Some((Invariant::Agreement, format!("T{wrong} is shown as {:?}", orders[wrong])));
            }
            Books::Payment { accounts, bookings, revenue } => {
                let mut booked: Vec<Tx> = bookings.iter().map(|booking| booking.tx).collect();
                booked.sort_unstable();
                let unbalanced = bookings.iter().any(|booking| {
                    let paid = content(&booking.tx);
                    booking.taken != booking.earned || (paid.account, paid.amount) != (booking.account, booking.taken)
                });
                let all: i64 = accounts.iter().map(|account| account.on_hand).sum::<i64>() + revenue;
                if unbalanced || booked != effective || all != self.plan.balances.iter().sum::<i64>() {
                    let detail = format!("{accounts:?}, revenue {revenue}, booked {booked:?} of {effective:?}");
                    return Some((Invariant::MoneyConserved, detail));
                }
                &self.plan.balances
            }
        };
        let mut left: Vec<Holding> = begun.iter().map(|on_hand| Holding { on_hand: *on_hand, held: 0 }).collect();
        for (place, amount) in effective.iter().flat_map(|tx| books.asks(content(tx))) {
            left[place].on_hand -= amount;
        }
        let invariant = if p == 0 { Invariant::NoOversell } else { Invariant::MoneyConserved };
        (books.holdings() != left).then(|| (invariant, format!("{:?} is left, not {left:?}", books.holdings())))
    }
}
