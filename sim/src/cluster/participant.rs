//! A participant's process: answers calls once its writer has, sweeps what is in doubt, collects.
use std::collections::BTreeMap;

use super::fault::Mend;
use super::message::{Answer, Entry, Message, Node, Reply, Tx};
use super::plan::{COORDINATORS, NAMES};
use super::process::Wake;
use super::storage::{Item, ReplyTo, Writer};
use super::{Event, World, note};
use protocol::branch::BranchState;
use protocol::recovery::Outcome;

const SWEEP_EVERY_US: u64 = 500_000;
const RECOVERED_WITHIN_US: u64 = 5_000_000;

/// What a participant's process keeps in memory.
#[derive(Debug, Default)]
pub struct Participant {
    /// Writes the log.
    pub writer: Writer,
    calls: BTreeMap<u64, Call>,
    /// Recoveries asked for: of what, and of which coordinator.
    swept: BTreeMap<u64, (Tx, usize)>,
}

/// A call that is being answered.
#[derive(Debug)]
struct Call {
    replies: Vec<Reply>,
    left: usize,
}

impl World {
    pub(super) fn start_participant(&mut self, p: usize) {
        self.participants[p] = Participant::default();
        let place = Node::Participant(p).place();
        self.wake_after_us(place, SWEEP_EVERY_US, Wake::Sweep);
        self.wake_after_us(place, self.plan.collect_ms * 1_000, Wake::Collect);
    }

    fn has_database(&self, p: usize) -> bool {
        !self.disks[p].down && !self.network.cut_from_database[Node::Participant(p).place()]
    }

    pub(super) fn write_asked(&mut self, p: usize, ask: u64, entries: Vec<Entry>) {
        let call = self.participants[p].calls.entry(ask).or_insert(Call { replies: Vec::new(), left: 0 });
        // A doubled message is carried out a second time, under the same number.
        call.replies.resize(entries.len().max(call.replies.len()), Reply::Unknown);
        call.left += entries.len();
        let items = entries.into_iter().enumerate();
        let items: Vec<Item> =
            items.map(|(place, entry)| Item { entry, reply: ReplyTo::Call { call: ask, place } }).collect();
        self.submit(Node::Participant(p).place(), items);
    }

    pub(super) fn call_replied(&mut self, p: usize, ask: u64, place: usize, reply: Reply) {
        let Some(call) = self.participants[p].calls.get_mut(&ask) else { return };
        call.replies[place] = reply;
        call.left -= 1;
        if call.left == 0
            && let Some(call) = self.participants[p].calls.remove(&ask)
        {
            let answer = Answer::Replies(call.replies);
            self.send(Node::Participant(p), super::network::asker(ask), Message::Answered { ask, answer });
        }
    }

    pub(super) fn list_asked(&mut self, p: usize, ask: u64) {
        let answer = match self.has_database(p) {
            true => Answer::Rows(self.logs[p].read().prepared().collect()),
            false => Answer::Failed,
        };
        self.send(Node::Participant(p), super::network::asker(ask), Message::Answered { ask, answer });
    }

    pub(super) fn horizon_asked(&mut self, p: usize, ask: u64, horizon_ms: i64, has_ended: bool) {
        if self.logs[p].unflushed(0) > 0 && self.rng.chance(self.plan.dies_after_lazy) {
            let delay_us = self.rng.below(2_000);
            self.after_us(delay_us, Event::Mend(Mend::DatabaseDies(p)));
        }
        let answer = match self.has_database(p) && p < self.plan.confirming {
            true => Answer::Horizon(self.confirm_horizon(p, horizon_ms, has_ended)),
            false => Answer::Failed,
        };
        self.send(Node::Participant(p), super::network::asker(ask), Message::Answered { ask, answer });
    }

    /// Asks about what is in doubt past its deadline; not while the last round is under way.
    pub(super) fn sweep(&mut self, p: usize) {
        let place = Node::Participant(p).place();
        self.wake_after_us(place, SWEEP_EVERY_US, Wake::Sweep);
        if !self.has_database(p) || !self.participants[p].swept.is_empty() {
            return;
        }
        let now_ms = self.clock_ms(place);
        let rows = self.logs[p].read().rows().filter(|(_, row)| row.state == BranchState::Prepared);
        let overdue = rows.map(|(tx, _)| tx).filter(|tx| self.witness.attempts[*tx].deadline_ms < now_ms);
        for tx in overdue.collect::<Vec<_>>() {
            self.ask_for_recovery(p, tx, 0);
        }
    }

    fn ask_for_recovery(&mut self, p: usize, tx: Tx, coordinator: usize) {
        let place = Node::Participant(p).place();
        let ask = self.new_ask(place);
        self.participants[p].swept.insert(ask, (tx, coordinator));
        self.wake_after_us(place, RECOVERED_WITHIN_US, Wake::GiveUp(ask));
        self.send(Node::Participant(p), Node::Coordinator(coordinator), Message::Recover { tx, ask: Some(ask) });
    }

    pub(super) fn recovery_unanswered(&mut self, p: usize, ask: u64) {
        self.recovery_answered(p, ask, None);
    }

    pub(super) fn recovery_answered(&mut self, p: usize, ask: u64, outcome: Option<Outcome>) {
        let Some((tx, coordinator)) = self.participants[p].swept.remove(&ask) else { return };
        match outcome {
            Some(Outcome::Forgotten) => {
                note!(self, "{}: T{tx} is forgotten", NAMES[p]);
                let item = Item { entry: Entry::Forgotten(tx), reply: ReplyTo::Sweeper };
                self.submit(Node::Participant(p).place(), [item]);
            }
            Some(Outcome::Decided(_)) => {}
            Some(Outcome::InDoubt) | None if coordinator + 1 < COORDINATORS => {
                self.ask_for_recovery(p, tx, coordinator + 1);
            }
            Some(Outcome::InDoubt) | None => {}
        }
    }

    pub(super) fn collect_rows(&mut self, p: usize) {
        self.wake_after_us(Node::Participant(p).place(), self.plan.collect_ms * 1_000, Wake::Collect);
        if self.has_database(p) {
            self.delete_rows(p);
        }
    }
}
