//! One attempt at a client's request, from its start until its decision is on its way to everyone.
//!
//! An attempt has no task of its own: what happens to it is told it by the [`super::driver`], and what it commands is
//! queued with those who carry it out. Only what is rare (an abort for doubt, a look at another attempt) is awaited, in
//! tasks. So a client that goes away can't cut it off, and thousands of them cost little.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use participant::clock::now_unix_ms;
use participant::{DUPLICATE_REQUEST, Refusal, TransactionRef, crash_point};
use protocol::owner::{Command, Event, Outcome, Owner};
use protocol::record::{Abort, RecordState, Stage};
use protocol::{Decision, Vote};
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::active::Attending;
use super::answer::{Answer, is_refused};
use super::events::{self, Happened};
use crate::admission::Admitted;
use crate::content::Content;
use crate::coordinator::Coordinator;
use crate::participants::branches::Asked;
use crate::participants::{Voted, Voter};
use crate::store::{ANSWERED_WITHIN, ClientAnswer, Doubt, Finish, NewRecord, Record, Store};

/// How long after its own deadline an attempt goes on following another one that holds its request.
const FOLLOW_GRACE: Duration = Duration::from_millis(1500);
/// How long a look may take.
const READ_WITHIN: Duration = Duration::from_millis(2000);
/// How often it looks at the other one at least, however late it is.
const LOOKS: u32 = 3;

/// A checked request.
pub struct Request {
    /// Whose request.
    pub client_id: String,
    /// The client's name for it.
    pub request_id: String,
    /// Its content.
    pub content: Content,
    /// Time until it is given up.
    pub timeout: Duration,
    /// The deadline that its messages name; none: when the time is over, as this process' clock says it now.
    pub deadline_unix_ms: Option<i64>,
    /// The call is known to be a retry.
    pub is_retry: bool,
    /// Its place among those that wait for their answer.
    pub admitted: Admitted,
}

/// Begins an attempt; resolves to its answer. It goes on if the caller goes away.
pub fn place(coordinator: &Arc<Coordinator>, request: Request) -> impl Future<Output = Answer> + use<> {
    let (answer, receiver) = oneshot::channel();
    let attempt = Attempt::new(coordinator.clone(), request, answer);
    let order_id = attempt.transaction.transaction_id;
    coordinator.driver.tell(attempt, Happened::Begun);
    async move {
        receiver.await.unwrap_or_else(|_| Answer::Unknown {
            order_id,
            cause: Refusal::new("SHUTTING_DOWN", "the coordinator stopped before it could tell the outcome"),
        })
    }
}

/// One attempt.
pub struct Attempt {
    coordinator: Arc<Coordinator>,
    content: Content,
    transaction: TransactionRef,
    record: Arc<NewRecord>,
    deadline: Instant,
    timeout_ms: u128,
    create_time: DateTime<Utc>,
    /// Nothing more is to be decided.
    is_over: AtomicBool,
    state: Mutex<State>,
}

struct State {
    owner: Owner,
    branches: Vec<Option<Bytes>>,
    /// When the STAGING insert is to be known; none when it is, or was not asked for.
    staged_by: Option<Instant>,
    /// When the driver will tell that time has passed.
    scheduled: Instant,
    attending: Option<Arc<Attending>>,
    /// What participants said beside a no or a doubt, by their place.
    reasons: Vec<Option<(Vote, Refusal)>>,
    voted: Vec<bool>,
    cause: Option<Refusal>,
    /// Why the record is aborted, where that was written before the answer. The client must be told the same, because a
    /// repeat of its call will be.
    recorded: Option<Refusal>,
    holder: Option<Record>,
    answer: Option<oneshot::Sender<Answer>>,
    admitted: Option<Admitted>,
    told: Option<ClientAnswer>,
    /// What is to be followed up.
    left: Vec<Command>,
    finished: bool,
    doubts: u32,
    looks: u32,
}

impl Attempt {
    fn new(coordinator: Arc<Coordinator>, request: Request, answer: oneshot::Sender<Answer>) -> Arc<Self> {
        let Request { client_id, request_id, content, timeout, deadline_unix_ms, is_retry, admitted } = request;
        let transaction_id = Uuid::now_v7();
        let timeout_ms = timeout.as_millis();
        let by_now = || now_unix_ms().saturating_add(i64::try_from(timeout_ms).unwrap_or(i64::MAX));
        let deadline_unix_ms = deadline_unix_ms.unwrap_or_else(by_now);
        let transaction = TransactionRef { transaction_id, deadline_unix_ms };
        let token = coordinator.tasks.token();
        let (attending, repeated) = coordinator.active.begin(transaction_id, &client_id, &request_id, token);
        let branches =
            content.prepares(&coordinator, transaction, Asked { client_id: &client_id, request_id: &request_id });
        let record = NewRecord {
            transaction_id,
            client_id,
            request_id,
            request_digest: content.digest(),
            owner_id: coordinator.owner_id.clone(),
            deadline_unix_ms,
            participants: content.joined(),
        };
        let deadline = Instant::now() + timeout;
        let state = State {
            owner: Owner::new(content.len(), is_retry || repeated),
            branches: branches.into_iter().map(Some).collect(),
            staged_by: None,
            scheduled: deadline,
            attending: Some(Arc::new(attending)),
            reasons: vec![None; content.len()],
            voted: vec![false; content.len()],
            cause: None,
            recorded: None,
            holder: None,
            answer: Some(answer),
            admitted: Some(admitted),
            told: None,
            left: Vec::new(),
            finished: false,
            doubts: 0,
            looks: 0,
        };
        Arc::new(Attempt {
            coordinator,
            content,
            transaction,
            record: Arc::new(record),
            deadline,
            timeout_ms,
            create_time: Utc::now(),
            is_over: AtomicBool::new(false),
            state: Mutex::new(state),
        })
    }

    /// Takes what happened and does what a client waits for. Answers whether there is something to [follow up](Self::follow_up).
    pub fn on(self: &Arc<Self>, happened: Happened) -> bool {
        let state = &mut *self.lock();
        if self.is_over.load(Ordering::Relaxed) {
            // Late news: whatever they say, it has been decided without them.
            return false;
        }
        if let Some(event) = self.learn(state, happened) {
            for command in state.owner.on(event) {
                match command {
                    Command::Finish(_) | Command::SendCommit | Command::SendAbort => state.left.push(command),
                    urgent => self.carry_out(state, urgent),
                }
            }
        }
        if !state.owner.is_done() && state.looks > LOOKS && Instant::now() > self.deadline + FOLLOW_GRACE {
            // Nothing of this attempt stays and nothing is decided here: only the holder's outcome isn't known.
            self.answer(state, Outcome::Unknown);
        } else if !state.owner.is_done() {
            return !state.left.is_empty();
        }
        self.is_over.store(true, Ordering::Relaxed);
        self.coordinator.driver.unschedule(self.id(), state.scheduled);
        true
    }

    /// Does what nobody waits for: the decision on its way to everyone.
    pub fn follow_up(self: &Arc<Self>) {
        let state = &mut *self.lock();
        for command in std::mem::take(&mut state.left) {
            self.carry_out(state, command);
        }
        if !self.is_over.load(Ordering::Relaxed) {
            return;
        }
        if !state.finished && state.told.is_some() {
            // No decision had to be written, but what the client was told is recorded.
            self.finish(state, None);
        }
        state.attending = None;
    }

    /// Takes what happened to the owner's words, keeping the reasons.
    fn learn(self: &Arc<Self>, state: &mut State, happened: Happened) -> Option<Event> {
        match happened {
            Happened::Begun => {
                self.schedule(state, Instant::now() + ANSWERED_WITHIN);
                Some(Event::Start)
            }
            Happened::TimePassed => self.look_at_the_clock(state),
            Happened::Voted(participant, voted) => {
                if let Some(slot) = state.voted.get_mut(participant) {
                    *slot = true;
                }
                if voted.vote != Vote::Yes {
                    let name = self.content.participant(participant);
                    let refusal = events::reason(voted.vote, voted.refusal, name);
                    if let Some(slot) = state.reasons.get_mut(participant) {
                        *slot = Some((voted.vote, refusal));
                    }
                }
                Some(Event::Voted { participant, vote: voted.vote })
            }
            Happened::Staged(Ok(stage), recorded) => {
                state.staged_by = None;
                state.recorded = recorded.or(state.recorded.take());
                Some(Event::Staged(stage))
            }
            Happened::Staged(Err(doubt), _) => {
                state.staged_by = None;
                state.cause.get_or_insert_with(|| events::database(&doubt));
                Some(Event::StageUnknown)
            }
            Happened::Aborted(Ok(abort), recorded) => {
                state.recorded = recorded;
                Some(Event::RecordAborted(abort))
            }
            Happened::Aborted(Err(doubt), _) => {
                state.cause = Some(events::database(&doubt));
                Some(Event::AbortUnknown)
            }
            Happened::Holder(Ok(holder)) => {
                let seen = events::holder(holder.as_ref(), &self.record.request_digest);
                state.holder = holder;
                Some(Event::Holder(seen))
            }
            Happened::Holder(Err(error)) => {
                tracing::debug!(%error, "the holder of a request can't be read; looking again");
                self.look_at_holder(state, true);
                None
            }
            Happened::Recovered => {
                self.look_at_holder(state, true);
                None
            }
        }
    }

    /// Time has passed: the deadline, or what the insert may take. A database that has stopped answering must not keep a
    /// client waiting until then; the record may still come to stand.
    fn look_at_the_clock(self: &Arc<Self>, state: &mut State) -> Option<Event> {
        let now = Instant::now();
        if now >= self.deadline {
            state.cause.get_or_insert_with(|| self.timeout(&state.voted));
            return Some(Event::DeadlinePassed);
        }
        let is_late = state.staged_by.take_if(|by| *by <= now).is_some();
        self.schedule(state, state.staged_by.unwrap_or(self.deadline));
        if !is_late {
            return None;
        }
        let doubt = Store::unanswered();
        state.cause.get_or_insert_with(|| events::database(&doubt));
        Some(Event::StageUnknown)
    }

    fn timeout(&self, voted: &[bool]) -> Refusal {
        let waiting = voted.iter().enumerate().filter(|(_, voted)| !**voted);
        let waiting: Vec<&str> = waiting.map(|(participant, _)| self.content.participant(participant)).collect();
        events::timeout(self.timeout_ms, &waiting)
    }

    fn schedule(self: &Arc<Self>, state: &mut State, at: Instant) {
        state.scheduled = at.min(self.deadline);
        self.coordinator.driver.schedule(state.scheduled, self);
    }

    fn carry_out(self: &Arc<Self>, state: &mut State, command: Command) {
        match command {
            Command::Prepare(participant) => self.prepare(state, participant),
            Command::InsertStaging => self.stage(state),
            Command::AbortRecord => self.abort_record(state),
            Command::Answer(outcome) => self.answer(state, outcome),
            Command::Finish(decision) => self.finish(state, Some(decision)),
            Command::SendCommit => self.send(state, Decision::Commit),
            Command::SendAbort => self.send(state, Decision::Abort),
            Command::ReadHolder => self.look_at_holder(state, false),
            Command::WaitForHolder => self.look_at_holder(state, true),
            Command::RecoverHolder => self.recover_holder(state),
        }
    }

    fn prepare(self: &Arc<Self>, state: &mut State, participant: usize) {
        let name = self.content.participant(participant);
        let branch = state.branches.get_mut(participant).and_then(Option::take).unwrap_or_default();
        match self.coordinator.participants.get(name) {
            Some(known) => known.prepare.prepare(branch, self.clone(), participant),
            None => self.clone().voted(participant, events::no_such_participant(name)),
        }
    }

    fn stage(self: &Arc<Self>, state: &mut State) {
        crash_point::pass("stage.before");
        state.staged_by = Some(Instant::now() + ANSWERED_WITHIN);
        self.coordinator.staging.stage(self.record.clone(), self.clone());
    }

    /// Takes what became of the STAGING insert. It is called by the lane's task: it must only pass it on.
    pub fn staged(self: Arc<Self>, staged: Result<Stage, Doubt>) {
        crash_point::pass("stage.after");
        if !matches!(staged, Ok(Stage::Terminal { state: RecordState::Aborted, .. })) {
            return self.tell(Happened::Staged(staged, None));
        }
        self.coordinator.tasks.clone().spawn(async move {
            let recorded = self.recorded_reason().await;
            self.tell(Happened::Staged(staged, recorded));
        });
    }

    fn abort_record(self: &Arc<Self>, state: &mut State) {
        let (attempt, refusal) = (self.clone(), self.why(state));
        let pause = events::pause(state.doubts, Duration::from_millis(50), Duration::from_secs(1));
        state.doubts += 1;
        self.coordinator.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            let aborted = attempt.coordinator.store.abort(attempt.record.clone(), refusal).await;
            let is_aborted = matches!(aborted, Ok(Abort::Aborted { .. }));
            let recorded = if is_aborted { attempt.recorded_reason().await } else { None };
            attempt.tell(Happened::Aborted(aborted, recorded));
        });
    }

    /// Answers the client, once; the decision is noted first, so that a read after the answer never falls behind it.
    fn answer(&self, state: &mut State, outcome: Outcome) {
        let order_id = self.transaction.transaction_id;
        let (answer, told) = match outcome {
            Outcome::Accepted => {
                self.coordinator.active.decide(order_id, Decision::Commit, None);
                (Answer::Accepted { order_id, create_time: self.create_time }, Some(ClientAnswer::Accepted))
            }
            Outcome::Rejected { .. } | Outcome::Aborted => {
                let why = self.why(state);
                self.coordinator.active.decide(order_id, Decision::Abort, Some(why.clone()));
                let answer = match is_refused(&why) {
                    true => Answer::Rejected { order_id, refusal: why },
                    false => Answer::Aborted { order_id, cause: why },
                };
                (answer, Some(ClientAnswer::Rejected))
            }
            Outcome::OfHolder(decision) => (events::of_holder(decision, state.holder.take(), order_id), None),
            Outcome::RequestReused => {
                (Answer::RequestReused { order_id: state.holder.take().map(|holder| holder.transaction_id) }, None)
            }
            Outcome::Unknown => (Answer::Unknown { order_id, cause: self.why(state) }, Some(ClientAnswer::Unknown)),
        };
        state.told = told;
        state.admitted = None;
        if let Some(client) = state.answer.take() {
            crash_point::pass("decide.before_answer");
            // A client that went away learns the outcome by repeating the call.
            let _ = client.send(answer);
            crash_point::pass("decide.after_answer");
        }
    }

    /// Why the attempt is not accepted: what was recorded; else a participant's refusal before any doubt, and doubt before
    /// the deadline.
    fn why(&self, state: &State) -> Refusal {
        if let Some(recorded) = &state.recorded {
            return recorded.clone();
        }
        let of = |wanted: fn(&Vote) -> bool| {
            state.reasons.iter().flatten().find(|(vote, _)| wanted(vote)).map(|(_, refusal)| refusal.clone())
        };
        of(|vote| *vote == Vote::No)
            .or_else(|| of(|vote| *vote != Vote::No))
            .or_else(|| state.cause.clone())
            .unwrap_or_else(|| Refusal::new("TRANSACTION_ABORTED", "the transaction was aborted by a recovery"))
    }

    fn finish(&self, state: &mut State, decision: Option<Decision>) {
        state.finished = true;
        let finish = Finish {
            transaction_id: self.transaction.transaction_id,
            decision,
            client_answer: state.told.unwrap_or(ClientAnswer::Nothing),
            refusal: (decision == Some(Decision::Abort)).then(|| self.why(state)),
        };
        let attending = state.attending.clone();
        crash_point::pass("finish.before");
        self.coordinator.store.finish_then(finish, move |finished| {
            if let Err(doubt) = finished {
                // Whoever recovers the record later comes to the same decision.
                tracing::debug!(%doubt, "a decision was not recorded");
            }
            crash_point::pass("finish.after");
            drop(attending);
        });
    }

    fn send(&self, state: &State, decision: Decision) {
        let refusal = (decision == Decision::Abort).then(|| match state.told {
            Some(_) => self.why(state),
            None => Refusal::new(DUPLICATE_REQUEST, "another attempt holds the request"),
        });
        let Some(attending) = &state.attending else { return };
        for participant in 0..self.content.len() {
            // A durable no is its own acknowledgement.
            if matches!(state.reasons.get(participant), Some(Some((Vote::No, _)))) {
                continue;
            }
            if let Some(known) = self.coordinator.participants.get(self.content.participant(participant)) {
                known.decide.send(self.transaction, decision, refusal.clone(), attending.clone());
            }
        }
    }

    fn look_at_holder(self: &Arc<Self>, state: &mut State, wait: bool) {
        let pause = match wait {
            true => events::pause(state.looks, Duration::from_millis(5), Duration::from_millis(100)),
            false => Duration::ZERO,
        };
        state.looks += 1;
        let attempt = self.clone();
        self.coordinator.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            let NewRecord { client_id, request_id, .. } = &*attempt.record;
            let read = attempt.coordinator.store.holder(client_id, request_id);
            let read = tokio::time::timeout(READ_WITHIN, read).await;
            attempt.tell(Happened::Holder(read.unwrap_or(Err(sqlx::Error::PoolTimedOut))));
        });
    }

    fn recover_holder(self: &Arc<Self>, state: &mut State) {
        let Some(holder) = &state.holder else {
            return self.look_at_holder(state, true);
        };
        let attempt = self.clone();
        let transaction =
            TransactionRef { transaction_id: holder.transaction_id, deadline_unix_ms: holder.deadline_unix_ms };
        let participants = holder.participants.clone();
        self.coordinator.tasks.spawn(async move {
            crate::recover::recover(&attempt.coordinator, transaction, participants).await;
            attempt.tell(Happened::Recovered);
        });
    }

    /// Why the own record, which was found or made ABORTED, is so. None where that can't be read now.
    async fn recorded_reason(&self) -> Option<Refusal> {
        let read = self.coordinator.store.record(self.transaction.transaction_id);
        tokio::time::timeout(READ_WITHIN, read).await.ok()?.ok()??.refusal
    }

    fn tell(self: Arc<Self>, happened: Happened) {
        let coordinator = self.coordinator.clone();
        coordinator.driver.tell(self, happened);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The transaction's id.
    pub fn id(&self) -> Uuid {
        self.transaction.transaction_id
    }
}

impl Voter for Attempt {
    fn voted(self: Arc<Self>, participant: usize, voted: Voted) {
        self.tell(Happened::Voted(participant, voted));
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}
