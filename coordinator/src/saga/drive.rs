//! Drives one saga: feeds [`protocol::saga::owner::Owner`] with what happened and carries out what it commands.
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use participant::clock::now_unix_ms;
use participant::{Refusal, TransactionRef, crash_point};
use proto::assent::transaction::v1 as wire;
use protocol::Decision;
use protocol::saga::owner::{Answer as Told, Command, Event, Owner};
use protocol::saga::{Definition, Denied, Kind, Saga, SagaState, StepState, Write};
use protocol::step::StepResult;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Driven, Leave, follow, group, order, retry};
use crate::admission::Admitted;
use crate::coordinator::Coordinator;
use crate::owner::{Answer, Attending, events, is_refused};
use crate::participants::{Stepped, refusal_to_wire};
use crate::store::{ClientAnswer, Doubt, NewRecord, NewSaga, NewStep, Record, SagaNote, SagaRow, SagaWrite};

/// How much later than now a renewed deadline lies: long enough for one more try to arrive. What comes later than that is
/// renewed again.
const RENEWED_MS: i64 = 5_000;

/// When the time of a step is over. It is counted from the saga's beginning, which its id tells, so that whoever takes the saga
/// over comes to the same.
fn limit(saga_id: Uuid, timeout_ms: i32) -> Option<Instant> {
    let (seconds, nanos) = saga_id.get_timestamp()?.to_unix();
    let begun_unix_ms = i64::try_from(seconds).ok()?.saturating_mul(1_000).saturating_add(i64::from(nanos / 1_000_000));
    let left_ms = begun_unix_ms.saturating_add(timeout_ms.into()).saturating_sub(now_unix_ms());
    Some(Instant::now() + Duration::from_millis(left_ms.clamp(0, 86_400_000).unsigned_abs()))
}

/// The client that waits for the answer.
pub struct Client {
    /// Where it waits.
    pub answer: oneshot::Sender<Answer>,
    /// When it asked.
    pub create_time: DateTime<Utc>,
    /// What it asked for.
    pub record: NewRecord,
    /// Until when it waits.
    pub deadline: Instant,
    /// Its place among those that wait.
    pub _admitted: Admitted,
}

/// What happened.
enum Happened {
    Executed { step: usize, deadline: i64, stepped: Stepped },
    Compensated { step: usize, undone: Result<(), Refusal> },
    Written(Result<Result<Saga, Denied>, Doubt>),
    Superseded,
}

/// A saga's driver.
pub struct Drive {
    coordinator: Arc<Coordinator>,
    transaction_id: Uuid,
    epoch: u64,
    steps: Vec<NewStep>,
    definition: Definition,
    owner: Owner,
    /// Tries in vain, by step, since it was begun or turned.
    attempts: Vec<u32>,
    /// When a step may be asked, where a driver before this one has waited for that.
    not_before: Vec<Option<DateTime<Utc>>>,
    /// What participants said, by step.
    reasons: Vec<Option<Refusal>>,
    /// Why it turns.
    why: Option<Refusal>,
    deadline: Instant,
    /// By when steps must be done, where they say so.
    limits: Vec<Option<Instant>>,
    timeout_ms: u128,
    client: Option<Client>,
    /// The saga's place among the attempts under way, where it was begun here.
    _attending: Option<Attending>,
    /// What the record keeps as told.
    told: ClientAnswer,
    write_tries: u32,
    pending: FuturesUnordered<BoxFuture<'static, Happened>>,
}

impl Drive {
    /// The driver of a saga that was just begun.
    pub fn of_new(
        coordinator: &Arc<Coordinator>,
        new: &NewSaga,
        timeout_ms: u128,
        client: Client,
        attending: Attending,
    ) -> Box<Self> {
        let steps = new.steps.clone();
        let step = |it: &NewStep| protocol::saga::Step { kind: it.kind, after: it.after.clone() };
        // The steps of an order are a saga; a test says so.
        let definition = Definition::new(steps.iter().map(step).collect());
        let definition = definition.unwrap_or_else(|malformed| unreachable!("an order's steps: {malformed:?}"));
        let saga = definition.begin(new.record.deadline_unix_ms);
        let deadline = client.deadline;
        let waiting = vec![None; steps.len()];
        let drive = Drive::new(coordinator, new.record.transaction_id, 1, steps, definition, saga, waiting, deadline);
        Box::new(Drive { timeout_ms, client: Some(client), _attending: Some(attending), ..drive })
    }

    /// The driver of a saga that this process has taken over under `epoch`.
    pub fn of_taken(coordinator: &Arc<Coordinator>, row: SagaRow, epoch: u64, record: &Record) -> Option<Box<Self>> {
        let definition = row.definition()?;
        let left_ms = record.deadline_unix_ms.saturating_sub(now_unix_ms()).clamp(0, 86_400_000);
        let deadline = Instant::now() + Duration::from_millis(left_ms.unsigned_abs());
        let not_before = row.steps.iter().map(|step| step.next_attempt_time).collect();
        let attempts = row.steps.iter().map(|step| step.attempt_count.unsigned_abs()).collect();
        let steps = row.steps.into_iter().map(|step| step.step).collect();
        let drive =
            Drive::new(coordinator, row.transaction_id, epoch, steps, definition, row.saga, not_before, deadline);
        Some(Box::new(Drive { attempts, why: record.refusal.clone(), ..drive }))
    }

    #[expect(clippy::too_many_arguments, reason = "the two ways in share it")]
    fn new(
        coordinator: &Arc<Coordinator>,
        transaction_id: Uuid,
        epoch: u64,
        steps: Vec<NewStep>,
        definition: Definition,
        saga: Saga,
        not_before: Vec<Option<DateTime<Utc>>>,
        deadline: Instant,
    ) -> Self {
        let limit = |step: &NewStep| limit(transaction_id, step.timeout_ms?);
        Drive {
            limits: steps.iter().map(limit).collect(),
            coordinator: coordinator.clone(),
            transaction_id,
            epoch,
            definition,
            owner: Owner::new(saga),
            attempts: vec![0; steps.len()],
            reasons: vec![None; steps.len()],
            steps,
            not_before,
            why: None,
            deadline,
            timeout_ms: 0,
            client: None,
            _attending: None,
            told: ClientAnswer::Nothing,
            write_tries: 0,
            pending: FuturesUnordered::new(),
        }
    }

    /// Drives it until it has ended, somebody else drives it, or it is told to leave.
    pub async fn run(mut self: Box<Self>, mut told: watch::Receiver<Leave>, driven: Driven) {
        let mut events = VecDeque::from([Event::Start]);
        let mut given_up = false;
        loop {
            while let Some(event) = events.pop_front() {
                for command in self.owner.on(&self.definition, event) {
                    self.carry_out(command);
                }
            }
            let leaves = match *told.borrow_and_update() {
                Leave::No => false,
                Leave::IfNobodyWaits => self.client.is_none(),
                Leave::Now => true,
            };
            if self.owner.is_done() || leaves {
                break;
            }
            let late = self.next_limit();
            tokio::select! {
                biased;
                Ok(()) = told.changed() => (),
                Some(happened) = self.pending.next() => events.extend(self.learn(happened)),
                () = tokio::time::sleep_until(self.deadline), if !given_up => {
                    given_up = true;
                    self.note_timeout();
                    events.push_back(Event::GiveUp);
                }
                () = tokio::time::sleep_until(late.map_or(self.deadline, |(at, _)| at)), if late.is_some() && !given_up => {
                    if let Some((_, step)) = late {
                        given_up = true;
                        self.note_late(step);
                        events.push_back(Event::GiveUp);
                    }
                }
            }
        }
        self.pending.clear();
        let client = self.client.take();
        let coordinator = self.coordinator.clone();
        drop(self);
        // Whoever waits for the driver to leave waits no longer; the client's answer takes its time.
        drop((driven, told));
        if let Some(client) = client {
            let answered = follow::outcome(&coordinator, &client.record, client.deadline).await;
            let _ = client.answer.send(answered);
        }
    }

    fn learn(&mut self, happened: Happened) -> Vec<Event> {
        match happened {
            Happened::Executed { step, deadline, stepped } => {
                let renew_to = now_unix_ms().saturating_add(RENEWED_MS);
                let event = Event::Executed { step, result: stepped.result, deadline, renew_to };
                let invalid = stepped.refusal.as_ref().is_some_and(|refusal| refusal.reason == "INVALID_ARGUMENT");
                if stepped.result != StepResult::Executed {
                    self.keep_reason(step, stepped);
                }
                // Asking again changes nothing about what the participant can't read.
                if invalid && self.why.is_none() {
                    self.why = self.reasons.get(step).cloned().flatten();
                    return vec![event, Event::GiveUp];
                }
                vec![event]
            }
            Happened::Compensated { step, undone } => {
                let acknowledged = undone.is_ok();
                if let (Err(refusal), Some(slot)) = (undone, self.reasons.get_mut(step)) {
                    *slot = Some(refusal);
                }
                vec![Event::Compensated { step, acknowledged }]
            }
            Happened::Written(Ok(Ok(saga))) => {
                self.write_tries = 0;
                if saga.state != self.owner.saga().state {
                    self.attempts.fill(0);
                    self.not_before.fill(None);
                }
                vec![Event::Written(saga)]
            }
            Happened::Written(Ok(Err(denied))) => {
                tracing::info!(transaction_id = %self.transaction_id, epoch = self.epoch, ?denied, "somebody else drives this saga");
                vec![Event::Denied(denied)]
            }
            Happened::Written(Err(doubt)) => {
                tracing::debug!(transaction_id = %self.transaction_id, %doubt, "a saga's row was not written; trying again");
                self.write_tries += 1;
                vec![Event::WriteUnknown]
            }
            Happened::Superseded => vec![Event::Denied(Denied::Superseded)],
        }
    }

    fn keep_reason(&mut self, step: usize, stepped: Stepped) {
        let name = self.steps.get(step).map_or("", |step| step.participant.as_str());
        let refusal =
            stepped.refusal.filter(|refusal| !refusal.reason.is_empty()).unwrap_or_else(|| match stepped.result {
                StepResult::Forgotten => Refusal::new("FORGOTTEN", format!("{name} has passed the saga's deadline")),
                _ => Refusal::new("PARTICIPANT_UNAVAILABLE", format!("{name} is in doubt")),
            });
        if let Some(slot) = self.reasons.get_mut(step) {
            *slot = Some(refusal.with("participant", name));
        }
    }

    /// The step whose time is over first, and when, as long as the saga can turn for it.
    fn next_limit(&self) -> Option<(Instant, usize)> {
        let saga = self.owner.saga();
        if saga.state != SagaState::Forward || self.definition.pivot_may_have_executed(saga) {
            return None;
        }
        let pending = saga.steps.iter().enumerate().filter(|(_, state)| **state == StepState::Pending);
        pending.filter_map(|(step, _)| Some((self.limits.get(step).copied().flatten()?, step))).min()
    }

    fn note_late(&mut self, step: usize) {
        let Some(NewStep { name, participant, timeout_ms, .. }) = self.steps.get(step) else { return };
        let within = timeout_ms.unwrap_or_default();
        let message = format!("the step {name} was not done within {within} ms: {participant} did not do it in time");
        let late = Refusal::new("TIMEOUT", message).with("step", name).with("participant", participant);
        self.why.get_or_insert(late);
    }

    fn note_timeout(&mut self) {
        let saga = self.owner.saga();
        let waiting = self.definition.executable(saga).filter_map(|step| self.steps.get(step));
        let mut waiting: Vec<&str> = waiting.map(|step| step.participant.as_str()).collect();
        waiting.dedup();
        let timeout = order::timeout(self.timeout_ms, &waiting);
        self.why.get_or_insert(timeout);
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Execute(step) | Command::Compensate(step) => {
                let wait = self.not_before.get_mut(step).and_then(Option::take).map(|time| time - Utc::now());
                let wait = wait.and_then(|wait| wait.to_std().ok()).unwrap_or_default();
                let ask = self.ask(step);
                self.pending.push(Box::pin(async move {
                    tokio::time::sleep(wait).await;
                    ask.await
                }));
            }
            Command::ExecuteAgain(step) | Command::CompensateAgain(step) => self.ask_again(step),
            Command::Write(write) => self.write(write),
            Command::Answer(told) => self.answer(told),
        }
    }

    /// Notes that the step is asked again later, waits, and asks; unless somebody else owns the saga by then.
    fn ask_again(&mut self, step: usize) {
        let attempts = self.attempts.get_mut(step).map_or(1, |attempts| {
            *attempts = attempts.saturating_add(1);
            *attempts
        });
        let pause = retry::pause(attempts, &mut rand::rng());
        let note = SagaNote {
            transaction_id: self.transaction_id,
            epoch: self.epoch,
            step,
            attempt_count: i32::try_from(attempts).unwrap_or(i32::MAX),
            next_attempt_time: Utc::now() + TimeDelta::from_std(pause).unwrap_or_default(),
            last_error: self.reasons.get(step).cloned().flatten().map(|refusal| refusal.message).unwrap_or_default(),
        };
        let (store, ask) = (self.coordinator.store.clone(), self.ask(step));
        self.pending.push(Box::pin(async move {
            let (noted, ()) = tokio::join!(store.note_saga(note), tokio::time::sleep(pause));
            match noted {
                Ok(false) => Happened::Superseded,
                // A database that is away stops nobody: whoever takes over later finds the same keys.
                Ok(true) | Err(_) => ask.await,
            }
        }));
    }

    /// Carries out or undoes a step whose participant is the coordinator itself.
    fn ask_own(&self, step: usize, name: String, branch: Vec<u8>, deadline: i64) -> BoxFuture<'static, Happened> {
        let coordinator = self.coordinator.clone();
        let saga_id = self.transaction_id;
        let own = group::Step { saga_id, name, branch, deadline_unix_ms: deadline };
        if self.owner.saga().state == SagaState::Backward {
            let why = self.why();
            return Box::pin(async move {
                Happened::Compensated { step, undone: group::compensate(coordinator, own, why).await }
            });
        }
        Box::pin(async move { Happened::Executed { step, deadline, stepped: group::execute(coordinator, own).await } })
    }

    /// Sends the EXECUTE or COMPENSATE of a step.
    fn ask(&self, step: usize) -> BoxFuture<'static, Happened> {
        let saga = self.owner.saga();
        let (backward, deadline) = (saga.state == SagaState::Backward, saga.deadline);
        let Some(NewStep { name, participant, kind, branch, .. }) = self.steps.get(step).cloned() else {
            return Box::pin(std::future::pending());
        };
        if participant == group::NAME {
            return self.ask_own(step, name, branch, deadline);
        }
        let transaction = TransactionRef { transaction_id: self.transaction_id, deadline_unix_ms: deadline };
        let key = Some(wire::StepRef { transaction: Some(transaction.into()), step: name });
        let lanes = self.coordinator.participants.get(&participant).map(|known| known.steps.clone());
        let missing = move || {
            let message = format!("no participant is called {participant:?}; see --participants");
            Refusal::new("PARTICIPANT_UNAVAILABLE", message)
        };
        if backward {
            let refusal = Some(refusal_to_wire(&self.why()));
            return Box::pin(async move {
                let undone = match lanes {
                    Some(lanes) => lanes.compensate(wire::CompensateStep { step: key, refusal }).await,
                    None => Err(missing()),
                };
                Happened::Compensated { step, undone }
            });
        }
        let execute = wire::ExecuteStep { step: key, branch, must_succeed: kind == Kind::Retriable };
        Box::pin(async move {
            let stepped = match lanes {
                Some(lanes) => lanes.execute(execute).await,
                None => Stepped { result: StepResult::Unknown, refusal: Some(missing()) },
            };
            Happened::Executed { step, deadline, stepped }
        })
    }

    fn write(&mut self, write: Write) {
        let turns = matches!(write, Write::Turn { .. });
        if let Write::Turn { refused: Some(step) } = &write {
            self.why = self.reasons.get(*step).cloned().flatten();
        }
        let client_answer = match (&self.client, self.told) {
            (None, told) => told,
            (Some(_), _) if turns => ClientAnswer::Rejected,
            (Some(_), _) => ClientAnswer::Accepted,
        };
        let write = SagaWrite {
            transaction_id: self.transaction_id,
            epoch: self.epoch,
            write,
            client_answer,
            refusal: turns.then(|| self.why()),
        };
        let store = self.coordinator.store.clone();
        let pause = events::pause(self.write_tries, Duration::from_millis(50), Duration::from_secs(1));
        self.pending.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            let (before, after) = points(&write.write);
            crash_point::pass(before);
            let written = store.write_saga(write).await;
            crash_point::pass(after);
            Happened::Written(written)
        }));
    }

    /// Why it turns or has turned.
    fn why(&self) -> Refusal {
        let lost = || Refusal::new("OWNER_LOST", "its coordinator was lost, and its deadline has passed");
        self.why.clone().unwrap_or_else(lost)
    }

    /// Notes the decision, so that a read after the answer never falls behind it.
    fn decide(&self, decision: Decision, refusal: Option<Refusal>) {
        self.coordinator.active.decide(self.transaction_id, decision, refusal);
    }

    /// Answers the client, once.
    fn answer(&mut self, told: Told) {
        let Some(client) = self.client.take() else { return };
        let order_id = self.transaction_id;
        let answer = match told {
            Told::Accepted => {
                self.decide(Decision::Commit, None);
                Answer::Accepted { order_id, create_time: client.create_time }
            }
            Told::Refused(_) => {
                let why = self.why();
                self.decide(Decision::Abort, Some(why.clone()));
                match is_refused(&why) {
                    true => Answer::Rejected { order_id, refusal: why },
                    false => Answer::Aborted { order_id, cause: why },
                }
            }
            Told::Unknown => {
                self.told = ClientAnswer::Unknown;
                Answer::Unknown { order_id, cause: self.why() }
            }
        };
        crash_point::pass("saga.before_answer");
        // A client that went away learns the outcome by repeating the call.
        let _ = client.answer.send(answer);
        crash_point::pass("saga.after_answer");
    }
}

/// The crash points around a write.
fn points(write: &Write) -> (&'static str, &'static str) {
    match write {
        Write::Executed(_) => ("saga.before_result", "saga.after_result"),
        Write::Turn { .. } => ("saga.before_turn", "saga.after_turn"),
        Write::Compensated => ("saga.before_compensated", "saga.after_compensated"),
        // Ten minutes late: not among the places that are listed, because no load comes here.
        Write::Renew(_) => ("saga.before_renew", "saga.after_renew"),
    }
}
