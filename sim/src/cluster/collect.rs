//! A coordinator's garbage collection, as in `coordinator/src/collect.rs`: END up to the horizon that all confirm, END of each
//! transaction for what is durably COMMITTED everywhere and stays behind, then delete.
use super::coordinator::Ask;
use super::message::{Answer, Entry, Query, Reply, Tx};
use super::plan::PARTICIPANTS;
use super::process::Wake;
use super::{Counted, World, note};
use crate::mutant::Mutant;
use protocol::branch::{End, Settle};
use protocol::collection;

/// A round under way.
#[derive(Debug)]
pub struct Collecting {
    stage: Stage,
    /// The horizon that all who were asked so far agree on; none if one has not answered.
    horizon_ms: Option<i64>,
    /// What everybody has acknowledged so far.
    left: Vec<Tx>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Advancing the watermark.
    Advancing,
    /// Reading up to which horizon all records are decided.
    Horizon,
    /// The horizon is confirmed, participant by participant.
    Confirming(usize),
    /// END up to the horizon, likewise.
    Ending(usize),
    /// Noting up to where all has ended.
    MarkingUpTo,
    /// Reading what may end.
    ToEnd,
    /// A durable COMMIT, participant by participant, then END likewise.
    Telling(usize),
    /// Noting what has ended.
    Marking,
    /// Deleting what may go.
    Deleting,
}

impl World {
    pub(super) fn collect_records(&mut self, c: usize) {
        let collecting = Collecting { stage: Stage::Advancing, horizon_ms: None, left: Vec::new() };
        self.coordinators[c].collecting = Some(collecting);
        self.query(c, Ask::Records, Query::Advance);
    }

    pub(super) fn records_answered(&mut self, c: usize, answer: Answer) {
        let Some(collecting) = &mut self.coordinators[c].collecting else { return };
        match (collecting.stage, answer) {
            (Stage::Advancing, Answer::Done) => {
                collecting.stage = Stage::Horizon;
                self.query(c, Ask::Records, Query::Horizon);
            }
            (Stage::Horizon, Answer::Horizon(horizon_ms)) => {
                collecting.horizon_ms = Some(horizon_ms);
                let place = if self.makes(Mutant::EndHorizonUnconfirmed) { PARTICIPANTS } else { 0 };
                self.go_on_with_horizon(c, Stage::Confirming(place));
            }
            (Stage::MarkingUpTo, Answer::Done) => self.read_to_end(c),
            (Stage::ToEnd, Answer::Transactions(to_end)) if to_end.is_empty() => self.delete(c),
            (Stage::ToEnd, Answer::Transactions(to_end)) => {
                collecting.left = to_end;
                self.tell_participant(c, 0);
            }
            (Stage::Marking, Answer::Done) => self.delete(c),
            // Deleted, or the database can't be reached: another round comes.
            _ => {
                self.coordinators[c].collecting = None;
                self.wake_after_us(c, self.plan.collect_ms * 1_000, Wake::Collect);
            }
        }
    }

    fn go_on_with_horizon(&mut self, c: usize, stage: Stage) {
        let Some(collecting) = &mut self.coordinators[c].collecting else { return };
        let Some(horizon_ms) = collecting.horizon_ms else { return self.read_to_end(c) };
        collecting.stage = stage;
        match stage {
            Stage::Confirming(PARTICIPANTS) => {
                self.count(Counted::HorizonEnded);
                note!(self, "coordinator-{}: all confirm {horizon_ms}", c + 1);
                self.go_on_with_horizon(c, Stage::Ending(0));
            }
            Stage::Ending(PARTICIPANTS) => {
                collecting.stage = Stage::MarkingUpTo;
                self.query(c, Ask::Records, Query::MarkEndedUpTo(horizon_ms));
            }
            Stage::Confirming(participant) => self.ask_horizon(c, participant, horizon_ms, false),
            Stage::Ending(participant) => self.ask_horizon(c, participant, horizon_ms, true),
            _ => unreachable!("{stage:?} is not about a horizon"),
        }
    }

    pub(super) fn horizon_answered(&mut self, c: usize, participant: usize, answer: &Answer) {
        let Some(collecting) = &mut self.coordinators[c].collecting else { return };
        let confirmed = match answer {
            Answer::Horizon(horizon_ms) => Some(*horizon_ms),
            _ => None,
        };
        let next = match collecting.stage {
            Stage::Confirming(place) if place == participant => Stage::Confirming(place + 1),
            Stage::Ending(place) if place == participant => Stage::Ending(place + 1),
            _ => return,
        };
        collecting.horizon_ms = collecting.horizon_ms.and_then(|own| collection::common_horizon(own, [confirmed]));
        self.go_on_with_horizon(c, next);
    }

    fn read_to_end(&mut self, c: usize) {
        if let Some(collecting) = &mut self.coordinators[c].collecting {
            collecting.stage = Stage::ToEnd;
            let below_ms = (self.plan.late_rounds * self.plan.collect_ms) as i64;
            self.query(c, Ask::Records, Query::ToEnd { below_ms });
        }
    }

    fn tell_participant(&mut self, c: usize, step: usize) {
        let Some(collecting) = &mut self.coordinators[c].collecting else { return };
        let txs = collecting.left.clone();
        if step == 2 * PARTICIPANTS || txs.is_empty() {
            collecting.stage = Stage::Marking;
            note!(self, "coordinator-{}: ended {txs:?}", c + 1);
            return self.query(c, Ask::Records, Query::MarkEnded(txs));
        }
        collecting.stage = Stage::Telling(step);
        let entry = |tx: &Tx| match step < PARTICIPANTS {
            true => Entry::Commit { tx: *tx, durable: true },
            false => Entry::End(*tx),
        };
        let entries = txs.iter().map(entry).collect();
        self.call(c, step % PARTICIPANTS, Ask::Collector { txs }, entries);
    }

    pub(super) fn collector_answered(&mut self, c: usize, txs: &[Tx], answer: &Answer) {
        let Some(collecting) = &mut self.coordinators[c].collecting else { return };
        let Stage::Telling(step) = collecting.stage else { return };
        let acknowledged = |place: usize| match answer {
            Answer::Replies(replies) => match replies.get(place) {
                Some(Reply::Settled(settle)) => *settle != Settle::Alarm,
                Some(Reply::Ended(end)) => matches!(end, End::Delete | End::Already),
                _ => false,
            },
            _ => false,
        };
        collecting.left = txs.iter().enumerate().filter(|(place, _)| acknowledged(*place)).map(|(_, tx)| *tx).collect();
        self.tell_participant(c, step + 1);
    }

    fn delete(&mut self, c: usize) {
        if let Some(collecting) = &mut self.coordinators[c].collecting {
            collecting.stage = Stage::Deleting;
            self.query(c, Ask::Records, Query::DeleteSettled);
        }
    }
}
