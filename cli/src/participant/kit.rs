//! The conversation with the participant: every message goes out here, every answer is held against the rules, and all
//! of it is written down for the case that something breaks.
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use proto::assent::transaction::v1 as wire;
use proto::assent::transaction::v1::participant_service_client::ParticipantServiceClient;
use protocol::branch::BranchState;
use tonic::transport::Channel;
use tonic::{Response, Status};
use uuid::Uuid;

use super::books::Figures;
use super::oracle::{self, Answer, Message};
use super::plan::Plan;
use super::probe::{Probe, state_name};
use super::stop::Stop;
use crate::client::endpoint;
use crate::failure::Failure;

/// A page of 5,000 rows.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// Rows that are read at once when a check is cleared away.
const LOOKED_AT_ONCE: usize = 32;

/// What is known of the transactions of the check that runs.
#[derive(Debug, Default)]
struct Notes {
    /// What was sent and came back.
    transcript: Vec<String>,
    /// Which rows must stand, and of which probes.
    rows: BTreeMap<Uuid, Probe>,
    /// How many branches were committed.
    committed: i64,
}

/// The kit and its way to the participant.
pub struct Kit {
    /// What was asked for.
    pub plan: Plan,
    /// The participant.
    pub client: ParticipantServiceClient<Channel>,
    /// The way to it, for its other services.
    pub channel: Channel,
    /// Its host and port.
    pub authority: String,
    /// How long an answer may take.
    timeout: Duration,
    notes: Mutex<Notes>,
}

/// An answer, with the reason that came with it.
pub type Answered = (Answer, Option<wire::Refusal>);

impl Kit {
    /// Connects to the participant.
    pub async fn connect(plan: Plan, address: &str, timeout: Duration) -> Result<Self, Failure> {
        let endpoint = endpoint(address)?;
        let authority = endpoint.uri().authority().map(ToString::to_string).unwrap_or_default();
        let channel = endpoint.connect().await;
        let channel =
            channel.map_err(|_| Failure::new(format!("nothing answers at {address}")).hint("is it started?"))?;
        let client = ParticipantServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Kit { plan, client, channel, authority, timeout, notes: Mutex::default() })
    }

    /// A new transaction with a branch that the participant takes.
    pub fn probe(&self) -> Probe {
        Probe::new(&self.plan.name, self.plan.branch.clone())
    }

    /// A new transaction with a branch that the participant refuses.
    pub fn refused(&self) -> Result<Probe, Stop> {
        let Some(branch) = self.plan.refused.clone() else {
            return Err(Stop::skip(
                "no branch is known that the participant refuses: give --refused-branch-hex or -file",
            ));
        };
        let mut probe = Probe::new(&self.plan.name, branch);
        probe.standing.takes = false;
        Ok(probe)
    }

    /// Sends one message and insists on the answer that the rules demand.
    pub async fn send(&self, message: Message, probe: &mut Probe) -> Result<(), Stop> {
        self.send_all(message, &mut [probe]).await
    }

    /// Sends a batch and insists on every answer.
    pub async fn send_all(&self, message: Message, probes: &mut [&mut Probe]) -> Result<(), Stop> {
        // One after the other, as far as the rules are concerned: a batch may name a transaction twice.
        let expected = self.expected(message, probes);
        let asked: Vec<Probe> = probes.iter().map(|probe| (**probe).clone()).collect();
        let answers = self.answers(message, &asked).await?;
        for ((probe, expected), (came, _)) in asked.iter().zip(expected).zip(answers) {
            if came != expected {
                let row = state_name(probe.standing.row);
                let below = if probe.standing.below { ", below the watermark" } else { "" };
                let place = format!("{} where {row} stands{below}", message.name());
                return Err(self.broken(format!("{expected} to {place}"), came));
            }
        }
        for probe in probes {
            self.advance(message, probe);
        }
        Ok(())
    }

    /// What the rules demand for each, in their order.
    fn expected(&self, message: Message, probes: &[&mut Probe]) -> Vec<Answer> {
        let mut rows: BTreeMap<Uuid, Option<BranchState>> = BTreeMap::new();
        let each = probes.iter().map(|probe| {
            let row = rows.get(&probe.id).copied().unwrap_or(probe.standing.row);
            let (answer, row) = oracle::expect(message, oracle::Standing { row, ..probe.standing });
            rows.insert(probe.id, row);
            answer
        });
        each.collect()
    }

    /// Notes what must stand after a message.
    fn advance(&self, message: Message, probe: &mut Probe) {
        let (_, row) = oracle::expect(message, probe.standing);
        self.now_stands(probe, row);
    }

    /// Notes what must stand.
    pub fn now_stands(&self, probe: &mut Probe, row: Option<BranchState>) {
        let mut notes = self.notes();
        let before = notes.rows.get(&probe.id).and_then(|known| known.standing.row);
        if row == Some(BranchState::Committed) && before != row {
            notes.committed += 1;
        }
        probe.standing.row = row;
        notes.rows.insert(probe.id, probe.clone());
    }

    /// Sends a batch and returns what came back, one answer for each.
    pub async fn answers(&self, message: Message, probes: &[Probe]) -> Result<Vec<Answered>, Stop> {
        {
            let mut notes = self.notes();
            for probe in probes {
                notes.rows.entry(probe.id).or_insert_with(|| probe.clone());
            }
        }
        let sent = match probes {
            [one] => format!("{} {}", message.name(), one.id),
            many => format!("{} of {} transactions", message.name(), many.len()),
        };
        let answers = match self.within(self.call(message, probes)).await {
            Ok(answers) => answers,
            Err(status) => {
                self.note(format!("{sent}: {}", told(&status)));
                return Err(self.broken("an answer", told(&status)));
            }
        };
        let words: Vec<String> = answers.iter().map(|(answer, _)| answer.to_string()).collect();
        self.note(format!("{sent}: {}", words.join(", ")));
        match answers.len() == probes.len() {
            true => Ok(answers),
            false => Err(self.broken(format!("{} answers", probes.len()), format!("{} answers", answers.len()))),
        }
    }

    async fn call(&self, message: Message, probes: &[Probe]) -> Result<Vec<Answered>, Status> {
        let mut client = self.client.clone();
        let transactions = || probes.iter().map(Probe::reference).collect();
        let acknowledged =
            |each: i32| (Answer::Acknowledged(wire::Acknowledgement::try_from(each).unwrap_or_default()), None);
        Ok(match message {
            Message::Prepare => {
                let branches = probes.iter().map(Probe::to_prepare).collect();
                let answer = client.prepare(wire::PrepareRequest { branches }).await?.into_inner();
                answer.results.into_iter().map(|it| (Answer::Vote(it.vote()), it.refusal)).collect()
            }
            Message::Fence => {
                let answer = client.fence(wire::FenceRequest { transactions: transactions() }).await?.into_inner();
                answer.results.into_iter().map(|it| (Answer::Vote(it.vote()), it.refusal)).collect()
            }
            Message::Commit | Message::CommitDurably => {
                let durable = message == Message::CommitDurably;
                let request = wire::CommitRequest { transactions: transactions(), durable };
                client.commit(request).await?.into_inner().acknowledgements.into_iter().map(acknowledged).collect()
            }
            Message::Abort => {
                let branches = probes.iter().map(Probe::to_abort).collect();
                let answer = client.abort(wire::AbortRequest { branches }).await?.into_inner();
                answer.acknowledgements.into_iter().map(acknowledged).collect()
            }
            Message::End => {
                let answer = client.end(wire::EndRequest { transactions: transactions() }).await?.into_inner();
                answer.acknowledgements.into_iter().map(acknowledged).collect()
            }
        })
    }

    /// Reads a row.
    pub async fn row(&self, id: Uuid) -> Result<Option<wire::Branch>, Stop> {
        let mut client = self.client.clone();
        let request = wire::GetBranchRequest { transaction_id: id.to_string() };
        match self.within(async move { client.get_branch(request).await.map(Response::into_inner) }).await {
            Ok(answer) => {
                self.note(format!("GetBranch {id}: {}", state_name(state(answer.branch.as_ref()))));
                Ok(answer.branch)
            }
            Err(status) => Err(self.broken("an answer to GetBranch", told(&status))),
        }
    }

    /// Insists that the row stands that must.
    pub async fn stands(&self, probe: &Probe) -> Result<(), Stop> {
        let found = state(self.row(probe.id).await?.as_ref());
        match found == probe.standing.row {
            true => Ok(()),
            false => Err(self.broken(format!("{} in GetBranch", state_name(probe.standing.row)), state_name(found))),
        }
    }

    /// What the participant holds and has taken.
    pub async fn figures(&self) -> Result<Option<Figures>, Stop> {
        self.plan
            .books
            .read(&self.channel)
            .await
            .map_err(|wrong| self.broken("figures of what is held and taken", wrong))
    }

    /// How many branches the current check has left prepared, and how many it has committed.
    pub fn counts(&self) -> (i64, i64) {
        let notes = self.notes();
        let prepared = notes.rows.values().filter(|probe| probe.standing.row == Some(BranchState::Prepared)).count();
        (i64::try_from(prepared).unwrap_or(i64::MAX), notes.committed)
    }

    /// Forgets the notes; whatever the check has left prepared is aborted, so that it holds nothing any longer.
    pub async fn tidy(&self) {
        let left: Vec<Probe> = std::mem::take(&mut *self.notes()).rows.into_values().collect();
        let looked = stream::iter(&left).map(|probe| self.row(probe.id)).buffered(LOOKED_AT_ONCE);
        let looked: Vec<_> = looked.collect().await;
        let prepared = left
            .iter()
            .zip(looked)
            .filter(|(_, row)| matches!(row, Ok(row) if state(row.as_ref()) == Some(BranchState::Prepared)));
        let aborts: Vec<wire::AbortBranch> = prepared.map(|(probe, _)| probe.to_abort()).collect();
        if !aborts.is_empty() {
            let mut client = self.client.clone();
            // If it can't be done, the next check's figures or answers tell.
            let _ = self.within(async move { client.abort(wire::AbortRequest { branches: aborts }).await }).await;
        }
        *self.notes() = Notes::default();
    }

    /// A future's outcome, or that it took too long.
    pub async fn within<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let late = || Status::deadline_exceeded(format!("no answer within {} ms", self.timeout.as_millis()));
        tokio::time::timeout(self.timeout, call).await.unwrap_or_else(|_| Err(late()))
    }

    /// Writes down what happened.
    pub fn note(&self, line: String) {
        self.notes().transcript.push(line);
    }

    /// Something is not as it must be.
    pub fn broken(&self, expected: impl std::fmt::Display, came_back: impl std::fmt::Display) -> Stop {
        Stop::Broken {
            sent: self.notes().transcript.clone(),
            expected: expected.to_string(),
            came_back: came_back.to_string(),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A row's state as the rules know it.
pub fn state(row: Option<&wire::Branch>) -> Option<BranchState> {
    match row?.state() {
        wire::BranchState::Prepared => Some(BranchState::Prepared),
        wire::BranchState::Committed => Some(BranchState::Committed),
        wire::BranchState::Aborted => Some(BranchState::Aborted),
        wire::BranchState::Unspecified => None,
    }
}

/// A status in one line.
pub fn told(status: &Status) -> String {
    let message: Vec<&str> = status.message().split_whitespace().collect();
    format!("{:?}: {}", status.code(), message.join(" "))
}
