//! Group commit: one task owns one connection and runs what has queued up meanwhile as one local transaction.
//!
//! At most one batch is in flight; the next collects while it runs, so the batch grows with the load and a lone caller
//! waits for nobody. What nobody waits for does not slow that down, see [`waiting`]. The task can't be cancelled from outside: a caller that goes away leaves its entry to be carried
//! out. Callers never see a batch: each gets the replies to its own entries.
//!
//! A connection lost in COMMIT leaves the outcome unknown. The batch is then run again on a new connection: every kind
//! of work here reads first what stands, so a second run answers what the first one wrote, or does it now. Only when no
//! answer can be had within [`Options::doubt_after`] are the entries answered as doubt.
mod alarm;
mod local;
mod session;
mod waiting;

use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::crash_point;
use crate::metrics;
use crate::pool::silent;
use crate::postgres::{Failure, classify};
use alarm::Alarm;
pub use local::Local;
use session::{IDLE, Session};
use waiting::Waiting;

/// How an entry wants to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Forced, at once: somebody's answer waits for it.
    Now,
    /// Forced, but it may wait a moment ([`Options::linger`]) to share a batch.
    Soon,
    /// May be lost in a crash of the database, and may wait longer ([`Options::lazy_linger`]).
    Lazy,
}

/// What a writer carries out.
pub trait Work: Send + Sync + 'static {
    /// One thing to do. Idempotent: the batch may be run again after its outcome was lost.
    type Entry: Send + Sync + 'static;
    /// Its answer.
    type Reply: Send + 'static;
    /// Entries of one key never share a batch, so that each sees what the one before it wrote.
    type Key: Eq + Hash;

    /// The entry's key.
    fn key(entry: &Self::Entry) -> Self::Key;
    /// The entry's urgency.
    fn urgency(entry: &Self::Entry) -> Urgency;
    /// Carries out a batch as one local transaction, which it begins if it takes more than one statement; one reply for each
    /// entry, in order.
    fn run(
        &self,
        local: &mut Local<'_>,
        entries: &[Self::Entry],
    ) -> impl Future<Output = Result<Vec<Self::Reply>, sqlx::Error>> + Send;
    /// COMMIT of the batch that was run last has returned.
    fn committed(&self) {}
    /// The answer when nothing can be known: the database can't be reached, or this entry alone fails.
    fn doubt(&self, entry: &Self::Entry, cause: &str) -> Self::Reply;
}

/// Settings of a writer's session. Several processes may write to one database, and one that freezes in mid-batch holds
/// its locks: the server ends its transaction soon, so that whoever takes over can write, and tells it when it goes on.
/// Nobody waits for locks much longer than that, because a batch that waits keeps all that queue behind it.
const SESSION: [(&str, &str); 2] = [("idle_in_transaction_session_timeout", "2s"), ("lock_timeout", "1s")];

/// Tuning of a writer.
#[derive(Debug, Clone)]
pub struct Options {
    /// Entries in one batch, at most.
    pub max_batch: usize,
    /// Calls whose entries wait, at most; beyond it callers wait for a place.
    pub queue: usize,
    /// How long entries that are wanted soon wait for others to share a batch with.
    pub linger: Duration,
    /// How long lazy ones do.
    pub lazy_linger: Duration,
    /// When to give up on a database that doesn't answer, and answer doubt.
    pub doubt_after: Duration,
    /// When to give up a connection on which a batch has not ended: a database that vanished without a word would keep the
    /// writer for as long as TCP waits. The connection goes with it, so it is as if it had been lost.
    pub batch_within: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_batch: 2048,
            queue: 4096,
            linger: Duration::from_millis(5),
            lazy_linger: Duration::from_millis(20),
            doubt_after: Duration::from_millis(1500),
            batch_within: Duration::from_secs(10),
        }
    }
}

struct Item<W: Work> {
    entry: W::Entry,
    reply: ReplyTo<W::Reply>,
}

/// Who waits for an entry's reply. It may have gone away; its entry is done all the same.
enum ReplyTo<R> {
    One(oneshot::Sender<R>),
    Then(Box<dyn FnOnce(R) + Send>),
    /// A call with several entries, and the entry's place in it.
    Of(Arc<Mutex<Call<R>>>, usize),
}

/// A call with several entries. Its caller is woken once, by the last reply.
struct Call<R> {
    replies: Vec<Option<R>>,
    missing: usize,
    done: Option<oneshot::Sender<Vec<Option<R>>>>,
}

impl<R> ReplyTo<R> {
    fn send(self, reply: R) {
        match self {
            ReplyTo::One(one) => {
                let _ = one.send(reply);
            }
            ReplyTo::Then(then) => then(reply),
            ReplyTo::Of(call, place) => {
                let call = &mut *call.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(slot) = call.replies.get_mut(place) {
                    *slot = Some(reply);
                }
                call.missing -= 1;
                if call.missing == 0 {
                    let replies = std::mem::take(&mut call.replies);
                    let _ = call.done.take().map(|done| done.send(replies));
                }
            }
        }
    }
}

/// A handle on the writer task; clones share the task, which ends when the last one is dropped.
pub struct GroupCommit<W: Work> {
    /// What is asked for together is queued together, so that it is not torn into several batches.
    queue: mpsc::Sender<Vec<Item<W>>>,
}

impl<W: Work> Clone for GroupCommit<W> {
    fn clone(&self) -> Self {
        GroupCommit { queue: self.queue.clone() }
    }
}

/// The writer task is gone: the process is shutting down, or it panicked. The entry's outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the writer has stopped; the outcome is unknown")]
pub struct Stopped;

impl<W: Work> GroupCommit<W> {
    /// Starts the writer task.
    pub fn start(work: Arc<W>, connect: PgConnectOptions, options: Options) -> Self {
        let (queue, items) = mpsc::channel(options.queue);
        let connect = connect.options(SESSION);
        let writer = Writer {
            work,
            connect,
            options,
            items,
            session: None,
            alarm: Alarm::new(),
            urgent_at: None,
            begins: false,
        };
        tokio::spawn(writer.write());
        GroupCommit { queue }
    }

    /// Has one entry carried out. Dropping the future doesn't cancel it once it is queued.
    pub async fn submit(&self, entry: W::Entry) -> Result<W::Reply, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(vec![Item { entry, reply: ReplyTo::One(reply) }]).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Has one entry carried out, then has its reply told, by the writer's task: it must only pass it on. Nothing is told
    /// by a writer that has stopped.
    pub fn submit_then(&self, entry: W::Entry, then: impl FnOnce(W::Reply) + Send + 'static) {
        let items = vec![Item { entry, reply: ReplyTo::Then(Box::new(then)) }];
        if let Err(TrySendError::Full(items)) = self.queue.try_send(items) {
            let queue = self.queue.clone();
            tokio::spawn(async move { queue.send(items).await });
        }
    }

    /// Has several entries carried out, in one batch if they fit; replies in their order.
    pub async fn submit_all(&self, entries: Vec<W::Entry>) -> Result<Vec<W::Reply>, Stopped> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let (done, answer) = oneshot::channel();
        let replies = entries.iter().map(|_| None).collect();
        let call = Arc::new(Mutex::new(Call { replies, missing: entries.len(), done: Some(done) }));
        let item = |(place, entry)| Item { entry, reply: ReplyTo::Of(call.clone(), place) };
        let items = entries.into_iter().enumerate().map(item).collect();
        // Only the entries hold the call now: should the writer go with them, nobody waits for ever.
        drop(call);
        self.queue.send(items).await.map_err(|_| Stopped)?;
        answer.await.ok().and_then(|replies| replies.into_iter().collect()).ok_or(Stopped)
    }
}

struct Writer<W: Work> {
    work: Arc<W>,
    connect: PgConnectOptions,
    options: Options,
    items: mpsc::Receiver<Vec<Item<W>>>,
    session: Option<Session>,
    alarm: Alarm,
    /// When somebody's answer last waited for a batch.
    urgent_at: Option<Instant>,
    /// Whether that batch took more than one statement.
    begins: bool,
}

/// How one run of a batch ended, when not well.
enum Run {
    /// Nothing is known to have been written; a run on a new connection tells.
    Again(String),
    /// The database refused the batch itself.
    Refused(String),
}

impl<W: Work> Writer<W> {
    async fn write(mut self) {
        let mut waiting = Waiting::default();
        while self.collect(&mut waiting).await {
            let now = Instant::now();
            let batch = waiting.cut(self.options.max_batch, now);
            let is_more_due = waiting.due_at(now).is_some_and(|at| at <= now);
            self.write_batch(batch, is_more_due).await;
        }
    }

    /// Waits until something is to be written. False when there will never be more.
    async fn collect(&mut self, waiting: &mut Waiting<W>) -> bool {
        loop {
            let now = Instant::now();
            while waiting.len() < self.options.max_batch {
                match self.items.try_recv() {
                    Ok(items) => waiting.add(items, &self.options, now),
                    Err(_) => break,
                }
            }
            let due_at = waiting.due_at(now);
            if due_at.is_some_and(|at| at <= now) || waiting.len() >= self.options.max_batch {
                return true;
            }
            let is_begun = self.session.as_ref().is_some_and(Session::is_open);
            let wake_at = if is_begun { Some(due_at.map_or(now + IDLE, |at| at.min(now + IDLE))) } else { due_at };
            let more = tokio::select! {
                biased;
                more = self.items.recv() => Some(more),
                () = self.alarm.at(wake_at) => None,
            };
            match more {
                Some(Some(items)) => waiting.add(items, &self.options, Instant::now()),
                // Nobody is left to add anything: what still waits is written now.
                Some(None) => return waiting.len() > 0,
                None if is_begun && due_at.is_none_or(|at| at > Instant::now()) => self.give_back().await,
                None => (),
            }
        }
    }

    /// Ends a local transaction that was begun for nothing.
    async fn give_back(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        match tokio::time::timeout(self.options.batch_within, session.roll_back()).await {
            Ok(Ok(())) => self.session = Some(session),
            _ => session.close().await,
        }
    }

    /// Runs a batch to its end: replies to everyone. What fails is halved until the bad entry stands alone.
    async fn write_batch(&mut self, batch: Vec<Item<W>>, is_more_due: bool) {
        let mut stack = vec![batch];
        while let Some(batch) = stack.pop() {
            let (entries, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|item| (item.entry, item.reply)).unzip();
            match self.run_until_known(&entries, is_more_due || !stack.is_empty()).await {
                Ok(answers) => {
                    for (reply, answer) in replies.into_iter().zip(answers) {
                        reply.send(answer);
                    }
                    crash_point::pass("batch.after_reply");
                }
                Err(Run::Refused(cause)) if entries.len() > 1 => {
                    tracing::warn!(entries = entries.len(), %cause, "a batch failed; trying its halves");
                    let mut first: Vec<_> =
                        entries.into_iter().zip(replies).map(|(entry, reply)| Item { entry, reply }).collect();
                    let second = first.split_off(first.len() / 2);
                    // The first half runs first: the order of arrival stays.
                    stack.push(second);
                    stack.push(first);
                }
                Err(Run::Refused(cause) | Run::Again(cause)) => {
                    metrics::DOUBTS.add(u64::try_from(entries.len()).unwrap_or_default());
                    for (entry, reply) in entries.iter().zip(replies) {
                        reply.send(self.work.doubt(entry, &cause));
                    }
                }
            }
        }
    }

    async fn run_until_known(&mut self, entries: &[W::Entry], is_more_due: bool) -> Result<Vec<W::Reply>, Run> {
        let give_up = Instant::now() + self.options.doubt_after;
        // What met another writer can be run again at once.
        let mut pause = Duration::ZERO;
        loop {
            match self.run_once(entries, is_more_due).await {
                Err(Run::Again(cause)) if Instant::now() + pause < give_up => {
                    tracing::debug!(%cause, "the outcome of a batch is not known; running it again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).clamp(Duration::from_millis(10), Duration::from_millis(250));
                }
                ended => return ended,
            }
        }
    }

    /// Whether a local transaction that is begun now is likely to be used before it would be given back. The next urgent batch comes
    /// soon if this one came so soon after the one before it, as those of a lone client do; and it is likely to be as this one was.
    fn wants_begin(&mut self, entries: &[W::Entry], has_begun: bool, is_more_due: bool, now: Instant) -> bool {
        let mut is_soon = is_more_due || !self.items.is_empty();
        if entries.iter().any(|entry| W::urgency(entry) == Urgency::Now) {
            self.begins = has_begun;
            let last = self.urgent_at.replace(now);
            is_soon |= last.is_some_and(|last| now.saturating_duration_since(last) < IDLE);
        }
        is_soon && self.begins
    }

    /// One local transaction. On any failure the connection is either back outside a transaction or dropped.
    async fn run_once(&mut self, entries: &[W::Entry], is_more_due: bool) -> Result<Vec<W::Reply>, Run> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                let connecting = tokio::time::timeout(self.options.doubt_after, Session::connect(&self.connect));
                match connecting.await {
                    Ok(Ok(session)) => session,
                    Ok(Err(error)) => return Err(Run::Again(error.to_string())),
                    Err(_) => return Err(Run::Again("connecting to the database timed out".to_owned())),
                }
            }
        };
        let within = self.options.batch_within;
        let transacted = tokio::time::timeout(within, self.transact(&mut session, entries, is_more_due)).await;
        match transacted.unwrap_or_else(|_| Err(silent(within))) {
            Ok(replies) => {
                self.session = Some(session);
                Ok(replies)
            }
            Err(error) => {
                let run = match classify(&error) {
                    Failure::Lost | Failure::Retry => Run::Again(error.to_string()),
                    Failure::Refused => Run::Refused(error.to_string()),
                };
                let is_lost = classify(&error) == Failure::Lost;
                if !is_lost && matches!(tokio::time::timeout(within, session.roll_back()).await, Ok(Ok(()))) {
                    self.session = Some(session);
                } else {
                    session.close().await;
                }
                Err(run)
            }
        }
    }

    async fn transact(
        &mut self,
        session: &mut Session,
        entries: &[W::Entry],
        is_more_due: bool,
    ) -> Result<Vec<W::Reply>, sqlx::Error> {
        let began = Instant::now();
        let is_lazy = entries.iter().all(|entry| W::urgency(entry) == Urgency::Lazy);
        crash_point::pass("batch.before_begin");
        let mut local = session.local(is_lazy);
        let replies = self.work.run(&mut local, entries).await?;
        assert_eq!(replies.len(), entries.len(), "one reply for each entry");
        let has_begun = local.has_begun();
        let begin_next = self.wants_begin(entries, has_begun, is_more_due, began);
        if session.is_open() {
            crash_point::pass("batch.before_commit");
            session.commit(begin_next).await?;
        }
        self.work.committed();
        metrics::BATCHES.add(1);
        metrics::ENTRIES.add(u64::try_from(entries.len()).unwrap_or_default());
        metrics::BATCH_MICROS.add(u64::try_from(began.elapsed().as_micros()).unwrap_or_default());
        crash_point::pass("batch.after_commit");
        Ok(replies)
    }
}
