//! Who sees everything: what ever was, kept because rows are changed, lost and collected, and what every client was told.
//! Each new fact is held against all that is known of its transaction and its request.
use super::message::{Owner, Tx};
use super::plan::{Content, PARTICIPANTS};
use protocol::Decision;
use protocol::invariants::Invariant;
use protocol::owner::Outcome;

/// What a client was told, and which attempt that is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The attempt that its call began.
    pub by: Tx,
    /// The attempt whose outcome it is.
    pub about: Tx,
    /// What it was told.
    pub outcome: Outcome,
}

impl Told {
    /// What it says of the request: placed, or not and never; none if that is not said.
    pub fn decision(&self) -> Option<Decision> {
        match self.outcome {
            Outcome::Accepted | Outcome::OfHolder(Decision::Commit) => Some(Decision::Commit),
            Outcome::Rejected { .. } | Outcome::Aborted | Outcome::OfHolder(Decision::Abort) => Some(Decision::Abort),
            Outcome::RequestReused | Outcome::Unknown => None,
        }
    }
}

/// What ever was of a transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The record was COMMITTED, or a client was told so.
    pub committed: bool,
    /// The record was ABORTED, or a client was told so.
    pub aborted: bool,
    /// The participants whose rows were COMMITTED, one bit each.
    pub branch_committed: u8,
    /// The participants whose rows were ABORTED.
    pub branch_aborted: u8,
    /// The participants whose rows were PREPARED.
    pub prepared: u8,
}

impl Seen {
    /// Committed, as far as anybody could see.
    pub fn takes_effect(&self) -> bool {
        self.committed || self.branch_committed != 0
    }
}

/// One fact about a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The record says so, or a client was told so.
    Decided(Decision),
    /// A row was written by this participant.
    Prepared(usize),
    /// Likewise.
    BranchCommitted(usize),
    /// Likewise.
    BranchAborted(usize),
}

/// An attempt: what names it, and what ever was of it.
#[derive(Debug)]
pub struct Attempt {
    /// The request.
    pub request: usize,
    /// What is asked for.
    pub content: usize,
    /// Its deadline, by its owner's clock.
    pub deadline_ms: i64,
    /// Who drives it.
    pub owner: Owner,
    /// What ever was.
    pub seen: Seen,
    /// Which life of the request its record took, if it took the request.
    pub life: Option<u32>,
    /// The calls to which this attempt's outcome was told.
    pub told: Vec<Told>,
}

/// A request, named by a client.
#[derive(Debug, Default)]
pub struct Request {
    /// The attempts at it, in their order.
    pub attempts: Vec<Tx>,
    /// How often it was rightly forgotten: past its retention it is another request.
    pub life: u32,
}

/// A violated invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// When, in microseconds after the start.
    pub at_us: u64,
    /// What is wrong.
    pub detail: String,
}

/// Everything that ever was.
#[derive(Debug, Default)]
pub struct Witness {
    /// All contents.
    pub contents: Vec<Content>,
    /// All requests.
    pub requests: Vec<Request>,
    /// All attempts.
    pub attempts: Vec<Attempt>,
}

impl Witness {
    /// Takes a fact; says what it violates.
    pub fn saw(&mut self, tx: Tx, fact: Fact) -> Option<(Invariant, String)> {
        let seen = &mut self.attempts[tx].seen;
        let before = *seen;
        match fact {
            Fact::Decided(Decision::Commit) => seen.committed = true,
            Fact::Decided(Decision::Abort) => seen.aborted = true,
            Fact::Prepared(p) => seen.prepared |= 1 << p,
            Fact::BranchCommitted(p) => seen.branch_committed |= 1 << p,
            Fact::BranchAborted(p) => seen.branch_aborted |= 1 << p,
        }
        let seen = *seen;
        if seen == before {
            return None;
        }
        let broken = |invariant, what: &str| Some((invariant, format!("T{tx}: {what} ({seen:?})")));
        if seen.committed && seen.aborted {
            return broken(Invariant::DecisionStability, "committed and aborted");
        }
        if seen.branch_committed != 0 && seen.branch_aborted != 0 {
            return broken(Invariant::Atomicity, "committed at one participant, aborted at another");
        }
        if (seen.committed && seen.branch_aborted != 0) || (seen.aborted && seen.branch_committed != 0) {
            return broken(Invariant::Agreement, "a row contradicts the record");
        }
        if seen.takes_effect() && seen.prepared != (1 << PARTICIPANTS) - 1 {
            return broken(Invariant::Validity, "committed, but not prepared everywhere");
        }
        if seen.takes_effect() && !before.takes_effect() {
            return self.took_effect(tx);
        }
        None
    }

    /// Takes what a client is told; says what it violates.
    pub fn told(&mut self, told: Told) -> Option<(Invariant, String)> {
        self.attempts[told.about].told.push(told);
        if told.by != told.about {
            self.attempts[told.by].told.push(told);
        }
        self.dishonest(told).map(|detail| (Invariant::AnswerHonesty, detail)).or_else(|| match told.outcome {
            Outcome::Accepted => self.saw(told.by, Fact::Decided(Decision::Commit)),
            Outcome::Rejected { .. } | Outcome::Aborted => self.saw(told.by, Fact::Decided(Decision::Abort)),
            Outcome::OfHolder(_) | Outcome::RequestReused | Outcome::Unknown => None,
        })
    }

    /// Why an answer is not true, as far as can be seen now.
    pub fn dishonest(&self, told: Told) -> Option<String> {
        let (by, about) = (&self.attempts[told.by], &self.attempts[told.about]);
        let detail = |what: &str| Some(format!("{told:?}, but {what}"));
        if told.decision().is_some() && by.content != about.content {
            return detail("that is about another content");
        }
        match told.decision() {
            Some(Decision::Commit) if about.seen.aborted || about.seen.branch_aborted != 0 => detail("it aborted"),
            Some(Decision::Abort) => {
                let effective = self.same_life(told.about).find(|other| {
                    self.attempts[*other].content == about.content && self.attempts[*other].seen.takes_effect()
                })?;
                detail(&format!("T{effective} took effect"))
            }
            None if told.outcome == Outcome::RequestReused => {
                let attempts = &self.requests[by.request].attempts;
                let reused = attempts.iter().any(|other| self.attempts[*other].content != by.content);
                if reused { None } else { detail("the request stands for nothing else") }
            }
            _ => None,
        }
    }

    fn took_effect(&self, tx: Tx) -> Option<(Invariant, String)> {
        let request = self.attempts[tx].request;
        if let Some(other) = self.same_life(tx).find(|other| *other != tx && self.attempts[*other].seen.takes_effect())
        {
            return Some((
                Invariant::OneOrderPerRequest,
                format!("T{tx} and T{other} both took effect for R{request}"),
            ));
        }
        let answers = self.same_life(tx).flat_map(|other| self.attempts[other].told.iter().copied());
        let lie = answers.into_iter().find_map(|told| self.dishonest(told));
        lie.map(|detail| (Invariant::AnswerHonesty, detail))
    }

    /// The attempts at the same request that it was not forgotten between.
    fn same_life(&self, tx: Tx) -> impl Iterator<Item = Tx> {
        let request = &self.requests[self.attempts[tx].request];
        let life = |tx: Tx| self.attempts[tx].life.unwrap_or(request.life);
        let wanted = life(tx);
        request.attempts.iter().copied().filter(move |other| life(*other) == wanted)
    }
}
