//! One attempt at a client's request, from its start until everyone has acknowledged its end.
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use participant::clock::now_unix_ms;
use participant::{DUPLICATE_REQUEST, Refusal, TransactionRef, crash_point};
use proto::assent::transaction::v1 as wire;
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
use crate::coordinator::Coordinator;
use crate::domain::Order;
use crate::participants::branches;
use crate::store::{ClientAnswer, Finish, NewRecord, Record, Store};

/// How long after its own deadline an attempt goes on following another one that holds its request.
const FOLLOW_GRACE: Duration = Duration::from_millis(1500);
/// How long a look may take.
const READ_WITHIN: Duration = Duration::from_millis(2000);
/// How often it looks at the other one at least, however late it is.
const LOOKS: u32 = 3;

/// A checked request.
pub struct Attempt {
    /// Whose request.
    pub client_id: String,
    /// The client's name for it.
    pub request_id: String,
    /// Its content.
    pub order: Arc<Order>,
    /// Time until it is given up.
    pub timeout: Duration,
    /// The call is known to be a retry.
    pub is_retry: bool,
    /// Its place among those that wait for their answer.
    pub admitted: Admitted,
}

/// Drives an attempt in a task of its own; resolves to the answer. The attempt goes on if the caller goes away.
pub async fn place(coordinator: &Arc<Coordinator>, attempt: Attempt) -> Answer {
    let transaction_id = Uuid::now_v7();
    let (answer, receiver) = oneshot::channel();
    let (attending, repeated) = coordinator.active.begin(transaction_id, &attempt.client_id, &attempt.request_id);
    // In a box, because it is large and moved with every future around it.
    let drive = Box::new(Drive::new(coordinator.clone(), attempt, transaction_id, attending, repeated, answer));
    coordinator.tasks.spawn(drive.run());
    receiver.await.unwrap_or_else(|_| Answer::Unknown {
        order_id: transaction_id,
        cause: Refusal::new("SHUTTING_DOWN", "the coordinator stopped before it could tell the outcome"),
    })
}

struct Drive {
    coordinator: Arc<Coordinator>,
    transaction: TransactionRef,
    record: Arc<NewRecord>,
    branches: [Option<Vec<u8>>; 3],
    owner: Owner,
    deadline: Instant,
    timeout_ms: u128,
    create_time: DateTime<Utc>,
    attending: Attending,
    /// What participants said beside a no or a doubt, by their place.
    reasons: [Option<(Vote, Refusal)>; 3],
    voted: [bool; 3],
    cause: Option<Refusal>,
    /// Why the record is aborted, where that was written before the answer. The client must be told the same, because a
    /// repeat of its call will be.
    recorded: Option<Refusal>,
    holder: Option<Record>,
    answer: Option<oneshot::Sender<Answer>>,
    admitted: Option<Admitted>,
    told: Option<ClientAnswer>,
    finished: bool,
    doubts: u32,
    looks: u32,
    pending: FuturesUnordered<BoxFuture<'static, Happened>>,
    settling: Vec<BoxFuture<'static, ()>>,
}

impl Drive {
    fn new(
        coordinator: Arc<Coordinator>,
        attempt: Attempt,
        transaction_id: Uuid,
        attending: Attending,
        repeated: bool,
        answer: oneshot::Sender<Answer>,
    ) -> Self {
        let timeout_ms = attempt.timeout.as_millis();
        let deadline_unix_ms = now_unix_ms().saturating_add(i64::try_from(timeout_ms).unwrap_or(i64::MAX));
        let branches = branches::of_order(&attempt.order, &attempt.request_id).map(Some);
        let record = Arc::new(NewRecord {
            transaction_id,
            client_id: attempt.client_id,
            request_id: attempt.request_id,
            request_digest: attempt.order.digest(),
            owner_id: coordinator.owner_id.clone(),
            deadline_unix_ms,
            participants: branches::OF_AN_ORDER.join(","),
        });
        Drive {
            transaction: TransactionRef { transaction_id, deadline_unix_ms },
            record,
            branches,
            owner: Owner::new(branches::OF_AN_ORDER.len(), attempt.is_retry || repeated),
            deadline: Instant::now() + attempt.timeout,
            timeout_ms,
            create_time: Utc::now(),
            attending,
            reasons: [None, None, None],
            voted: [false; 3],
            cause: None,
            recorded: None,
            holder: None,
            answer: Some(answer),
            admitted: Some(attempt.admitted),
            told: None,
            finished: false,
            doubts: 0,
            looks: 0,
            pending: FuturesUnordered::new(),
            settling: Vec::new(),
            coordinator,
        }
    }

    async fn run(mut self: Box<Self>) {
        let mut events = VecDeque::from([Event::Start]);
        let mut timed_out = false;
        // One timer for the whole attempt, not one for each event that it waits for.
        let mut deadline = pin!(tokio::time::sleep_until(self.deadline));
        loop {
            while let Some(event) = events.pop_front() {
                for command in self.owner.on(event) {
                    self.carry_out(command);
                }
            }
            if self.owner.is_done() {
                break;
            }
            if self.looks > LOOKS && Instant::now() > self.deadline + FOLLOW_GRACE {
                // Nothing of this attempt stays and nothing is decided here: only the holder's outcome isn't known.
                self.tell(Outcome::Unknown);
                break;
            }
            tokio::select! {
                biased;
                Some(happened) = self.pending.next() => events.extend(self.learn(happened)),
                () = &mut deadline, if !timed_out => {
                    timed_out = true;
                    self.cause.get_or_insert_with(|| events::timeout(self.timeout_ms, &self.voted));
                    events.push_back(Event::DeadlinePassed);
                }
            }
        }
        self.keep_the_answer();
        self.pending.clear();
        futures::future::join_all(std::mem::take(&mut self.settling)).await;
    }

    /// Takes what happened to the owner's words, keeping the reasons.
    fn learn(&mut self, happened: Happened) -> Option<Event> {
        match happened {
            Happened::Voted(participant, voted) => {
                if let Some(slot) = self.voted.get_mut(participant) {
                    *slot = true;
                }
                if voted.vote != Vote::Yes {
                    let name = branches::OF_AN_ORDER.get(participant).copied().unwrap_or_default();
                    let refusal = events::reason(voted.vote, voted.refusal, name);
                    if let Some(slot) = self.reasons.get_mut(participant) {
                        *slot = Some((voted.vote, refusal));
                    }
                }
                Some(Event::Voted { participant, vote: voted.vote })
            }
            Happened::Staged(Ok(stage), recorded) => {
                self.recorded = recorded;
                Some(Event::Staged(stage))
            }
            Happened::Staged(Err(doubt), _) => {
                self.cause.get_or_insert_with(|| events::database(&doubt));
                Some(Event::StageUnknown)
            }
            Happened::Aborted(Ok(abort), recorded) => {
                self.recorded = recorded;
                Some(Event::RecordAborted(abort))
            }
            Happened::Aborted(Err(doubt), _) => {
                self.cause = Some(events::database(&doubt));
                Some(Event::AbortUnknown)
            }
            Happened::Holder(Ok(holder)) => {
                let seen = events::holder(holder.as_ref(), &self.record.request_digest);
                self.holder = holder;
                Some(Event::Holder(seen))
            }
            Happened::Holder(Err(error)) => {
                tracing::debug!(%error, "the holder of a request can't be read; looking again");
                self.look_at_holder(true);
                None
            }
            Happened::Recovered => {
                self.look_at_holder(true);
                None
            }
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Prepare(participant) => self.prepare(participant),
            Command::InsertStaging => {
                crash_point::pass("stage.before");
                let (store, record) = (self.coordinator.store.clone(), self.record.clone());
                let transaction_id = record.transaction_id;
                self.pending.push(Box::pin(async move {
                    let staged = store.stage(record).await;
                    crash_point::pass("stage.after");
                    let is_aborted = matches!(staged, Ok(Stage::Terminal { state: RecordState::Aborted, .. }));
                    let recorded = if is_aborted { recorded_reason(&store, transaction_id).await } else { None };
                    Happened::Staged(staged, recorded)
                }));
            }
            Command::AbortRecord => {
                let (store, record, refusal) = (self.coordinator.store.clone(), self.record.clone(), self.why());
                let pause = events::pause(self.doubts, Duration::from_millis(50), Duration::from_secs(1));
                self.doubts += 1;
                self.pending.push(Box::pin(async move {
                    tokio::time::sleep(pause).await;
                    let transaction_id = record.transaction_id;
                    let aborted = store.abort(record, refusal).await;
                    let is_aborted = matches!(aborted, Ok(Abort::Aborted { .. }));
                    let recorded = if is_aborted { recorded_reason(&store, transaction_id).await } else { None };
                    Happened::Aborted(aborted, recorded)
                }));
            }
            Command::Answer(outcome) => self.tell(outcome),
            Command::Finish(decision) => self.finish(Some(decision)),
            Command::SendCommit => self.send(Decision::Commit),
            Command::SendAbort => self.send(Decision::Abort),
            Command::ReadHolder => self.look_at_holder(false),
            Command::WaitForHolder => self.look_at_holder(true),
            Command::RecoverHolder => self.recover_holder(),
        }
    }

    fn prepare(&mut self, participant: usize) {
        let name = branches::OF_AN_ORDER.get(participant).copied().unwrap_or_default();
        let lane = self.coordinator.participants.get(name).map(|known| known.prepare.clone());
        let branch = wire::PrepareBranch {
            transaction: Some(self.transaction.into()),
            participants: branches::OF_AN_ORDER.map(str::to_owned).to_vec(),
            owner_id: self.coordinator.owner_id.clone(),
            branch: self.branches.get_mut(participant).and_then(Option::take).unwrap_or_default(),
        };
        self.pending.push(Box::pin(async move {
            let voted = match lane {
                Some(lane) => lane.prepare(branch).await,
                None => events::no_such_participant(name),
            };
            Happened::Voted(participant, voted)
        }));
    }

    /// Answers the client, once; the decision is noted first, so that a read after the answer never falls behind it.
    fn tell(&mut self, outcome: Outcome) {
        let order_id = self.transaction.transaction_id;
        let (answer, told) = match outcome {
            Outcome::Accepted => {
                self.attending.decide(Decision::Commit, None);
                (Answer::Accepted { order_id, create_time: self.create_time }, Some(ClientAnswer::Accepted))
            }
            Outcome::Rejected { .. } | Outcome::Aborted => {
                let why = self.why();
                self.attending.decide(Decision::Abort, Some(why.clone()));
                let answer = match is_refused(&why) {
                    true => Answer::Rejected { order_id, refusal: why },
                    false => Answer::Aborted { order_id, cause: why },
                };
                (answer, Some(ClientAnswer::Rejected))
            }
            Outcome::OfHolder(decision) => (events::of_holder(decision, self.holder.take(), order_id), None),
            Outcome::RequestReused => {
                (Answer::RequestReused { order_id: self.holder.take().map(|holder| holder.transaction_id) }, None)
            }
            Outcome::Unknown => (Answer::Unknown { order_id, cause: self.why() }, Some(ClientAnswer::Unknown)),
        };
        self.told = told;
        self.admitted = None;
        if let Some(client) = self.answer.take() {
            crash_point::pass("decide.before_answer");
            // A client that went away learns the outcome by repeating the call.
            let _ = client.send(answer);
            crash_point::pass("decide.after_answer");
        }
    }

    /// Why the attempt is not accepted: what was recorded; else a participant's refusal before any doubt, and doubt before
    /// the deadline.
    fn why(&self) -> Refusal {
        if let Some(recorded) = &self.recorded {
            return recorded.clone();
        }
        let of = |wanted: fn(&Vote) -> bool| {
            self.reasons.iter().flatten().find(|(vote, _)| wanted(vote)).map(|(_, refusal)| refusal.clone())
        };
        of(|vote| *vote == Vote::No)
            .or_else(|| of(|vote| *vote != Vote::No))
            .or_else(|| self.cause.clone())
            .unwrap_or_else(|| Refusal::new("TRANSACTION_ABORTED", "the transaction was aborted by a recovery"))
    }

    fn finish(&mut self, decision: Option<Decision>) {
        self.finished = true;
        let finish = Finish {
            transaction_id: self.transaction.transaction_id,
            decision,
            client_answer: self.told.unwrap_or(ClientAnswer::Nothing),
            refusal: (decision == Some(Decision::Abort)).then(|| self.why()),
        };
        let store = self.coordinator.store.clone();
        self.settling.push(Box::pin(async move {
            crash_point::pass("finish.before");
            if let Err(doubt) = store.finish(finish).await {
                // Whoever recovers the record later comes to the same decision.
                tracing::debug!(%doubt, "a decision was not recorded");
            }
            crash_point::pass("finish.after");
        }));
    }

    /// Records what the client was told where no decision had to be written.
    fn keep_the_answer(&mut self) {
        if !self.finished && self.told.is_some() {
            self.finish(None);
        }
    }

    fn send(&mut self, decision: Decision) {
        let refusal = (decision == Decision::Abort).then(|| match self.told {
            Some(_) => self.why(),
            None => Refusal::new(DUPLICATE_REQUEST, "another attempt holds the request"),
        });
        for (participant, name) in branches::OF_AN_ORDER.iter().enumerate() {
            // A durable no is its own acknowledgement.
            if matches!(self.reasons.get(participant), Some(Some((Vote::No, _)))) {
                continue;
            }
            if let Some(known) = self.coordinator.participants.get(name) {
                let done = known.decide.send(self.transaction, decision, refusal.clone());
                self.settling.push(Box::pin(async move {
                    let _ = done.await;
                }));
            }
        }
    }

    fn look_at_holder(&mut self, wait: bool) {
        let pause = if wait {
            events::pause(self.looks, Duration::from_millis(5), Duration::from_millis(100))
        } else {
            Duration::ZERO
        };
        self.looks += 1;
        let (store, record) = (self.coordinator.store.clone(), self.record.clone());
        self.pending.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            let read = store.holder(&record.client_id, &record.request_id);
            let read = tokio::time::timeout(READ_WITHIN, read).await;
            Happened::Holder(read.unwrap_or(Err(sqlx::Error::PoolTimedOut)))
        }));
    }

    fn recover_holder(&mut self) {
        let Some(holder) = &self.holder else {
            return self.look_at_holder(true);
        };
        let coordinator = self.coordinator.clone();
        let transaction =
            TransactionRef { transaction_id: holder.transaction_id, deadline_unix_ms: holder.deadline_unix_ms };
        let participants = holder.participants.clone();
        self.pending.push(Box::pin(async move {
            crate::recover::recover(&coordinator, transaction, participants).await;
            Happened::Recovered
        }));
    }
}

/// Why a record that was found or made ABORTED is so. None where that can't be read now.
async fn recorded_reason(store: &Store, transaction_id: Uuid) -> Option<Refusal> {
    let read = tokio::time::timeout(READ_WITHIN, store.record(transaction_id)).await;
    read.ok()?.ok()??.refusal
}
