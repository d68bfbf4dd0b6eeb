//! A coordinator's process: what it keeps in memory, and whom an answer belongs to.
use std::collections::BTreeMap;

use super::collect::Collecting;
use super::lanes::{DecisionLane, PrepareLane};
use super::message::{Answer, Entry, Message, Node, Query, Reply, Tx};
use super::owner::Drive;
use super::plan::{COORDINATORS, PARTICIPANTS};
use super::process::Wake;
use super::recovery::Run;
use super::storage::{Item, ReplyTo, Writer};
use super::takeover::TakeOver;
use super::{Event, World, note};
use protocol::{Vote, owner, recovery};

/// What everything asked is given to answer.
const ANSWERED_WITHIN_US: u64 = 2_000_000;

/// What was asked, by whom in the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The PREPARE lane.
    Prepares { participant: usize, txs: Vec<Tx> },
    /// The decision lane.
    Decisions { participant: usize, txs: Vec<Tx> },
    /// A recovery.
    Fence { tx: Tx, participant: usize },
    /// The takeover.
    List { participant: usize },
    /// The collector, about a horizon.
    Horizon { participant: usize },
    /// The collector: a durable COMMIT, then END.
    Collector { txs: Vec<Tx> },
    /// An owner's insert of its record.
    Stage(Tx),
    /// An owner's forced abort of its record.
    AbortRecord(Tx),
    /// An owner, lazily.
    Finish(Tx),
    /// An owner, about the holder of its request.
    Holder(Tx),
    /// A recovery, about the record.
    Recovery(Tx),
    /// The takeover, about records.
    Abandoned,
    /// The takeover, about who lives.
    LiveOwners,
    /// The lease.
    Lease,
    /// The collector, about its own database.
    Records,
}

/// What a coordinator's process keeps in memory: it is gone when the process dies.
#[derive(Debug, Default)]
pub struct Coordinator {
    /// It has its lease and takes calls.
    pub serving: bool,
    /// What waits for an answer, by its number.
    pub asked: BTreeMap<u64, Ask>,
    /// The attempts that it drives.
    pub drives: BTreeMap<Tx, Drive>,
    /// The recoveries that it runs.
    pub runs: BTreeMap<Tx, Run>,
    /// To each participant.
    pub prepares: [PrepareLane; PARTICIPANTS],
    /// To each participant.
    pub decisions: [DecisionLane; PARTICIPANTS],
    /// Writes the records.
    pub writer: Writer,
    /// Looks for abandoned transactions.
    pub takeover: TakeOver,
    /// A round of garbage collection under way.
    pub collecting: Option<Collecting>,
}

impl World {
    pub(super) fn start_coordinator(&mut self, c: usize) {
        self.coordinators[c] = Coordinator::default();
        self.query(c, Ask::Lease, Query::TakeLease);
    }

    fn ask(&mut self, c: usize, what: Ask, within_us: u64) -> u64 {
        let ask = self.new_ask(c);
        self.coordinators[c].asked.insert(ask, what);
        self.wake_after_us(c, within_us, Wake::GiveUp(ask));
        ask
    }

    /// Has a participant write something.
    pub(super) fn call(&mut self, c: usize, participant: usize, what: Ask, entries: Vec<Entry>) {
        let within_us = if matches!(what, Ask::Decisions { .. }) { 2_500_000 } else { ANSWERED_WITHIN_US };
        let ask = self.ask(c, what, within_us);
        self.send(Node::Coordinator(c), Node::Participant(participant), Message::Write { ask, entries });
    }

    /// Lists a participant's rows in doubt.
    pub(super) fn list(&mut self, c: usize, participant: usize) {
        let ask = self.ask(c, Ask::List { participant }, ANSWERED_WITHIN_US);
        self.send(Node::Coordinator(c), Node::Participant(participant), Message::List { ask });
    }

    /// Has a participant confirm a horizon, or says END up to it.
    pub(super) fn ask_horizon(&mut self, c: usize, participant: usize, horizon_ms: i64, has_ended: bool) {
        let ask = self.ask(c, Ask::Horizon { participant }, ANSWERED_WITHIN_US);
        let message = Message::Horizon { ask, horizon_ms, has_ended };
        self.send(Node::Coordinator(c), Node::Participant(participant), message);
    }

    /// Has the own writer write something.
    pub(super) fn write(&mut self, c: usize, what: Ask, entry: Entry) {
        let ask = self.ask(c, what, ANSWERED_WITHIN_US);
        self.submit(c, [Item { entry, reply: ReplyTo::Ask(ask) }]);
    }

    /// Asks the own database past the writer.
    pub(super) fn query(&mut self, c: usize, what: Ask, query: Query) {
        let ask = self.ask(c, what, ANSWERED_WITHIN_US);
        let incarnation = self.processes[c].incarnation;
        let delay_us = self.disk_delay_us(c, 1_000);
        self.after_us(delay_us, Event::QueryRuns { coordinator: c, incarnation, ask, query });
    }

    /// Takes an answer to whoever asked. A second one, or one that comes too late, finds nobody.
    pub(super) fn answered(&mut self, c: usize, ask: u64, answer: Answer) {
        if c >= COORDINATORS {
            return;
        }
        let Some(what) = self.coordinators[c].asked.remove(&ask) else { return };
        if answer == Answer::Failed {
            note!(self, "coordinator-{}: no answer to {what:?}", c + 1);
        }
        match what {
            Ask::Prepares { participant, txs } => self.prepared(c, participant, txs, &answer),
            Ask::Decisions { participant, txs } => self.decisions_answered(c, participant, txs, &answer),
            Ask::Fence { tx, participant } => {
                let vote = match first(&answer) {
                    Reply::Voted(vote) => vote,
                    _ => Vote::Unknown,
                };
                let vote = super::mutation::as_recovery_reads(self.mutant, vote);
                self.feed_run(c, tx, recovery::Event::Fenced { participant, vote });
            }
            Ask::List { participant } => self.listed(c, participant, answer),
            Ask::Horizon { participant } => self.horizon_answered(c, participant, &answer),
            Ask::Collector { txs } => self.collector_answered(c, &txs, &answer),
            Ask::Stage(tx) => self.stage_answered(c, tx, first(&answer)),
            Ask::AbortRecord(tx) => self.abort_answered(c, tx, first(&answer)),
            Ask::Finish(tx) => self.settled(c, tx),
            Ask::Holder(tx) => self.holder_answered(c, tx, &answer),
            Ask::Recovery(tx) => {
                let event = match (&answer, first(&answer)) {
                    (Answer::Record(state), _) => recovery::Event::Read(*state),
                    (_, Reply::Aborted(abort)) => recovery::Event::RecordAborted(abort),
                    (_, Reply::Committed(commit)) => recovery::Event::RecordCommitted(commit),
                    _ => recovery::Event::RecordUnknown,
                };
                self.feed_run(c, tx, event);
            }
            Ask::Abandoned => self.abandoned_answered(c, answer),
            Ask::LiveOwners => self.owners_answered(c, answer),
            Ask::Lease => self.lease_answered(c, &answer),
            Ask::Records => self.records_answered(c, answer),
        }
    }

    /// A client's call.
    pub(super) fn place(&mut self, c: usize, job: usize, call: u32, is_retry: bool) {
        if !self.coordinators[c].serving {
            let answer = Message::Placed { job, call, answer: None };
            return self.send(Node::Coordinator(c), Node::Clients, answer);
        }
        let tx = self.begin_attempt(c, job);
        let content = self.witness.attempts[tx].content;
        let request = self.witness.attempts[tx].request;
        let repeated = self.coordinators[c].drives.keys().any(|other| self.witness.attempts[*other].request == request);
        note!(self, "coordinator-{}: T{tx} for R{request} with content {content}", c + 1);
        let drive = Drive::new(job, call, is_retry || repeated);
        self.drive(c, tx, drive);
        self.feed(c, tx, owner::Event::Start);
    }
}

/// The answer to the one thing that was asked.
fn first(answer: &Answer) -> Reply {
    match answer {
        Answer::Replies(replies) => replies.first().copied().unwrap_or(Reply::Unknown),
        _ => Reply::Unknown,
    }
}
