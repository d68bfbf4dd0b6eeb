//! The coordinators' database: records by the rules of [`protocol::record`], the unique index on requests, leases.
use super::database::Tables;
use super::message::{Answer, Entry, Owner, Query, Reply, Tx};
use super::plan::{COORDINATORS, LEASE_MS};
use super::witness::Fact;
use super::{Counted, DATABASE_CLOCK, World, note};
use crate::mutant::Mutant;
use protocol::Decision;
use protocol::collection::{self, may_delete_record};
use protocol::invariants::Invariant;
use protocol::record::{self, Abort, Commit, RecordState, Stage};

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Its state.
    pub state: RecordState,
    /// Whether its outcome is the request's.
    pub holds_request: bool,
    /// What was decided first; written once.
    pub first_decision: Option<Decision>,
    /// The participants were told END.
    pub ended: bool,
}

/// Which process is taken to live, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The process of this name.
    pub incarnation: u32,
    /// By the database's clock.
    pub until_ms: i64,
}

/// The tables.
#[derive(Debug, Default)]
pub struct Records {
    /// By transaction.
    records: Vec<Option<Record>>,
    watermark_ms: i64,
    leases: [Option<Lease>; COORDINATORS],
}

/// A changed row.
#[derive(Debug)]
pub enum Change {
    /// A record.
    Record(Tx, Option<Record>),
    /// The watermark.
    Watermark(i64),
    /// The lease of a name.
    Lease(usize, Option<Lease>),
}

impl Records {
    /// A transaction's record.
    pub fn get(&self, tx: Tx) -> Option<Record> {
        self.records.get(tx).copied().flatten()
    }

    /// All records.
    pub fn all(&self) -> impl Iterator<Item = (Tx, Record)> {
        self.records.iter().enumerate().filter_map(|(tx, record)| Some((tx, (*record)?)))
    }

    /// Whether a process is taken to live.
    pub fn lives(&self, owner: Owner, now_ms: i64) -> bool {
        self.leases[owner.coordinator]
            .is_some_and(|lease| lease.incarnation == owner.incarnation && lease.until_ms > now_ms)
    }
}

impl Tables for Records {
    type Change = Change;

    fn apply(&mut self, change: Change) -> Change {
        match change {
            Change::Record(tx, record) => {
                if self.records.len() <= tx {
                    self.records.resize(tx + 1, None);
                }
                Change::Record(tx, std::mem::replace(&mut self.records[tx], record))
            }
            Change::Watermark(to) => Change::Watermark(std::mem::replace(&mut self.watermark_ms, to)),
            Change::Lease(name, lease) => Change::Lease(name, std::mem::replace(&mut self.leases[name], lease)),
        }
    }
}

/// What an operation finds.
struct Found {
    own: Option<RecordState>,
    holds_request: bool,
    request_free: bool,
    below: bool,
}

impl World {
    /// The attempt whose record holds the request of this one.
    pub(super) fn holder(&self, tx: Tx) -> Option<Tx> {
        let attempts = &self.witness.requests[self.witness.attempts[tx].request].attempts;
        let holds = |tx: &Tx| self.records.read().get(*tx).is_some_and(|record| record.holds_request);
        attempts.iter().copied().find(holds)
    }

    /// Carries out a batch, kind by kind; an entry's reply at its place.
    pub(super) fn write_records(&mut self, entries: &[Entry], forced: bool) -> Vec<Reply> {
        let mut replies = vec![Reply::Unknown; entries.len()];
        let kind = |entry: &Entry| match entry {
            Entry::Stage(_) => 0,
            // Of one transaction the abort goes first.
            Entry::AbortRecord { .. } => 1,
            Entry::InsertAborted(_) => 2,
            Entry::CommitRecord(_) => 3,
            _ => 4,
        };
        for now in 0..=4 {
            for (place, entry) in entries.iter().enumerate().filter(|(_, entry)| kind(entry) == now) {
                replies[place] = self.write_record_entry(*entry);
            }
        }
        self.records.commit(forced, self.now_us);
        replies
    }

    fn write_record_entry(&mut self, entry: Entry) -> Reply {
        match entry {
            Entry::Stage(tx) => Reply::Staged(self.stage(tx)),
            Entry::AbortRecord { tx, .. } => Reply::Aborted(self.abort(tx)),
            Entry::InsertAborted(tx) => Reply::Aborted(self.insert_aborted(tx)),
            Entry::CommitRecord(tx) => Reply::Committed(self.commit(tx)),
            Entry::Finish { tx, decision } => {
                self.finish_record(tx, decision);
                Reply::Finished
            }
            other => unreachable!("{other:?} is for a participant's log"),
        }
    }

    fn find(&self, tx: Tx) -> Found {
        let own = self.records.read().get(tx);
        let below = self.witness.attempts[tx].deadline_ms <= self.records.read().watermark_ms;
        Found {
            own: own.map(|record| record.state),
            holds_request: own.is_some_and(|record| record.holds_request),
            request_free: self.makes(Mutant::RequestNotUnique) || self.holder(tx).is_none_or(|holder| holder == tx),
            below: below && !self.makes(Mutant::NoWatermark),
        }
    }

    fn stage(&mut self, tx: Tx) -> Stage {
        let found = self.find(tx);
        let stage = record::stage(found.own, found.holds_request, found.request_free, found.below);
        if stage == Stage::Staged && found.own.is_none() {
            self.write_record(tx, RecordState::Staging, true);
        }
        stage
    }

    fn abort(&mut self, tx: Tx) -> Abort {
        let found = self.find(tx);
        let abort = record::abort(found.own, found.holds_request, found.request_free, found.below);
        if let Abort::Aborted { holds_request } = abort {
            self.write_record(tx, RecordState::Aborted, holds_request);
        }
        abort
    }

    /// A recovery that found no record doesn't know the request, so its tombstone never takes it.
    fn insert_aborted(&mut self, tx: Tx) -> Abort {
        let mut found = self.find(tx);
        if self.makes(Mutant::CollectedReadAsAbsent) {
            found.below = false;
        }
        if self.makes(Mutant::NoTombstoneIfRequestHeld) && found.own.is_none() && !found.request_free {
            return Abort::Aborted { holds_request: false };
        }
        if self.makes(Mutant::TombstoneOverStaging) {
            return self.abort(tx);
        }
        let abort = record::insert_aborted(found.own, found.holds_request, false, found.below);
        if let Abort::Aborted { holds_request } = abort {
            if found.own.is_none() {
                self.count(Counted::Tombstone);
            }
            self.write_record(tx, RecordState::Aborted, holds_request);
        }
        abort
    }

    fn commit(&mut self, tx: Tx) -> Commit {
        let commit = record::commit(self.find(tx).own);
        if commit == Commit::Committed {
            let holds_request = self.find(tx).holds_request;
            self.write_record(tx, RecordState::Committed, holds_request);
        }
        commit
    }

    /// The owner's lazy write: it settles a STAGING record and touches no other.
    fn finish_record(&mut self, tx: Tx, decision: Option<Decision>) {
        let (Some(record), Some(decision)) = (self.records.read().get(tx), decision) else { return };
        match (record.state, decision) {
            (RecordState::Staging, Decision::Commit) => {
                self.commit(tx);
            }
            (RecordState::Staging, Decision::Abort) => {
                self.write_record(tx, RecordState::Aborted, record.holds_request);
            }
            (RecordState::Committed, Decision::Commit) | (RecordState::Aborted, Decision::Abort) => {}
            (state, decision) => {
                let detail = format!("T{tx} is {state:?}, and its owner decided {decision:?}");
                self.violated(Invariant::DecisionStability, detail);
            }
        }
    }

    fn write_record(&mut self, tx: Tx, state: RecordState, holds_request: bool) {
        let before = self.records.read().get(tx);
        let decision = match state {
            RecordState::Staging => None,
            RecordState::Committed => Some(Decision::Commit),
            RecordState::Aborted => Some(Decision::Abort),
        };
        let first_decision = before.and_then(|record| record.first_decision).or(decision);
        let ended = before.is_some_and(|record| record.ended);
        self.records.write(Change::Record(tx, Some(Record { state, holds_request, first_decision, ended })));
        if holds_request && before.is_none() {
            let life = self.witness.requests[self.witness.attempts[tx].request].life;
            self.witness.attempts[tx].life = Some(life);
        }
        if let Some(decision) = decision {
            self.saw(tx, Fact::Decided(decision));
        }
    }

    /// Carries out what goes past the writer.
    pub(super) fn query_runs(&mut self, c: usize, query: Query) -> Answer {
        let lost =
            self.network.cut_from_database[c] || (!self.network.perfect && self.rng.chance(self.plan.lost_commit));
        if lost {
            return Answer::Failed;
        }
        let database_ms = self.clock_ms(DATABASE_CLOCK);
        let records = self.records.read();
        match query {
            Query::Record(tx) => Answer::Record(records.get(tx).map(|record| record.state)),
            Query::Holder(tx) => {
                let holder = self.holder(tx);
                Answer::Holder(holder.and_then(|holder| Some((holder, records.get(holder)?.state))))
            }
            Query::Abandoned => {
                let overdue_ms = self.clock_ms(c) - 2 * LEASE_MS;
                let abandoned = |tx: Tx| {
                    let attempt = &self.witness.attempts[tx];
                    attempt.deadline_ms < overdue_ms || !records.lives(attempt.owner, database_ms)
                };
                let staging = records.all().filter(|(_, record)| record.state == RecordState::Staging);
                Answer::Transactions(staging.map(|(tx, _)| tx).filter(|tx| abandoned(*tx)).collect())
            }
            Query::LiveOwners => {
                let owners =
                    records.leases.iter().enumerate().filter_map(|(coordinator, lease)| {
                        Some(Owner { coordinator, incarnation: (*lease)?.incarnation })
                    });
                Answer::Owners(owners.filter(|owner| records.lives(*owner, database_ms)).collect())
            }
            Query::KeepLease | Query::TakeLease => self.write_lease(c, query == Query::TakeLease, database_ms),
            Query::Advance => {
                let watermark_ms = records.watermark_ms.max(self.clock_ms(c) - self.plan.watermark_lag_ms);
                self.records.write(Change::Watermark(watermark_ms));
                self.records.commit(true, self.now_us);
                Answer::Done
            }
            Query::Horizon => self.records_horizon(),
            Query::MarkEndedUpTo(horizon_ms) => {
                let up_to = |tx: Tx| self.witness.attempts[tx].deadline_ms <= horizon_ms;
                let ended = self
                    .records
                    .read()
                    .all()
                    .filter(|(tx, record)| record.state == RecordState::Committed && !record.ended && up_to(*tx));
                for (tx, record) in ended.collect::<Vec<_>>() {
                    self.records.write(Change::Record(tx, Some(Record { ended: true, ..record })));
                }
                self.records.commit(true, self.now_us);
                Answer::Done
            }
            Query::ToEnd { below_ms } => self.list_to_end(below_ms),
            Query::MarkEnded(ended) => {
                for tx in ended {
                    if let Some(record) = self.records.read().get(tx).filter(|it| it.state == RecordState::Committed) {
                        self.records.write(Change::Record(tx, Some(Record { ended: true, ..record })));
                    }
                }
                self.records.commit(true, self.now_us);
                Answer::Done
            }
            Query::DeleteSettled => self.delete_records(c),
        }
    }

    fn write_lease(&mut self, c: usize, take: bool, database_ms: i64) -> Answer {
        let incarnation = self.processes[c].incarnation;
        if !take && self.records.read().leases[c].is_none_or(|lease| lease.incarnation != incarnation) {
            return Answer::Superseded;
        }
        let expired = self.records.read().leases[c].is_some_and(|lease| lease.until_ms < database_ms);
        if !take && expired {
            self.count(Counted::Zombie);
        }
        self.records.write(Change::Lease(c, Some(Lease { incarnation, until_ms: database_ms + LEASE_MS })));
        self.records.commit(true, self.now_us);
        Answer::Done
    }

    /// Up to which horizon all records are decided; the local transaction that has seen it flushes them.
    fn records_horizon(&mut self) -> Answer {
        let records = self.records.read();
        let staging = records.all().filter(|(_, record)| record.state == RecordState::Staging);
        let first_staging = staging.map(|(tx, _)| self.witness.attempts[tx].deadline_ms).min();
        let first_staging = first_staging.filter(|_| !self.makes(Mutant::EndHorizonAboveStaging));
        let horizon_ms = collection::horizon(i64::MAX, records.watermark_ms, first_staging);
        self.records.commit(!self.makes(Mutant::EndHorizonOfUnflushedRecords), self.now_us);
        Answer::Horizon(horizon_ms)
    }

    /// Lists COMMITTED records so far below the watermark; the local transaction that has seen them flushes them.
    fn list_to_end(&mut self, below_ms: i64) -> Answer {
        let to_end = self.records.read().all().filter(|(tx, record)| {
            record.state == RecordState::Committed
                && !record.ended
                && self.witness.attempts[*tx].deadline_ms <= self.records.read().watermark_ms - below_ms
        });
        let to_end = to_end.map(|(tx, _)| tx).collect();
        self.records.commit(!self.makes(Mutant::EndOfUnflushedRecord), self.now_us);
        Answer::Transactions(to_end)
    }

    fn delete_records(&mut self, c: usize) -> Answer {
        let watermark_ms = self.records.read().watermark_ms;
        let retention_ms = self.clock_ms(c) - self.plan.retention_ms;
        let deadline = |tx: Tx| self.witness.attempts[tx].deadline_ms;
        let deletable = self.records.read().all().filter(|(tx, record)| {
            let (below, old) = (deadline(*tx) <= watermark_ms, deadline(*tx) <= retention_ms);
            may_delete_record(record.state, record.ended, below, record.holds_request, old)
        });
        let deletable: Vec<(Tx, Record)> = deletable.collect();
        if !deletable.is_empty() {
            note!(self, "records collected: {:?}", deletable.iter().map(|(tx, _)| tx).collect::<Vec<_>>());
        }
        for (tx, record) in deletable {
            self.count(Counted::RecordCollected);
            self.records.write(Change::Record(tx, None));
            if record.holds_request {
                self.forget_request(tx, deadline_is_over(self.witness.attempts[tx].deadline_ms, retention_ms));
            }
        }
        self.records.commit(true, self.now_us);
        Answer::Done
    }

    /// From now on the request is another one, if its retention is really over.
    fn forget_request(&mut self, tx: Tx, rightly: bool) {
        self.count(Counted::RequestForgotten);
        let request = self.witness.attempts[tx].request;
        if rightly {
            self.witness.requests[request].life += 1;
        } else {
            let detail = format!("R{request} is forgotten within its retention, with T{tx}");
            self.violated(Invariant::OneOrderPerRequest, detail);
        }
    }
}

fn deadline_is_over(deadline_ms: i64, retention_ms: i64) -> bool {
    deadline_ms <= retention_ms
}
