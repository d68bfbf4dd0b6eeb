//! Batches on a real Postgres: what happens when others decide records while their owner closes the batch.
use participant::Refusal;
use participant::clock::now_unix_ms;
use protocol::record::{Abort, Commit, RecordState, Stage};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor, PgConnection};
use tokio::task::JoinHandle;

use super::*;
use crate::store::Store;
use crate::testing::{Postgres, until};

/// A database with the coordinator's schema, and who looks at it.
struct Scene {
    postgres: Postgres,
    store: Store,
}

/// A coordinator's writer, whose local transactions begin and end when the test says so.
struct Writer {
    work: Arc<RecordWork>,
    connection: PgConnection,
    is_open: bool,
    /// Whether the last run was one statement, a local transaction by itself.
    is_at_once: bool,
}

impl Scene {
    async fn start() -> Self {
        let postgres = Postgres::start();
        let store = postgres.store().await;
        Scene { postgres, store }
    }

    async fn writer(&self) -> Writer {
        let options: PgConnectOptions = participant::postgres::connect_options(&self.postgres.url(), "test").unwrap();
        let connection = options.connect().await.unwrap();
        Writer { work: Arc::default(), connection, is_open: false, is_at_once: false }
    }

    /// Stages records as one batch; the batch's id.
    async fn staged(&self, records: &[Arc<NewRecord>]) -> Uuid {
        let mut writer = self.writer().await;
        let replies = writer.carry_out(records.iter().cloned().map(Entry::Stage).collect()).await;
        assert!(replies.iter().all(|reply| matches!(reply, Reply::Stage(Stage::Staged))), "{replies:?}");
        let of = "SELECT batch_id FROM record WHERE transaction_id = $1";
        let pool = self.postgres.pool().await;
        sqlx::query_scalar(of).bind(records[0].transaction_id).fetch_one(&*pool).await.unwrap()
    }

    async fn stands(&self, record: &NewRecord) -> (RecordState, ClientAnswer) {
        let read = self.store.record(record.transaction_id).await.unwrap().unwrap();
        assert_eq!(read.first_decision, Some(read.state).filter(|state| state.is_terminal()));
        assert_eq!(read.decide_time.is_some(), read.state.is_terminal());
        (read.state, read.client_answer)
    }

    /// State and count of the only batch.
    async fn batch(&self) -> (i16, i32) {
        let pool = self.postgres.pool().await;
        sqlx::query_as("SELECT state, undecided FROM record_batch").fetch_one(&*pool).await.unwrap()
    }

    async fn is_sound(&self) {
        for check in self.store.audit().await.unwrap() {
            assert_eq!(check.violations, []);
        }
    }

    /// Waits until somebody waits for a lock.
    async fn blocked(&self) {
        let pool = self.postgres.pool().await;
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')";
        until("one waits for the other", async || sqlx::query_scalar(waits).fetch_one(&*pool).await.unwrap()).await;
    }
}

impl Writer {
    async fn begin(&mut self) {
        self.connection.execute("BEGIN").await.unwrap();
        self.is_open = true;
    }

    async fn run(&mut self, entries: Vec<Entry>) -> Result<Vec<Reply>, sqlx::Error> {
        let was_open = self.is_open;
        let replies = self.work.run(&mut Local::new(&mut self.connection, &mut self.is_open, false), &entries).await;
        self.is_at_once = !was_open && !self.is_open;
        replies
    }

    async fn end(&mut self, how: &'static str) {
        self.connection.execute(how).await.unwrap();
        self.is_open = false;
    }

    /// A whole local transaction.
    async fn carry_out(&mut self, entries: Vec<Entry>) -> Vec<Reply> {
        let replies = self.run(entries).await.unwrap();
        if self.is_open {
            self.end("COMMIT").await;
        }
        replies
    }

    /// The same in a task, because it waits for somebody.
    fn later(mut self, entries: Vec<Entry>) -> JoinHandle<Vec<Reply>> {
        tokio::spawn(async move { self.carry_out(entries).await })
    }
}

fn records<const N: usize>() -> [Arc<NewRecord>; N] {
    std::array::from_fn(|_| {
        let transaction_id = Uuid::now_v7();
        Arc::new(NewRecord {
            transaction_id,
            client_id: "client".to_owned(),
            request_id: transaction_id.to_string(),
            request_digest: vec![1],
            owner_id: "owner".into(),
            deadline_unix_ms: now_unix_ms() + 3_000,
            participants: "inventory,order,payment".into(),
        })
    })
}

fn why() -> Refusal {
    Refusal::new("OUT_OF_STOCK", "none left")
}

fn accepted(record: &NewRecord) -> Finish {
    let (decision, client_answer) = (Some(Decision::Commit), ClientAnswer::Accepted);
    Finish { transaction_id: record.transaction_id, decision, client_answer, refusal: None }
}

fn rejected(record: &NewRecord) -> Finish {
    let (decision, client_answer) = (Some(Decision::Abort), ClientAnswer::Rejected);
    Finish { transaction_id: record.transaction_id, decision, client_answer, refusal: Some(why()) }
}

fn close(batch_id: Uuid, finishes: impl IntoIterator<Item = Finish>) -> Vec<Entry> {
    vec![Entry::Close(Closing { batch_id, finishes: finishes.into_iter().collect() })]
}

const COMMITTED: (RecordState, ClientAnswer) = (RecordState::Committed, ClientAnswer::Accepted);
const REJECTED: (RecordState, ClientAnswer) = (RecordState::Aborted, ClientAnswer::Rejected);
const OPEN: (RecordState, ClientAnswer) = (RecordState::Staging, ClientAnswer::Nothing);

#[tokio::test]
async fn a_closed_batch_commits_its_records_and_touches_none() {
    let scene = Scene::start().await;
    let records = records::<3>();
    let batch_id = scene.staged(&records).await;
    assert_eq!(scene.stands(&records[0]).await, OPEN);
    let pool = scene.postgres.pool().await;
    let versions = async || -> Vec<String> {
        sqlx::query_scalar("SELECT ctid::text || xmin::text || state FROM record ORDER BY ctid")
            .fetch_all(&*pool)
            .await
            .unwrap()
    };
    let before = versions().await;
    let mut owner = scene.writer().await;
    owner.carry_out(close(batch_id, records.iter().map(|it| accepted(it)))).await;
    assert_eq!(versions().await, before);
    for record in &records {
        assert_eq!(scene.stands(record).await, COMMITTED);
        // Final for everyone, whatever they want.
        let mut other = scene.writer().await;
        let entries = vec![Entry::Abort(record.clone(), why()), Entry::Commit(record.transaction_id)];
        let replies = other.carry_out(entries).await;
        assert!(
            matches!(replies[..], [Reply::Abort(Abort::Committed), Reply::Commit(Commit::Committed)]),
            "{replies:?}"
        );
    }
    assert_eq!(versions().await, before);
    assert_eq!(scene.batch().await, (2, 0));
    // Its outcome was lost: it is carried out again.
    owner.carry_out(close(batch_id, records.iter().map(|it| accepted(it)))).await;
    assert_eq!(scene.stands(&records[0]).await, COMMITTED);
}

#[tokio::test]
async fn what_was_rejected_is_written_with_the_closing_of_its_batch() {
    let scene = Scene::start().await;
    let [one, two, three] = records();
    let batch_id = scene.staged(&[one.clone(), two.clone(), three.clone()]).await;
    let unknown = Finish { client_answer: ClientAnswer::Unknown, ..accepted(&three) };
    let entries = || close(batch_id, [accepted(&one), rejected(&two), unknown.clone()]);
    for _ in 0..2 {
        scene.writer().await.carry_out(entries()).await;
        assert_eq!(scene.stands(&one).await, COMMITTED);
        assert_eq!(scene.stands(&two).await, REJECTED);
        assert_eq!(scene.stands(&three).await, (RecordState::Committed, ClientAnswer::Unknown));
        assert_eq!(scene.store.record(two.transaction_id).await.unwrap().unwrap().refusal, Some(why()));
        assert_eq!(scene.batch().await, (2, 0));
    }
}

#[tokio::test]
async fn an_abort_under_way_makes_a_closing_wait_and_finish_the_others_one_by_one() {
    for ends in ["COMMIT", "ROLLBACK"] {
        let scene = Scene::start().await;
        let [one, two] = records();
        let batch_id = scene.staged(&[one.clone(), two.clone()]).await;
        let mut other = scene.writer().await;
        other.begin().await;
        let replies = other.run(vec![Entry::Abort(two.clone(), why())]).await.unwrap();
        assert!(matches!(replies[..], [Reply::Abort(Abort::Aborted { holds_request: true })]), "{replies:?}");
        let closing = scene.writer().await.later(close(batch_id, [accepted(&one), accepted(&two)]));
        scene.blocked().await;
        other.end(ends).await;
        closing.await.unwrap();
        assert_eq!(scene.stands(&one).await, COMMITTED);
        // Nobody may accept what may be aborted; but if it happens, the abort stands, and the answer is there to be found.
        let aborted = (RecordState::Aborted, ClientAnswer::Accepted);
        assert_eq!(scene.stands(&two).await, if ends == "COMMIT" { aborted } else { COMMITTED });
        assert_eq!(scene.batch().await, (2, 0));
    }
}

#[tokio::test]
async fn a_closing_under_way_makes_an_abort_wait_and_find_the_record_committed() {
    for ends in ["COMMIT", "ROLLBACK"] {
        let scene = Scene::start().await;
        let [one, two] = records();
        let batch_id = scene.staged(&[one.clone(), two.clone()]).await;
        let mut owner = scene.writer().await;
        owner.begin().await;
        owner.run(close(batch_id, [accepted(&one), accepted(&two)])).await.unwrap();
        let abort = scene.writer().await.later(vec![Entry::Abort(two.clone(), why())]);
        scene.blocked().await;
        owner.end(ends).await;
        let replies = abort.await.unwrap();
        if ends == "COMMIT" {
            assert!(matches!(replies[..], [Reply::Abort(Abort::Committed)]), "{replies:?}");
            assert_eq!((scene.stands(&one).await, scene.stands(&two).await), (COMMITTED, COMMITTED));
        } else {
            assert!(matches!(replies[..], [Reply::Abort(Abort::Aborted { holds_request: true })]), "{replies:?}");
            assert_eq!(scene.batch().await, (1, 1));
            assert_eq!(scene.stands(&one).await, OPEN);
            scene.is_sound().await;
        }
    }
}

#[tokio::test]
async fn a_closing_that_counts_other_records_than_its_own_changes_none_of_them() {
    let scene = Scene::start().await;
    let [lost, recovered, last] = records();
    let batch_id = scene.staged(&[lost.clone(), recovered.clone(), last.clone()]).await;
    // What the owner has rejected lazily is lost, and another one is recovered: as many are undecided as it thinks.
    scene.writer().await.carry_out(vec![Entry::Commit(recovered.transaction_id)]).await;
    assert_eq!(scene.batch().await, (1, 2));
    scene.is_sound().await;
    // That is why it must not leave out what it has written lazily.
    let finishes = [rejected(&lost), accepted(&recovered), accepted(&last)];
    scene.writer().await.carry_out(close(batch_id, finishes)).await;
    assert_eq!(scene.stands(&lost).await, REJECTED);
    assert_eq!((scene.stands(&recovered).await, scene.stands(&last).await), (COMMITTED, COMMITTED));
    assert_eq!(scene.batch().await, (2, 0));
}

#[tokio::test]
async fn records_decided_one_by_one_close_their_batch_with_the_last() {
    let scene = Scene::start().await;
    let [one, two, three] = records();
    scene.staged(&[one.clone(), two.clone(), three.clone()]).await;
    let mut other = scene.writer().await;
    other.carry_out(vec![Entry::Commit(one.transaction_id), Entry::Abort(two.clone(), why())]).await;
    assert_eq!(scene.batch().await, (1, 1));
    scene.is_sound().await;
    let undecided = scene.store.list(Some(RecordState::Staging), None, 10).await.unwrap();
    assert_eq!(undecided.iter().map(|it| it.transaction_id).collect::<Vec<_>>(), [three.transaction_id]);
    assert_eq!(scene.store.in_doubt().await.unwrap().count, 1);
    other.carry_out(vec![Entry::Finish(accepted(&three)), Entry::Finish(accepted(&one))]).await;
    assert_eq!(scene.batch().await, (2, 0));
    assert_eq!((scene.stands(&one).await, scene.stands(&three).await), (COMMITTED, COMMITTED));
    assert_eq!(scene.store.in_doubt().await.unwrap().count, 0);
}

#[tokio::test]
async fn what_was_staged_after_the_batches_were_locked_is_decided_only_by_another_run() {
    let scene = Scene::start().await;
    let [record] = records();
    let entries = [Entry::Abort(record.clone(), why())];
    let mut recoverer = scene.writer().await;
    recoverer.begin().await;
    let mut round = Round::new(&entries);
    round.lock_batches(&mut recoverer.connection).await.unwrap();
    let batch_id = scene.staged(std::slice::from_ref(&record)).await;
    assert!(round.abort(&mut recoverer.connection).await.is_err(), "its batch may be closed at any time");
    recoverer.end("ROLLBACK").await;
    scene.writer().await.carry_out(close(batch_id, [accepted(&record)])).await;
    let replies = recoverer.carry_out(vec![Entry::Abort(record.clone(), why())]).await;
    assert!(matches!(replies[..], [Reply::Abort(Abort::Committed)]), "{replies:?}");
}

#[tokio::test]
async fn stages_whose_outcome_was_lost_find_their_batch_and_are_finished_one_by_one() {
    let scene = Scene::start().await;
    let records = records::<2>();
    scene.staged(&records).await;
    let [one, two] = &records;
    let mut owner = scene.writer().await;
    owner.begin().await;
    let stages = || records.iter().cloned().map(Entry::Stage).collect();
    assert!(owner.run(stages()).await.is_err(), "the usual is expected first");
    owner.end("ROLLBACK").await;
    let replies = owner.carry_out(stages()).await;
    assert!(replies.iter().all(|reply| matches!(reply, Reply::Stage(Stage::Staged))), "{replies:?}");
    owner.work.committed();
    for (record, batch) in [(one, (1, 1)), (two, (2, 0))] {
        let waiting = Waiting { finish: accepted(record), then: Box::new(|_| ()) };
        assert!(matches!(owner.work.finishes.finish(waiting), Next::Each(_)), "nothing is known of its batch");
        owner.carry_out(vec![Entry::Finish(accepted(record))]).await;
        assert_eq!((scene.stands(record).await, scene.batch().await), (COMMITTED, batch));
    }
}

#[tokio::test]
async fn closings_that_race_with_decisions_of_others_never_change_one() {
    let scene = Scene::start().await;
    let (mut owner, mut one, mut two) = (scene.writer().await, scene.writer().await, scene.writer().await);
    let (mut aborted, mut closed) = (0, 0);
    for round in 0..60 {
        let records = records::<6>();
        let batch_id = {
            let staged = owner.carry_out(records.iter().cloned().map(Entry::Stage).collect()).await;
            assert_eq!(staged.len(), records.len());
            let of = "SELECT batch_id FROM record WHERE transaction_id = $1";
            let id = records[0].transaction_id;
            sqlx::query_scalar::<_, Uuid>(of).bind(id).fetch_one(&mut owner.connection).await.unwrap()
        };
        let patient = async |writer: &mut Writer, entries: &dyn Fn() -> Vec<Entry>| loop {
            writer.begin().await;
            match writer.run(entries()).await {
                Ok(replies) => {
                    writer.end("COMMIT").await;
                    return replies;
                }
                Err(_) => writer.end("ROLLBACK").await,
            }
        };
        let closing = || close(batch_id, records.iter().map(|it| accepted(it)));
        let abort = || vec![Entry::Abort(records[round % 6].clone(), why())];
        let commit = || vec![Entry::Commit(records[5 - round % 6].transaction_id)];
        let (_, abort, commit) =
            tokio::join!(patient(&mut owner, &closing), patient(&mut one, &abort), patient(&mut two, &commit));
        for (place, record) in records.iter().enumerate() {
            let state = scene.stands(record).await.0;
            let is_aborted = place == round % 6 && matches!(abort[..], [Reply::Abort(Abort::Aborted { .. })]);
            assert_eq!(state, if is_aborted { RecordState::Aborted } else { RecordState::Committed });
            aborted += u32::from(is_aborted);
        }
        closed += u32::from(matches!(abort[..], [Reply::Abort(Abort::Committed)]));
        assert!(matches!(commit[..], [Reply::Commit(Commit::Committed)]));
        scene.is_sound().await;
    }
    println!("{aborted} aborts were faster than the closing, {closed} were not");
    let pool = scene.postgres.pool().await;
    let open: i64 =
        sqlx::query_scalar("SELECT count(*) FROM record_batch WHERE state = 1").fetch_one(&*pool).await.unwrap();
    assert_eq!(open, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_is_a_local_transaction_of_its_own_leaves_nothing_if_one_of_it_comes_too_late() {
    let scene = Scene::start().await;
    let [early, late] = records();
    let late = Arc::new(NewRecord { deadline_unix_ms: early.deadline_unix_ms - 1_000, ..(*late).clone() });
    scene.store.advance_watermark(late.deadline_unix_ms).await.unwrap();
    let entries = vec![Entry::Stage(early.clone()), Entry::Stage(late.clone())];
    let mut writer = scene.writer().await;
    writer.run(entries).await.unwrap_err();
    assert!(writer.is_at_once);
    let left = "SELECT (SELECT count(*) FROM record) + (SELECT count(*) FROM record_batch)";
    let pool = scene.postgres.pool().await;
    assert_eq!(sqlx::query_scalar::<_, i64>(left).fetch_one(&*pool).await.unwrap(), 0);
    // The same again, with care.
    let entries = vec![Entry::Stage(early.clone()), Entry::Stage(late)];
    let replies = writer.carry_out(entries).await;
    assert!(!writer.is_at_once);
    assert!(matches!(replies[..], [Reply::Stage(Stage::Staged), Reply::Stage(Stage::BelowWatermark)]), "{replies:?}");
    scene.is_sound().await;
}

#[tokio::test]
async fn a_batch_is_closed_by_the_statement_that_stages_the_next_one() {
    let scene = Scene::start().await;
    let [one, two, next] = records();
    let batch_id = scene.staged(&[one.clone(), two.clone()]).await;
    let mut owner = scene.writer().await;
    let mut entries = close(batch_id, [accepted(&one), accepted(&two)]);
    entries.push(Entry::Stage(next.clone()));
    let replies = owner.run(entries).await.unwrap();
    assert!(matches!(replies[..], [Reply::Finished, Reply::Stage(Stage::Staged)]), "{replies:?}");
    assert!(owner.is_at_once);
    assert_eq!((scene.stands(&one).await, scene.stands(&two).await), (COMMITTED, COMMITTED));
    assert_eq!(scene.stands(&next).await, OPEN);
    scene.is_sound().await;
    // Rejections are written on their records, which takes more statements.
    let [last] = records();
    let mut entries = close(owner.work.staged.lock().unwrap()[0].batch_id, [rejected(&next)]);
    entries.push(Entry::Stage(last.clone()));
    owner.carry_out(entries).await;
    assert!(!owner.is_at_once);
    assert_eq!((scene.stands(&next).await, scene.stands(&last).await), (REJECTED, OPEN));
    scene.is_sound().await;
}

#[tokio::test]
async fn nothing_is_staged_with_a_batch_of_which_another_has_decided_a_part() {
    let scene = Scene::start().await;
    let [one, two, next] = records();
    let batch_id = scene.staged(&[one.clone(), two.clone()]).await;
    let aborts = scene.writer().await.carry_out(vec![Entry::Abort(two.clone(), why())]).await;
    assert!(matches!(aborts[..], [Reply::Abort(Abort::Aborted { holds_request: true })]), "{aborts:?}");
    let mut owner = scene.writer().await;
    let entries = || {
        let mut entries = close(batch_id, [accepted(&one), accepted(&two)]);
        entries.push(Entry::Stage(next.clone()));
        entries
    };
    owner.run(entries()).await.unwrap_err();
    assert!(owner.is_at_once);
    assert!(scene.store.record(next.transaction_id).await.unwrap().is_none());
    assert_eq!((scene.batch().await, scene.stands(&one).await), ((1, 1), OPEN));
    scene.is_sound().await;
    let replies = owner.carry_out(entries()).await;
    assert!(!owner.is_at_once, "with care now");
    assert!(matches!(replies[..], [Reply::Finished, Reply::Stage(Stage::Staged)]), "{replies:?}");
    assert_eq!((scene.stands(&one).await, scene.stands(&two).await.0), (COMMITTED, RecordState::Aborted));
    scene.is_sound().await;
}
