//! Sagas in the coordinator's database: rows beside their records. They are written by one writer of their own ([`work`]),
//! by the rules of [`protocol::saga`].
mod reads;
mod statements;
mod work;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use participant::Refusal;
use protocol::record::Stage;
use protocol::saga::{Definition, Denied, Kind, Saga, SagaState, StepState, Write};
use uuid::Uuid;

use super::{ANSWERED_WITHIN, ClientAnswer, Doubt, NewRecord, Store};

pub(super) use work::SagaWork;
use work::{Entry, Reply};

/// A saga to begin.
#[derive(Debug, Clone)]
pub struct NewSaga {
    /// Its record.
    pub record: NewRecord,
    /// Its steps.
    pub steps: Vec<NewStep>,
}

/// A step of it.
#[derive(Debug, Clone)]
pub struct NewStep {
    /// Its name, unique within the saga.
    pub name: String,
    /// Who carries it out.
    pub participant: String,
    /// What can become of it.
    pub kind: Kind,
    /// Places of the steps that it waits for.
    pub after: Vec<usize>,
    /// What is to be done, in the participant's language.
    pub branch: Vec<u8>,
    /// Time from the saga's beginning until it must be done; none: as long as the saga may take.
    pub timeout_ms: Option<i32>,
}

/// A step as it stands, beside its state.
#[derive(Debug, Clone)]
pub struct SagaStep {
    /// The step.
    pub step: NewStep,
    /// How often it was asked in vain.
    pub attempt_count: i32,
    /// When it is asked again.
    pub next_attempt_time: Option<DateTime<Utc>>,
    /// What went wrong the last time.
    pub last_error: String,
}

/// A saga as it stands.
#[derive(Debug, Clone)]
pub struct SagaRow {
    /// Which.
    pub transaction_id: Uuid,
    /// How far it is.
    pub saga: Saga,
    /// Counts its owners.
    pub epoch: u64,
    /// The incarnation that drives it.
    pub owner_id: String,
    /// An operator has paused it.
    pub paused: bool,
    /// When it ended.
    pub end_time: Option<DateTime<Utc>>,
    /// Its steps, in their order.
    pub steps: Vec<SagaStep>,
}

impl SagaRow {
    /// Its definition. It was checked before the saga was begun, so a row without one was tampered with.
    pub fn definition(&self) -> Option<Definition> {
        let step = |it: &SagaStep| protocol::saga::Step { kind: it.step.kind, after: it.step.after.clone() };
        Definition::new(self.steps.iter().map(step).collect()).ok()
    }
}

/// A change of a saga's row, and what goes into its record with it where that decides.
#[derive(Debug, Clone)]
pub struct SagaWrite {
    /// Which saga.
    pub transaction_id: Uuid,
    /// Under which epoch.
    pub epoch: u64,
    /// The change.
    pub write: Write,
    /// What the client is told, where the change decides.
    pub client_answer: ClientAnswer,
    /// Why, where it turns.
    pub refusal: Option<Refusal>,
}

/// What became of a step's last try.
#[derive(Debug, Clone)]
pub struct SagaNote {
    /// Which saga.
    pub transaction_id: Uuid,
    /// Under which epoch.
    pub epoch: u64,
    /// The step's place.
    pub step: usize,
    /// How often it was asked in vain.
    pub attempt_count: i32,
    /// When it is asked again.
    pub next_attempt_time: DateTime<Utc>,
    /// What went wrong.
    pub last_error: String,
}

/// A change of a saga's owner, and whether it is paused since then.
#[derive(Debug, Clone)]
pub struct TakeOver {
    /// Which saga.
    pub transaction_id: Uuid,
    /// The epoch that was seen.
    pub seen_epoch: u64,
    /// The new owner.
    pub owner_id: Arc<str>,
    /// Whether it waits from now on.
    pub paused: bool,
}

impl Store {
    /// Begins a saga: inserts its record and its rows, forced. See [`protocol::record::stage`].
    pub async fn start_saga(&self, saga: Arc<NewSaga>) -> Result<Stage, Doubt> {
        match self.submit_saga(Entry::Start(saga)).await? {
            Reply::Started(stage) => Ok(stage),
            other => Err(other.into_doubt()),
        }
    }

    /// Changes a saga's row, forced. See [`protocol::saga::Definition::apply`].
    pub async fn write_saga(&self, write: SagaWrite) -> Result<Result<Saga, Denied>, Doubt> {
        match self.submit_saga(Entry::Write(write)).await? {
            Reply::Written(written) => Ok(written),
            other => Err(other.into_doubt()),
        }
    }

    /// Notes, lazily, that a step is to be asked again; false if somebody else owns the saga by now.
    pub async fn note_saga(&self, note: SagaNote) -> Result<bool, Doubt> {
        match self.submit_saga(Entry::Note(note)).await? {
            Reply::Noted(owned) => Ok(owned),
            other => Err(other.into_doubt()),
        }
    }

    /// Makes this process a saga's owner, forced; the new epoch, or none if it was not to be had any more.
    pub async fn take_over_saga(&self, take_over: TakeOver) -> Result<Option<u64>, Doubt> {
        match self.submit_saga(Entry::TakeOver(take_over)).await? {
            Reply::TakenOver(epoch) => Ok(epoch),
            other => Err(other.into_doubt()),
        }
    }

    async fn submit_saga(&self, entry: Entry) -> Result<Reply, Doubt> {
        match tokio::time::timeout(ANSWERED_WITHIN, self.sagas.submit(entry)).await {
            Ok(reply) => reply.map_err(|stopped| Doubt(stopped.to_string())),
            Err(_) => Err(Doubt(format!("no answer within {} ms", ANSWERED_WITHIN.as_millis()))),
        }
    }
}

fn state_code(state: SagaState) -> i16 {
    match state {
        SagaState::Forward => 1,
        SagaState::Backward => 2,
        SagaState::Done => 3,
        SagaState::Compensated => 4,
    }
}

fn state_of(code: i16) -> Result<SagaState, sqlx::Error> {
    match code {
        1 => Ok(SagaState::Forward),
        2 => Ok(SagaState::Backward),
        3 => Ok(SagaState::Done),
        4 => Ok(SagaState::Compensated),
        other => Err(unknown(other, "state of a saga")),
    }
}

fn step_code(state: StepState) -> i16 {
    match state {
        StepState::Pending => 1,
        StepState::Executed => 2,
        StepState::Refused => 3,
        StepState::Skipped => 4,
        StepState::ToCompensate => 5,
        StepState::Compensated => 6,
    }
}

fn step_of(code: i16) -> Result<StepState, sqlx::Error> {
    match code {
        1 => Ok(StepState::Pending),
        2 => Ok(StepState::Executed),
        3 => Ok(StepState::Refused),
        4 => Ok(StepState::Skipped),
        5 => Ok(StepState::ToCompensate),
        6 => Ok(StepState::Compensated),
        other => Err(unknown(other, "state of a step")),
    }
}

fn kind_code(kind: Kind) -> i16 {
    match kind {
        Kind::Compensatable => 1,
        Kind::Pivot => 2,
        Kind::Retriable => 3,
    }
}

fn kind_of(code: i16) -> Result<Kind, sqlx::Error> {
    match code {
        1 => Ok(Kind::Compensatable),
        2 => Ok(Kind::Pivot),
        3 => Ok(Kind::Retriable),
        other => Err(unknown(other, "kind of a step")),
    }
}

fn unknown(code: i16, what: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{code} is no {what}").into())
}

fn join(places: &[usize]) -> String {
    places.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn split(places: &str) -> Result<Vec<usize>, sqlx::Error> {
    let read = |place: &str| place.parse().map_err(|error: std::num::ParseIntError| sqlx::Error::Decode(error.into()));
    places.split(',').filter(|place| !place.is_empty()).map(read).collect()
}
