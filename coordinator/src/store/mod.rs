//! The coordinator's database: all its SQL.
//!
//! Records are written by one writer only ([`record`]), but for those of sagas, which change with their rows ([`saga`]);
//! everything else reads, or touches tables of its own.
mod audit;
mod collect;
mod lease;
mod reads;
mod record;
mod saga;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use participant::group_commit::{GroupCommit, Options};
use participant::{Pool, Refusal};
use protocol::Decision;
use protocol::record::{Abort, Commit, RecordState, Stage};
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

pub use collect::ClosedBatch;
pub use lease::Heartbeat;
use record::{Entry, Finishes, Next, RecordWork, Reply, Waiting};
pub use record::{Finish, NewRecord};
use saga::SagaWork;
pub use saga::{NewSaga, NewStep, SagaNote, SagaRow, SagaStep, SagaWrite, TakeOver};

/// What the client was told, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAnswer {
    /// Nothing yet, or not recorded.
    Nothing,
    /// The order is placed.
    Accepted,
    /// The order is not placed: refused or given up.
    Rejected,
    /// The outcome was in doubt.
    Unknown,
}

/// A record.
#[derive(Debug, Clone)]
pub struct Record {
    /// The attempt.
    pub transaction_id: Uuid,
    /// Whose request.
    pub client_id: String,
    /// The client's name for the request; empty on a tombstone whose writer did not know it.
    pub request_id: String,
    /// Digest of the request's content.
    pub request_digest: Vec<u8>,
    /// Where it stands.
    pub state: RecordState,
    /// Whether its outcome is the request's.
    pub holds_request: bool,
    /// The incarnation that drove the attempt.
    pub owner_id: String,
    /// The attempt's deadline.
    pub deadline_unix_ms: i64,
    /// Names of the participants.
    pub participants: Vec<String>,
    /// Why it was aborted.
    pub refusal: Option<Refusal>,
    /// What the client was told.
    pub client_answer: ClientAnswer,
    /// What was decided first.
    pub first_decision: Option<RecordState>,
    /// When the record was written.
    pub create_time: DateTime<Utc>,
    /// When it became final.
    pub decide_time: Option<DateTime<Utc>>,
    /// Whether it is that of a saga.
    pub is_saga: bool,
}

/// The coordinator's database can't be reached, or what was asked of it may or may not have happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Doubt(pub String);

/// How long an operation may take; a little longer than the writer itself tries.
pub const ANSWERED_WITHIN: Duration = Duration::from_millis(2000);

/// A handle on the coordinator's database.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    writer: GroupCommit<RecordWork>,
    finishes: Arc<Finishes>,
    sagas: GroupCommit<SagaWork>,
}

impl Store {
    /// Starts the writers; `pool` serves the reads.
    pub fn start(pool: Pool, connect: PgConnectOptions) -> Self {
        // A finish is an entry of its own beside the stages, so the batches are larger than a participant's.
        let options = Options { max_batch: 1024, queue: 8192, ..Options::default() };
        let finishes = Arc::<Finishes>::default();
        Store {
            pool,
            writer: GroupCommit::start(Arc::new(RecordWork::new(finishes.clone())), connect.clone(), options),
            finishes,
            sagas: GroupCommit::start(Arc::new(SagaWork), connect, Options::default()),
        }
    }

    /// Brings the schema up to date.
    pub async fn migrate(pool: &Pool) -> Result<(), sqlx::migrate::MigrateError> {
        participant::postgres::migrate(pool, sqlx::migrate!("./migrations"), "_coordinator_migrations").await
    }

    /// Inserts a STAGING record, forced. See [`protocol::record::stage`].
    pub async fn stage(&self, record: Arc<NewRecord>) -> Result<Stage, Doubt> {
        staged(self.submit(Entry::Stage(record)).await?)
    }

    /// The same for several, in one batch; what became of each, in their order. It takes as long as the database does.
    pub async fn stage_all(&self, records: Vec<Arc<NewRecord>>) -> Vec<Result<Stage, Doubt>> {
        let count = records.len();
        match self.writer.submit_all(records.into_iter().map(Entry::Stage).collect()).await {
            Ok(replies) => replies.into_iter().map(staged).collect(),
            Err(stopped) => vec![Err(Doubt(stopped.to_string())); count],
        }
    }

    /// Aborts a record, forced. See [`protocol::record::abort`].
    pub async fn abort(&self, record: Arc<NewRecord>, refusal: Refusal) -> Result<Abort, Doubt> {
        self.abort_entry(record.transaction_id, Entry::Abort(record, refusal)).await
    }

    /// Inserts an ABORTED record where none stands, forced. See [`protocol::record::insert_aborted`].
    pub async fn insert_aborted(&self, record: Arc<NewRecord>, refusal: Refusal) -> Result<Abort, Doubt> {
        self.abort_entry(record.transaction_id, Entry::InsertAborted(record, refusal)).await
    }

    /// Commits a STAGING record, forced. See [`protocol::record::commit`].
    pub async fn commit(&self, transaction_id: Uuid) -> Result<Commit, Doubt> {
        match self.submit(Entry::Commit(transaction_id)).await? {
            Reply::Commit(commit) => {
                if matches!(commit, Commit::Committed | Commit::Aborted) {
                    self.go_on(self.finishes.settled(transaction_id));
                }
                Ok(commit)
            }
            other => Err(other.into_doubt()),
        }
    }

    /// Writes, lazily, what was decided and what the client was told; has the reply told by the writer's task. It may wait
    /// a moment for the others of its batch.
    pub fn finish_then(&self, finish: Finish, then: impl FnOnce(Result<(), Doubt>) + Send + 'static) {
        self.go_on(self.finishes.finish(Waiting { finish, then: Box::new(then) }));
    }

    fn go_on(&self, next: Next) {
        match next {
            Next::Wait => (),
            Next::WaitFor(batch_id) => {
                let store = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(record::FINISHED_WITHIN).await;
                    store.go_on(Next::Each(store.finishes.give_up(batch_id)));
                });
            }
            Next::Each(waiting) => {
                for Waiting { finish, then } in waiting {
                    self.writer.submit_then(Entry::Finish(finish), move |reply| then(finished(reply)));
                }
            }
            Next::Close(closing, then) => self.writer.submit_then(Entry::Close(closing), move |reply| {
                let finished = finished(reply);
                then.into_iter().for_each(|then| then(finished.clone()));
            }),
        }
    }

    /// What is said of an operation that was not answered within [`ANSWERED_WITHIN`].
    pub fn unanswered() -> Doubt {
        Doubt(format!("no answer within {} ms", ANSWERED_WITHIN.as_millis()))
    }

    async fn abort_entry(&self, transaction_id: Uuid, entry: Entry) -> Result<Abort, Doubt> {
        match self.submit(entry).await? {
            Reply::Abort(abort) => {
                if matches!(abort, Abort::Aborted { .. } | Abort::Committed) {
                    self.go_on(self.finishes.settled(transaction_id));
                }
                Ok(abort)
            }
            other => Err(other.into_doubt()),
        }
    }

    async fn submit(&self, entry: Entry) -> Result<Reply, Doubt> {
        // A database that has stopped answering must not keep a client waiting; the entry may still be carried out.
        match tokio::time::timeout(ANSWERED_WITHIN, self.writer.submit(entry)).await {
            Ok(reply) => reply.map_err(|stopped| Doubt(stopped.to_string())),
            Err(_) => Err(Store::unanswered()),
        }
    }
}

fn staged(reply: Reply) -> Result<Stage, Doubt> {
    match reply {
        Reply::Stage(stage) => Ok(stage),
        other => Err(other.into_doubt()),
    }
}

fn finished(reply: Reply) -> Result<(), Doubt> {
    match reply {
        Reply::Finished => Ok(()),
        other => Err(other.into_doubt()),
    }
}

/// A decision as the state that it leaves.
pub fn decided_state(decision: Decision) -> RecordState {
    match decision {
        Decision::Commit => RecordState::Committed,
        Decision::Abort => RecordState::Aborted,
    }
}

fn state_code(state: RecordState) -> i16 {
    match state {
        RecordState::Staging => 1,
        RecordState::Committed => 2,
        RecordState::Aborted => 3,
    }
}

fn state_of(code: i16) -> Result<RecordState, sqlx::Error> {
    match code {
        1 => Ok(RecordState::Staging),
        2 => Ok(RecordState::Committed),
        3 => Ok(RecordState::Aborted),
        other => Err(sqlx::Error::Decode(format!("{other} is no state of a record").into())),
    }
}

fn answer_code(answer: ClientAnswer) -> i16 {
    match answer {
        ClientAnswer::Nothing => 0,
        ClientAnswer::Accepted => 1,
        ClientAnswer::Rejected => 2,
        ClientAnswer::Unknown => 3,
    }
}

fn answer_of(code: i16) -> ClientAnswer {
    match code {
        1 => ClientAnswer::Accepted,
        2 => ClientAnswer::Rejected,
        3 => ClientAnswer::Unknown,
        _ => ClientAnswer::Nothing,
    }
}
