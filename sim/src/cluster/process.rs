//! Processes: alive, standing still, or dead, and their timers.
use super::message::{Message, Node, Tx};
use super::plan::COORDINATORS;
use super::{Counted, Event, World, note};

/// One process slot. A name keeps its place; each start is an incarnation of its own.
#[derive(Debug, Default)]
pub struct Process {
    /// Counted from the first start.
    pub incarnation: u32,
    /// Whether it runs.
    pub up: bool,
    /// Until when it stands still.
    pub paused_until_us: u64,
}

impl Process {
    /// When it can next attend to something; never if it is dead.
    pub fn awake_at(&self, now_us: u64) -> Option<u64> {
        self.up.then_some(self.paused_until_us.max(now_us))
    }
}

/// A timer of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The writer has waited long enough for something urgent.
    Linger,
    /// Nobody has answered in time.
    GiveUp(u64),
    /// An attempt's deadline has passed.
    Deadline(Tx),
    /// Look at the holder of the attempt's request.
    Look(Tx),
    /// Try the forced abort of the attempt's record again.
    AbortAgain(Tx),
    /// The decision lane to this participant goes on.
    Lane(usize),
    /// Give a sign of life.
    Lease,
    /// Look for abandoned transactions.
    TakeOver,
    /// Collect garbage.
    Collect,
    /// Look for what is in doubt.
    Sweep,
}

impl World {
    /// Starts a process; it begins with nothing in its memory.
    pub(super) fn start_process(&mut self, place: usize) {
        let process = &mut self.processes[place];
        process.incarnation += 1;
        process.up = true;
        process.paused_until_us = 0;
        note!(self, "{} starts, incarnation {}", Node::process(place), self.processes[place].incarnation);
        match Node::process(place) {
            Node::Coordinator(c) => self.start_coordinator(c),
            Node::Participant(p) => self.start_participant(p),
            Node::Clients => {}
        }
    }

    /// Kills a process.
    pub(super) fn kill_process(&mut self, place: usize) {
        self.processes[place].up = false;
        self.count(Counted::ProcessCrash);
        note!(self, "{} dies", Node::process(place));
        match Node::process(place) {
            Node::Coordinator(c) => self.coordinators[c] = Default::default(),
            Node::Participant(p) => self.participants[p] = Default::default(),
            Node::Clients => {}
        }
    }

    /// Sets a timer of a process.
    pub(super) fn wake_after_us(&mut self, process: usize, delay_us: u64, wake: Wake) {
        let incarnation = self.processes[process].incarnation;
        self.after_us(delay_us, Event::Wake { process, incarnation, wake });
    }

    pub(super) fn wakes(&mut self, process: usize, wake: Wake) {
        let participant = process.wrapping_sub(COORDINATORS);
        match wake {
            Wake::Linger => self.start_batch(process),
            Wake::GiveUp(ask) if process >= COORDINATORS => self.recovery_unanswered(participant, ask),
            Wake::GiveUp(ask) => self.answered(process, ask, super::Answer::Failed),
            Wake::Deadline(tx) => self.deadline(process, tx),
            Wake::Look(tx) => self.look_at_holder(process, tx),
            Wake::AbortAgain(tx) => self.abort_own_record(process, tx),
            Wake::Lane(participant) => self.lane_goes_on(process, participant),
            Wake::Lease => self.lease(process),
            Wake::TakeOver => self.take_over(process),
            Wake::Collect if process >= COORDINATORS => self.collect_rows(participant),
            Wake::Collect => self.collect_records(process),
            Wake::Sweep => self.sweep(participant),
        }
    }

    pub(super) fn receives(&mut self, to: Node, message: Message) {
        match (to, message) {
            (Node::Coordinator(c), Message::Place { job, call, is_retry }) => self.place(c, job, call, is_retry),
            (Node::Coordinator(c), Message::Answered { ask, answer }) => self.answered(c, ask, answer),
            (Node::Coordinator(c), Message::Recover { tx, ask }) => self.asked_to_recover(c, tx, ask),
            (Node::Participant(p), Message::Write { ask, entries }) => self.write_asked(p, ask, entries),
            (Node::Participant(p), Message::List { ask }) => self.list_asked(p, ask),
            (Node::Participant(p), Message::Horizon { ask, horizon_ms, has_ended }) => {
                self.horizon_asked(p, ask, horizon_ms, has_ended);
            }
            (Node::Participant(p), Message::Recovered { ask, outcome }) => self.recovery_answered(p, ask, outcome),
            (_, message) => unreachable!("{to} is never sent {message:?}"),
        }
    }
}
