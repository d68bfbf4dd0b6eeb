//! One run of Recover: feeds [`Recovery`] with what happened and carries out what it commands.
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use participant::{Refusal, TransactionRef, crash_point, names};
use protocol::record::{Abort, RecordState};
use protocol::recovery::{Command, Event, Outcome, Recovery};
use protocol::{Decision, Vote};
use tokio::sync::{SemaphorePermit, oneshot};

use super::Recovered;
use crate::coordinator::Coordinator;
use crate::owner::is_refused;
use crate::participants::{Voted, Waiter};
use crate::store::{NewRecord, Record};

/// How long a run waits for the decision to be acknowledged; it goes on being sent after that.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(1);
/// How often a run begins again when a record appears under its hands.
const TRIES: u32 = 3;

/// Runs Recover on a transaction; `read` is its record if that was read lately, and may be behind what stands.
pub async fn run(
    coordinator: &Arc<Coordinator>,
    transaction: TransactionRef,
    participants: &[String],
    mut read: Option<Record>,
    permit: SemaphorePermit<'_>,
) -> Recovered {
    let mut permit = Some(permit);
    for _ in 0..TRIES {
        let record = match read.take() {
            Some(record) => Some(record),
            None => match coordinator.store.record(transaction.transaction_id).await {
                Ok(record) => record,
                Err(error) => return Recovered::in_doubt(format!("the coordinator's database: {error}")),
            },
        };
        if let Some(record) = record.as_ref().filter(|record| record.is_saga) {
            return of_saga(coordinator, record).await;
        }
        let names = match &record {
            Some(record) if !record.participants.is_empty() => record.participants.clone(),
            _ if !participants.is_empty() => participants.to_vec(),
            // Only to send a decision: who is not concerned leaves a refusal that nobody will ever ask for.
            _ => coordinator.participants.names(),
        };
        let run = Run {
            coordinator,
            transaction: TransactionRef {
                deadline_unix_ms: record.as_ref().map_or(transaction.deadline_unix_ms, |it| it.deadline_unix_ms),
                ..transaction
            },
            names,
            record,
            no: None,
            doubts: Vec::new(),
            fences: FuturesUnordered::new(),
            acknowledged: None,
        };
        if let Some(recovered) = run.until_known(&mut permit).await {
            return recovered;
        }
    }
    Recovered::in_doubt("the record changed while it was being recovered")
}

/// What a saga has come to. It is gone on with by its own rules, and no participant is fenced for it.
async fn of_saga(coordinator: &Arc<Coordinator>, record: &Record) -> Recovered {
    match record.state {
        RecordState::Committed => decided(Decision::Commit),
        RecordState::Aborted => decided(Decision::Abort),
        RecordState::Staging => {
            crate::saga::adopt(coordinator, record.transaction_id).await;
            Recovered::in_doubt("it is a saga under way")
        }
    }
}

fn decided(decision: Decision) -> Recovered {
    Recovered { outcome: Outcome::Decided(decision), detail: String::new() }
}

struct Run<'a> {
    coordinator: &'a Arc<Coordinator>,
    transaction: TransactionRef,
    names: Vec<String>,
    record: Option<Record>,
    /// The reason of the first no.
    no: Option<Refusal>,
    doubts: Vec<String>,
    fences: FuturesUnordered<BoxFuture<'a, (usize, Voted)>>,
    /// Ends when every participant has acknowledged.
    acknowledged: Option<oneshot::Receiver<()>>,
}

impl Run<'_> {
    /// None when a STAGING record appeared whose participants this run did not know: it has to begin again.
    async fn until_known(mut self, permit: &mut Option<SemaphorePermit<'_>>) -> Option<Recovered> {
        let mut recovery = Recovery::new(self.names.len());
        let mut events = VecDeque::from([Event::Start]);
        let mut outcome = None;
        loop {
            while let Some(event) = events.pop_front() {
                if event == Event::RecordAborted(Abort::Staging) {
                    return None;
                }
                for command in recovery.on(event) {
                    match command {
                        Command::Answer(answer) => outcome = Some(answer),
                        command => events.extend(self.carry_out(command).await),
                    }
                }
            }
            if let Some(outcome) = outcome {
                // The next run need not wait until this decision has arrived everywhere.
                permit.take();
                return Some(self.answer(outcome).await);
            }
            match self.fences.next().await {
                Some((participant, voted)) => events.push_back(self.learn(participant, voted)),
                // Nothing under way and nothing decided can't be; if it were, it would be doubt.
                None => return Some(self.answer(Outcome::InDoubt).await),
            }
        }
    }

    async fn carry_out(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::ReadRecord => Some(Event::Read(self.record.as_ref().map(|record| record.state))),
            Command::InsertAborted => {
                let refusal = Refusal::new("RECOVERED", "recovered where no record stood: its owner never wrote it");
                let inserted = self.coordinator.store.insert_aborted(self.new_record(), refusal).await;
                Some(self.decided(inserted.map(Event::RecordAborted)))
            }
            Command::AbortRecord => {
                let aborted = self.coordinator.store.abort(self.new_record(), self.why_aborted()).await;
                Some(self.decided(aborted.map(Event::RecordAborted)))
            }
            Command::CommitRecord => {
                let committed = self.coordinator.store.commit(self.transaction.transaction_id).await;
                Some(self.decided(committed.map(Event::RecordCommitted)))
            }
            Command::Fence(participant) => {
                self.fence(participant);
                None
            }
            Command::SendCommit => self.send(Decision::Commit),
            Command::SendAbort => self.send(Decision::Abort),
            // Taken by the loop.
            Command::Answer(_) => None,
        }
    }

    fn decided(&mut self, event: Result<Event, crate::store::Doubt>) -> Event {
        crash_point::pass("recover.after_decision");
        event.unwrap_or_else(|doubt| {
            self.doubts.push(format!("the coordinator's database: {doubt}"));
            Event::RecordUnknown
        })
    }

    fn fence(&mut self, participant: usize) {
        let (coordinator, transaction) = (self.coordinator, self.transaction);
        let name = self.names.get(participant).cloned().unwrap_or_default();
        self.fences.push(Box::pin(async move {
            let voted = match coordinator.participants.get(&name) {
                Some(known) => known.fence(transaction).await,
                None => Voted::unknown("PARTICIPANT_UNAVAILABLE", format!("no participant is called {name:?}")),
            };
            (participant, voted)
        }));
    }

    fn learn(&mut self, participant: usize, voted: Voted) -> Event {
        match voted.vote {
            Vote::No => {
                let name = self.names.get(participant).cloned().unwrap_or_default();
                let refusal = voted.refusal.map(|refusal| refusal.with("participant", name));
                self.no = self.no.take().or(refusal);
            }
            Vote::Unknown => self.doubts.extend(voted.refusal.map(|refusal| refusal.message)),
            Vote::Yes | Vote::Forgotten => (),
        }
        Event::Fenced { participant, vote: voted.vote }
    }

    fn send(&mut self, decision: Decision) -> Option<Event> {
        let refusal = (decision == Decision::Abort).then(|| self.why_aborted());
        let (waiter, acknowledged) = oneshot::channel();
        let waiter: Waiter = Arc::new(waiter);
        for name in &self.names {
            if let Some(known) = self.coordinator.participants.get(name) {
                known.decide.send(self.transaction, decision, refusal.clone(), waiter.clone());
            }
        }
        self.acknowledged = Some(acknowledged);
        None
    }

    /// A participant's own refusal if there is one, as the owner would have told it.
    fn why_aborted(&self) -> Refusal {
        let recorded = self.record.as_ref().and_then(|record| record.refusal.as_ref());
        recorded
            .or(self.no.as_ref().filter(|no| is_refused(no)))
            .cloned()
            .unwrap_or_else(|| Refusal::new("RECOVERED", "its owner was lost before every participant had voted yes"))
    }

    fn new_record(&self) -> Arc<NewRecord> {
        let mut new = NewRecord {
            transaction_id: self.transaction.transaction_id,
            owner_id: self.coordinator.owner_id.clone(),
            deadline_unix_ms: self.transaction.deadline_unix_ms,
            participants: names::join(&self.names).into(),
            ..NewRecord::default()
        };
        if let Some(record) = &self.record {
            new.client_id.clone_from(&record.client_id);
            new.request_id.clone_from(&record.request_id);
            new.request_digest.clone_from(&record.request_digest);
            new.owner_id = record.owner_id.as_str().into();
        }
        Arc::new(new)
    }

    async fn answer(self, outcome: Outcome) -> Recovered {
        let id = self.transaction.transaction_id;
        match outcome {
            Outcome::InDoubt => tracing::debug!(transaction_id = %id, doubts = ?self.doubts, "recovery is in doubt"),
            decided => tracing::info!(transaction_id = %id, outcome = ?decided, "recovered"),
        }
        // The lanes go on if this is over first.
        if let Some(acknowledged) = self.acknowledged {
            let _ = tokio::time::timeout(ACKNOWLEDGED_WITHIN, acknowledged).await;
        }
        Recovered { outcome, detail: self.doubts.join("; ") }
    }
}
