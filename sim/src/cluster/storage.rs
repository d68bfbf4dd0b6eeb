//! Group commit: each process has one writer with at most one batch in flight, as in `participant::group_commit`. A
//! connection lost in COMMIT leaves the outcome unknown; the batch is then run again on a new connection.
use super::fault::Mend;
use super::message::{Entry, Node, Reply, Tx};
use super::plan::COORDINATORS;
use super::process::Wake;
use super::{Counted, Event, RECORDS, World, note};

const LINGER_US: u64 = 5_000;
const DOUBT_AFTER_US: u64 = 1_500_000;
const FIRST_PAUSE_US: u64 = 10_000;
const LONGEST_PAUSE_US: u64 = 250_000;

/// A database's machine.
#[derive(Debug, Default)]
pub struct Disk {
    /// It does not run.
    pub down: bool,
    /// Counted by its crashes: a connection belongs to one.
    pub incarnation: u32,
    /// Until when everything takes long.
    pub slow_until_us: u64,
}

/// Whose answer a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyTo {
    /// A question of a coordinator to its own database.
    Ask(u64),
    /// The place in a call that a participant is answering.
    Call { call: u64, place: usize },
    /// The participant's own sweeper.
    Sweeper,
}

/// An entry that waits to be written.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// What to write.
    pub entry: Entry,
    /// Whom to tell.
    pub reply: ReplyTo,
}

/// A process's writer.
#[derive(Debug, Default)]
pub struct Writer {
    waiting: Vec<Item>,
    busy: bool,
    lingers: bool,
}

/// A batch in flight.
#[derive(Debug)]
pub struct Batch {
    /// Whose.
    pub process: usize,
    /// Of which incarnation.
    pub incarnation: u32,
    connection: u32,
    items: Vec<Item>,
    give_up_us: u64,
    pause_us: u64,
}

/// How an entry wants to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Forced, at once.
    Now,
    /// Forced, but it may wait a moment.
    Soon,
    /// May be lost in a crash.
    Lazy,
}

/// Entries of one key never share a batch.
fn key(entry: Entry) -> (u8, Tx) {
    match entry {
        Entry::Prepare(tx) | Entry::Fence(tx) | Entry::Forgotten(tx) | Entry::End(tx) => (0, tx),
        Entry::Commit { tx, .. } | Entry::Abort { tx, .. } => (0, tx),
        Entry::Stage(tx) => (1, tx),
        Entry::InsertAborted(tx) => (2, tx),
        Entry::AbortRecord { tx, .. } => (3, tx),
        Entry::CommitRecord(tx) => (4, tx),
        Entry::Finish { tx, .. } => (5, tx),
    }
}

/// The database of a process.
fn disk_of(process: usize) -> usize {
    process.checked_sub(COORDINATORS).unwrap_or(RECORDS)
}

impl World {
    fn writer(&mut self, process: usize) -> &mut Writer {
        match Node::process(process) {
            Node::Coordinator(c) => &mut self.coordinators[c].writer,
            Node::Participant(p) => &mut self.participants[p].writer,
            Node::Clients => unreachable!("clients write nothing"),
        }
    }

    /// Has entries written.
    pub(super) fn submit(&mut self, process: usize, items: impl IntoIterator<Item = Item>) {
        self.writer(process).waiting.extend(items);
        self.collect_batch(process);
    }

    fn collect_batch(&mut self, process: usize) {
        let makes = self.mutant;
        let writer = self.writer(process);
        if writer.busy || writer.waiting.is_empty() {
            return;
        }
        if writer.waiting.iter().any(|item| super::mutation::urgency(makes, item.entry) == Urgency::Now) {
            self.start_batch(process);
        } else if !writer.lingers {
            writer.lingers = true;
            self.wake_after_us(process, LINGER_US, Wake::Linger);
        }
    }

    pub(super) fn start_batch(&mut self, process: usize) {
        let writer = self.writer(process);
        writer.lingers = false;
        if writer.busy || writer.waiting.is_empty() {
            return;
        }
        writer.busy = true;
        let mut items: Vec<Item> = Vec::with_capacity(writer.waiting.len());
        writer.waiting.retain(|item| {
            let alone = items.iter().all(|other| key(other.entry) != key(item.entry));
            if alone {
                items.push(*item);
            }
            !alone
        });
        if items.len() > 1 {
            self.count(Counted::Batched);
        }
        let batch = Box::new(Batch {
            process,
            incarnation: self.processes[process].incarnation,
            connection: self.disks[disk_of(process)].incarnation,
            items,
            give_up_us: self.now_us + DOUBT_AFTER_US,
            pause_us: FIRST_PAUSE_US,
        });
        let delay_us = self.disk_delay_us(process, 400);
        self.after_us(delay_us, Event::BatchRuns(batch));
    }

    /// How long a database takes for something.
    pub(super) fn disk_delay_us(&mut self, process: usize, most_us: u64) -> u64 {
        let slow = self.disks[disk_of(process)].slow_until_us > self.now_us;
        self.rng.between(50, if slow { 800_000 } else { most_us })
    }

    pub(super) fn batch_runs(&mut self, batch: Box<Batch>) {
        let process = batch.process;
        let disk = &self.disks[disk_of(process)];
        let alive = self.processes[process].incarnation == batch.incarnation && self.processes[process].up;
        if disk.down || disk.incarnation != batch.connection {
            return self.after_us(200, Event::BatchEnds(batch, None));
        }
        let cut = self.network.cut_from_database[process];
        let lost = cut || (!self.network.perfect && self.rng.chance(self.plan.lost_commit));
        // What was on its way when its process died, or its connection, may still be carried out.
        if (lost || !alive) && self.rng.coin() {
            if lost {
                self.count(Counted::LostCommitUndone);
                note!(self, "{}: connection lost before COMMIT", Node::process(process));
            }
            return self.after_us(200, Event::BatchEnds(batch, None));
        }
        let lazy = batch.items.iter().all(|item| super::mutation::urgency(self.mutant, item.entry) == Urgency::Lazy);
        let entries: Vec<Entry> = batch.items.iter().map(|item| item.entry).collect();
        let replies = match Node::process(process) {
            Node::Participant(p) => self.write_log(p, &entries, !lazy),
            _ => self.write_records(&entries, !lazy),
        };
        note!(
            self,
            "{}: {} {entries:?} => {replies:?}",
            Node::process(process),
            if lazy { "lazily" } else { "forced" }
        );
        if lazy {
            self.count(Counted::LazyBatch);
            if self.rng.chance(self.plan.dies_after_lazy) {
                let delay_us = self.rng.below(20_000);
                self.after_us(delay_us, Event::Mend(Mend::DatabaseDies(disk_of(process))));
            }
        }
        if self.rng.chance(self.plan.dies_after_batch) {
            self.crash_process(process);
        }
        if !alive {
            return self.count(Counted::DeadWrote);
        }
        if lost {
            self.count(Counted::LostCommitDone);
            note!(self, "{}: connection lost in COMMIT", Node::process(process));
            return self.after_us(200, Event::BatchEnds(batch, None));
        }
        let delay_us = self.disk_delay_us(process, if lazy { 100 } else { 2_000 });
        self.after_us(delay_us, Event::BatchEnds(batch, Some(replies)));
    }

    pub(super) fn batch_ends(&mut self, mut batch: Box<Batch>, replies: Option<Vec<Reply>>) {
        let process = batch.process;
        let connection = self.disks[disk_of(process)].incarnation;
        let known = replies.filter(|_| connection == batch.connection);
        if known.is_none() && self.now_us + batch.pause_us < batch.give_up_us {
            let pause_us = batch.pause_us;
            batch.connection = connection;
            batch.pause_us = (pause_us * 2).min(LONGEST_PAUSE_US);
            return self.after_us(pause_us, Event::BatchRuns(batch));
        }
        self.writer(process).busy = false;
        for (place, item) in batch.items.iter().enumerate() {
            let reply = known.as_ref().map_or(Reply::Unknown, |replies| replies[place]);
            match item.reply {
                ReplyTo::Ask(ask) => self.answered(process, ask, super::Answer::Replies(vec![reply])),
                ReplyTo::Call { call, place } => self.call_replied(process - COORDINATORS, call, place, reply),
                ReplyTo::Sweeper => {}
            }
        }
        self.collect_batch(process);
    }
}
