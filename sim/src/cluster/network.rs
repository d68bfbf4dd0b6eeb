//! The network: loses, repeats, reorders, delays, and is cut in one direction or both.
use super::message::{Answer, CLIENTS, Message, Node};
use super::{Counted, Event, World, note};

/// Which ways are cut.
#[derive(Debug, Default)]
pub struct Network {
    /// From each node to each.
    pub cut: [[bool; CLIENTS + 1]; CLIENTS + 1],
    /// Processes that are cut from their databases.
    pub cut_from_database: [bool; CLIENTS],
    /// Faults are over: nothing is lost, repeated or late any more.
    pub perfect: bool,
}

impl World {
    /// Sends a message. Who sends what to whom is known from the message, but for the coordinator that sends.
    pub(super) fn send(&mut self, from: Node, to: Node, message: Message) {
        if !self.network.perfect {
            if self.network.cut[from.place()][to.place()] || self.rng.chance(self.plan.lost) {
                self.count(Counted::MessageLost);
                note!(self, "{from} -> {to}: LOST {message:?}");
                // Half of the losses are noticed, as a reset connection is.
                if self.rng.coin() {
                    let (at_us, failure) = (self.delay_us(), failure_of(from, &message));
                    if let Some(message) = failure {
                        self.after_us(at_us, Event::Arrive { to: from, message: Box::new(message) });
                    }
                }
                return;
            }
            if self.rng.chance(self.plan.twice) {
                self.count(Counted::MessageTwice);
                let most_us = if self.rng.coin() { 50_000 } else { self.plan.late_ms * 1_000 };
                let delay_us = self.delay_us() + self.rng.below(most_us);
                note!(self, "{from} -> {to}: DOUBLED {message:?}");
                self.after_us(delay_us, Event::Arrive { to, message: Box::new(message.clone()) });
            }
        }
        let mut delay_us = self.delay_us();
        if !self.network.perfect && self.rng.chance(self.plan.late) {
            self.count(Counted::MessageLate);
            delay_us += self.rng.below(self.plan.late_ms * 1_000);
            note!(self, "{from} -> {to}: LATE by {delay_us} us {message:?}");
        }
        self.after_us(delay_us, Event::Arrive { to, message: Box::new(message) });
    }

    /// A message reached a process that doesn't run: its sender sees a refused connection.
    pub(super) fn refused(&mut self, to: Node, message: Message) {
        let sender = match &message {
            Message::Place { .. } => Node::Clients,
            Message::Write { ask, .. }
            | Message::List { ask }
            | Message::Horizon { ask, .. }
            | Message::Recover { ask: Some(ask), .. } => asker(*ask),
            _ => return,
        };
        if let Some(failure) = failure_of(sender, &message) {
            self.send(to, sender, failure);
        }
    }

    /// A number for a question of this process.
    pub(super) fn new_ask(&mut self, process: usize) -> u64 {
        self.asks += 1;
        self.asks * PROCESSES + process as u64
    }

    fn delay_us(&mut self) -> u64 {
        100 + self.rng.below(self.plan.delay_us)
    }
}

/// More than there are processes: numbers of questions say who asks.
const PROCESSES: u64 = 8;

/// Who asks the question of this number.
pub fn asker(ask: u64) -> Node {
    Node::process((ask % PROCESSES) as usize)
}

/// What the sender of a question learns when it is known to have failed.
fn failure_of(sender: Node, message: &Message) -> Option<Message> {
    match message {
        Message::Place { job, call, .. } => Some(Message::Placed { job: *job, call: *call, answer: None }),
        Message::Write { ask, .. } | Message::List { ask } | Message::Horizon { ask, .. }
            if matches!(sender, Node::Coordinator(_)) =>
        {
            Some(Message::Answered { ask: *ask, answer: Answer::Failed })
        }
        Message::Recover { ask: Some(ask), .. } => Some(Message::Recovered { ask: *ask, outcome: None }),
        _ => None,
    }
}
