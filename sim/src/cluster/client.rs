//! Clients: each places an order, repeats its call until it has a definite answer, and sometimes once more after that.
use super::message::{Message, Node};
use super::plan::COORDINATORS;
use super::witness::{Request, Told};
use super::{Counted, Event, World, note};
use protocol::owner::Outcome;

/// How long after the order's own timeout a client waits for the answer to its call.
const PATIENCE_MS: u64 = 2_500;

/// An order that a client wants placed.
#[derive(Debug)]
pub struct Job {
    /// Under which request id.
    pub request: usize,
    /// What it asks for.
    pub content: usize,
    /// Time until it is given up.
    pub timeout_ms: u64,
    /// The first call goes through both coordinators at once.
    both: bool,
    calls: u32,
    /// Not before this time is there anything to do.
    next_us: u64,
    /// Repeats after a definite answer.
    repeats: u32,
    /// It has one.
    pub definite: bool,
}

impl World {
    pub(super) fn draw_jobs(&mut self) {
        let bursts = self.rng.coin();
        for place in 0..self.plan.jobs {
            let content = self.plan.content(&mut self.rng);
            self.witness.contents.push(content);
            let reused = place > 0 && self.rng.chance(self.plan.reused);
            let request =
                if reused { self.rng.place(self.witness.requests.len()) } else { self.witness.requests.len() };
            if !reused {
                self.witness.requests.push(Request::default());
            }
            let (low, high) = self.plan.timeout_ms;
            let start_ms = self.rng.below(self.plan.heal_ms - 1_000);
            let start_ms = if bursts { start_ms / 1_000 * 1_000 } else { start_ms };
            self.jobs.push(Job {
                request,
                content: place,
                timeout_ms: self.rng.between(low, high),
                both: self.rng.chance(self.plan.both),
                calls: 0,
                next_us: 0,
                repeats: if self.rng.chance(self.plan.repeats) { self.rng.between(1, 2) as u32 } else { 0 },
                definite: false,
            });
            note!(self, "order {place}: R{request}, {content:?}");
            self.after_ms(start_ms, Event::Client(place));
        }
    }

    pub(super) fn client_steps(&mut self, job: usize) {
        let of = &mut self.jobs[job];
        if self.now_us < of.next_us || (of.definite && of.repeats == 0) {
            return;
        }
        if of.definite {
            of.repeats -= 1;
            self.coverage.add(Counted::RepeatedCall, 1);
        }
        let is_first = of.calls == 0;
        let both = of.both && is_first;
        of.next_us = self.now_us + (of.timeout_ms + PATIENCE_MS) * 1_000;
        let next_us = of.next_us;
        self.schedule.at(next_us, Event::Client(job));
        let coordinator = self.rng.place(COORDINATORS);
        for c in (0..COORDINATORS).filter(|c| both || *c == coordinator) {
            let call = self.jobs[job].calls;
            self.jobs[job].calls += 1;
            let is_retry = !is_first && self.rng.coin();
            note!(self, "order {job}: call {call} to coordinator-{}", c + 1);
            self.send(Node::Clients, Node::Coordinator(c), Message::Place { job, call, is_retry });
        }
    }

    pub(super) fn client_receives(&mut self, message: Message) {
        let Message::Placed { job, call, answer } = message else { return };
        note!(self, "order {job}: call {call} is answered {answer:?}");
        let definite = answer.is_some_and(is_definite);
        let of = &mut self.jobs[job];
        let was_definite = of.definite;
        of.definite |= definite;
        if answer.is_none() {
            self.count(Counted::NoAnswer);
        }
        let of = &self.jobs[job];
        // One answer is enough for the next step; others to the same order change nothing but the verdict.
        if (definite && !was_definite && of.repeats > 0)
            || !(of.definite || self.network.perfect && call + 1 < of.calls)
        {
            let pause_ms = if definite { self.rng.between(1, 3_000) } else { self.rng.between(20, 600) };
            let next_us = self.now_us + pause_ms * 1_000;
            self.jobs[job].next_us = next_us;
            self.schedule.at(next_us, Event::Client(job));
        }
    }
}

/// Whether the client need not ask again.
fn is_definite(told: Told) -> bool {
    told.outcome != Outcome::Unknown
}
