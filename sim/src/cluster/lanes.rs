//! A coordinator's lanes to a participant: one batched PREPARE in flight while the next collects, and decisions sent
//! until each is acknowledged, as in `coordinator/src/participants`.
use std::collections::{BTreeMap, VecDeque};

use super::coordinator::Ask;
use super::message::{Answer, Entry, Reply, Tx};
use super::owner::Drive;
use super::process::Wake;
use super::{World, note};
use protocol::branch::Settle;
use protocol::invariants::Invariant;
use protocol::{Decision, Vote};

const FIRST_PAUSE_US: u64 = 20_000;
const LONGEST_PAUSE_US: u64 = 250_000;

/// PREPAREs to one participant.
#[derive(Debug, Default)]
pub struct PrepareLane {
    queue: Vec<Tx>,
    busy: bool,
}

/// A decision that waits for its acknowledgement.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    decision: Decision,
    duplicate: bool,
    /// How often the attempt's own drive waits for it.
    drives: u32,
}

/// COMMITs and ABORTs to one participant; one entry per transaction.
#[derive(Debug, Default)]
pub struct DecisionLane {
    ready: VecDeque<Tx>,
    waiting: BTreeMap<Tx, Waiting>,
    busy: bool,
    /// Answers that the batch in flight still waits for: those of its commits and those of its aborts.
    in_flight: u8,
    failed: bool,
    pause_us: u64,
}

impl World {
    pub(super) fn prepare_asked(&mut self, c: usize, participant: usize, tx: Tx) {
        self.coordinators[c].prepares[participant].queue.push(tx);
        self.send_prepares(c, participant);
    }

    fn send_prepares(&mut self, c: usize, participant: usize) {
        let coordinator = &mut self.coordinators[c];
        let lane = &mut coordinator.prepares[participant];
        if lane.busy {
            return;
        }
        let mut txs = std::mem::take(&mut lane.queue);
        // Whoever no longer waits takes its PREPARE back.
        txs.retain(|tx| coordinator.drives.get(tx).is_some_and(Drive::listens));
        if !txs.is_empty() {
            lane.busy = true;
            let entries = txs.iter().copied().map(Entry::Prepare).collect();
            self.call(c, participant, Ask::Prepares { participant, txs }, entries);
        }
    }

    pub(super) fn prepared(&mut self, c: usize, participant: usize, txs: Vec<Tx>, answer: &Answer) {
        self.coordinators[c].prepares[participant].busy = false;
        self.send_prepares(c, participant);
        for (place, tx) in txs.into_iter().enumerate() {
            let vote = match answer {
                Answer::Replies(replies) => match replies.get(place) {
                    Some(Reply::Voted(vote)) => *vote,
                    _ => Vote::Unknown,
                },
                _ => Vote::Unknown,
            };
            self.voted(c, tx, participant, vote);
        }
    }

    /// Has a decision sent until it is acknowledged; false if the lane refuses it.
    pub(super) fn lane_takes(
        &mut self,
        c: usize,
        participant: usize,
        tx: Tx,
        decision: Decision,
        duplicate: bool,
        by_drive: bool,
    ) -> bool {
        let lane = &mut self.coordinators[c].decisions[participant];
        if let Some(waiting) = lane.waiting.get_mut(&tx) {
            if waiting.decision != decision {
                let detail = format!("T{tx}: asked to send {decision:?} while {:?} is being sent", waiting.decision);
                self.violated(Invariant::DecisionStability, detail);
                return false;
            }
            waiting.drives += u32::from(by_drive);
            return true;
        }
        lane.waiting.insert(tx, Waiting { decision, duplicate, drives: u32::from(by_drive) });
        lane.ready.push_back(tx);
        if !lane.busy {
            lane.pause_us = FIRST_PAUSE_US;
            lane.busy = true;
            self.wake_after_us(c, 0, Wake::Lane(participant));
        }
        true
    }

    /// Sends what is ready: the commits in one call, the aborts in another.
    pub(super) fn lane_goes_on(&mut self, c: usize, participant: usize) {
        let lane = &mut self.coordinators[c].decisions[participant];
        let (mut commits, mut aborts) = (Vec::new(), Vec::new());
        for tx in std::mem::take(&mut lane.ready) {
            match lane.waiting.get(&tx) {
                Some(Waiting { decision: Decision::Commit, .. }) => commits.push(Entry::Commit { tx, durable: false }),
                Some(Waiting { duplicate, .. }) => aborts.push(Entry::Abort { tx, duplicate: *duplicate }),
                None => {}
            }
        }
        lane.failed = false;
        lane.in_flight = u8::from(!commits.is_empty()) + u8::from(!aborts.is_empty());
        lane.busy = lane.in_flight > 0;
        for entries in [commits, aborts].into_iter().filter(|entries| !entries.is_empty()) {
            let tx = |entry: &Entry| match entry {
                Entry::Commit { tx, .. } | Entry::Abort { tx, .. } => Some(*tx),
                _ => None,
            };
            let txs = entries.iter().filter_map(tx).collect();
            self.call(c, participant, Ask::Decisions { participant, txs }, entries);
        }
    }

    pub(super) fn decisions_answered(&mut self, c: usize, participant: usize, txs: Vec<Tx>, answer: &Answer) {
        for (place, tx) in txs.into_iter().enumerate() {
            let reply = match answer {
                Answer::Replies(replies) => replies.get(place).copied(),
                _ => None,
            };
            let lane = &mut self.coordinators[c].decisions[participant];
            match reply {
                Some(Reply::Settled(settle)) => {
                    let waiting = lane.waiting.remove(&tx);
                    if settle == Settle::Alarm {
                        note!(self, "coordinator-{}: ALARM for T{tx}", c + 1);
                    }
                    for _ in 0..waiting.map_or(0, |waiting| waiting.drives) {
                        self.settled(c, tx);
                    }
                }
                _ => {
                    lane.failed = true;
                    lane.ready.push_back(tx);
                }
            }
        }
        let lane = &mut self.coordinators[c].decisions[participant];
        lane.in_flight = lane.in_flight.saturating_sub(1);
        if lane.in_flight > 0 {
            return;
        }
        let pause_us = if lane.failed { lane.pause_us } else { 0 };
        lane.pause_us = if lane.failed { (lane.pause_us * 2).min(LONGEST_PAUSE_US) } else { FIRST_PAUSE_US };
        self.wake_after_us(c, pause_us, Wake::Lane(participant));
    }
}
