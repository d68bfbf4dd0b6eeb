//! A coordinator's garbage collection, as in `coordinator/src/collect.rs`: END for what is durably COMMITTED everywhere,
//! then delete.
use super::coordinator::Ask;
use super::message::{Answer, Entry, Query, Reply, Tx};
use super::plan::PARTICIPANTS;
use super::process::Wake;
use super::{World, note};
use protocol::branch::{End, Settle};

/// A round under way.
#[derive(Debug)]
pub struct Collecting {
    stage: Stage,
    /// What everybody has acknowledged so far.
    left: Vec<Tx>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Advancing the watermark.
    Advancing,
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
        self.coordinators[c].collecting = Some(Collecting { stage: Stage::Advancing, left: Vec::new() });
        self.query(c, Ask::Records, Query::Advance);
    }

    pub(super) fn records_answered(&mut self, c: usize, answer: Answer) {
        let Some(collecting) = &mut self.coordinators[c].collecting else { return };
        match (collecting.stage, answer) {
            (Stage::Advancing, Answer::Done) => {
                collecting.stage = Stage::ToEnd;
                self.query(c, Ask::Records, Query::ToEnd);
            }
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
