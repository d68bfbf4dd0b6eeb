//! A coordinator's lease, and its search for transactions that nobody drives any more, as in
//! `coordinator/src/recover/{lease,takeover}.rs`.
use super::coordinator::Ask;
use super::message::{Answer, Listed, Query, Tx};
use super::owner::Drive;
use super::plan::{LEASE_MS, PARTICIPANTS};
use super::process::Wake;
use super::recovery::Asker;
use super::{World, note};

const BEAT_US: u64 = LEASE_MS as u64 * 250;
const LOOK_EVERY_US: u64 = 500_000;
const RETRY_US: u64 = 100_000;

/// A search under way.
#[derive(Debug, Default)]
pub struct TakeOver {
    /// Participants that have not answered yet.
    left: usize,
    /// What they have answered.
    listed: [Vec<Listed>; PARTICIPANTS],
    /// Own rows that the last round found without a driver.
    suspects: Vec<(usize, Tx)>,
}

impl World {
    pub(super) fn lease(&mut self, c: usize) {
        let query = if self.coordinators[c].serving { Query::KeepLease } else { Query::TakeLease };
        self.query(c, Ask::Lease, query);
    }

    pub(super) fn lease_answered(&mut self, c: usize, answer: &Answer) {
        let serving = self.coordinators[c].serving;
        match answer {
            Answer::Done if !serving => {
                note!(self, "coordinator-{}: has its lease", c + 1);
                self.coordinators[c].serving = true;
                self.wake_after_us(c, BEAT_US, Wake::Lease);
                self.wake_after_us(c, 0, Wake::TakeOver);
                self.wake_after_us(c, self.plan.collect_ms * 1_000, Wake::Collect);
            }
            Answer::Superseded => self.kill_process(c),
            _ => self.wake_after_us(c, if serving { BEAT_US } else { RETRY_US }, Wake::Lease),
        }
    }

    pub(super) fn take_over(&mut self, c: usize) {
        self.query(c, Ask::Abandoned, Query::Abandoned);
    }

    pub(super) fn abandoned_answered(&mut self, c: usize, answer: Answer) {
        if let Answer::Transactions(abandoned) = answer {
            for tx in abandoned {
                if !self.drives(c, tx) {
                    self.start_run(c, tx, Asker::Nobody);
                }
            }
        }
        self.coordinators[c].takeover.left = PARTICIPANTS;
        for participant in 0..PARTICIPANTS {
            self.list(c, participant);
        }
    }

    fn drives(&self, c: usize, tx: Tx) -> bool {
        self.coordinators[c].drives.contains_key(&tx)
    }

    pub(super) fn listed(&mut self, c: usize, participant: usize, answer: Answer) {
        let takeover = &mut self.coordinators[c].takeover;
        takeover.listed[participant] = match answer {
            Answer::Rows(rows) => rows,
            _ => Vec::new(),
        };
        takeover.left = takeover.left.saturating_sub(1);
        if takeover.left == 0 {
            // Read after the rows, so that a coordinator that has just started counts as alive.
            self.query(c, Ask::LiveOwners, Query::LiveOwners);
        }
    }

    pub(super) fn owners_answered(&mut self, c: usize, answer: Answer) {
        self.wake_after_us(c, LOOK_EVERY_US, Wake::TakeOver);
        let listed = std::mem::take(&mut self.coordinators[c].takeover.listed);
        let suspects = std::mem::take(&mut self.coordinators[c].takeover.suspects);
        let Answer::Owners(live) = answer else { return };
        let mut next = Vec::new();
        for (participant, rows) in listed.into_iter().enumerate() {
            for Listed { tx, owner } in rows {
                if self.drives(c, tx) {
                    continue;
                }
                if owner.coordinator == c && owner.incarnation == self.processes[c].incarnation {
                    if !suspects.contains(&(participant, tx)) {
                        next.push((participant, tx));
                        continue;
                    }
                } else if live.contains(&owner) {
                    continue;
                }
                self.start_run(c, tx, Asker::Nobody);
            }
        }
        self.coordinators[c].takeover.suspects = next;
    }

    /// Whether a coordinator still drives something: at the end none should.
    pub(super) fn is_busy(&self, c: usize) -> bool {
        self.coordinators[c].drives.values().any(Drive::listens) || !self.coordinators[c].runs.is_empty()
    }
}
