//! The record writer on a real Postgres.
use std::sync::Arc;

use futures::future::join_all;
use participant::Refusal;
use participant::clock::now_unix_ms;
use protocol::Decision;
use protocol::record::{Abort, Commit, RecordState, Stage};
use uuid::Uuid;

use super::{ClientAnswer, Finish, NewRecord, Store};
use crate::testing::Postgres;

fn attempt(request_id: &str) -> Arc<NewRecord> {
    Arc::new(NewRecord {
        transaction_id: Uuid::now_v7(),
        client_id: "client".to_owned(),
        request_id: request_id.to_owned(),
        request_digest: vec![1],
        owner_id: "owner".into(),
        deadline_unix_ms: now_unix_ms() + 3_000,
        participants: "inventory,order,payment".into(),
    })
}

/// What a recovery knows of an attempt: not its request.
fn without_request(record: &NewRecord) -> Arc<NewRecord> {
    Arc::new(NewRecord { client_id: String::new(), request_id: String::new(), ..record.clone() })
}

fn why() -> Refusal {
    Refusal::new("OUT_OF_STOCK", "none left").with("sku", "A")
}

async fn state(store: &Store, record: &NewRecord) -> (RecordState, bool) {
    let read = store.record(record.transaction_id).await.unwrap().unwrap();
    (read.state, read.holds_request)
}

async fn write(store: &Store, finish: Finish) {
    let (then, finished) = tokio::sync::oneshot::channel();
    store.finish_then(finish, move |written| then.send(written).unwrap());
    finished.await.unwrap().unwrap();
}

#[tokio::test]
async fn one_attempt_holds_a_request_whichever_writer_it_comes_through() {
    let postgres = Postgres::start();
    let stores = [postgres.store().await, postgres.store().await];
    for round in 0..20 {
        let request = format!("request-{round}");
        let attempts: Vec<_> = (0..8).map(|_| attempt(&request)).collect();
        let staged =
            join_all(attempts.iter().enumerate().map(|(place, record)| stores[place % 2].stage(record.clone()))).await;
        let won: Vec<_> = staged.iter().filter(|staged| **staged == Ok(Stage::Staged)).collect();
        let lost = staged.iter().filter(|staged| **staged == Ok(Stage::HeldByOther)).count();
        assert_eq!((won.len(), lost), (1, 7), "{staged:?}");
        let winner = staged.iter().position(|staged| *staged == Ok(Stage::Staged)).unwrap();
        let holder = stores[0].holder("client", &request).await.unwrap().unwrap();
        assert_eq!(holder.transaction_id, attempts[winner].transaction_id);
        // A repeat of the winner's insert finds its own record.
        assert_eq!(stores[1].stage(attempts[winner].clone()).await, Ok(Stage::Staged));
    }
}

#[tokio::test]
async fn a_late_stage_and_a_recovery_never_both_win() {
    let postgres = Postgres::start();
    let (owner, recoverer) = (postgres.store().await, postgres.store().await);
    let (mut staged_first, mut aborted_first) = (0, 0);
    for round in 0..60 {
        let record = attempt(&format!("request-{round}"));
        let stage = owner.stage(record.clone());
        let abort = recoverer.insert_aborted(without_request(&record), why());
        let outcome = match round % 2 {
            0 => tokio::join!(stage, abort),
            _ => {
                let (abort, stage) = tokio::join!(abort, stage);
                (stage, abort)
            }
        };
        match outcome {
            (Ok(Stage::Staged), Ok(Abort::Staging)) => {
                staged_first += 1;
                assert_eq!(state(&owner, &record).await, (RecordState::Staging, true));
            }
            (
                Ok(Stage::Terminal { state: RecordState::Aborted, holds_request: false }),
                Ok(Abort::Aborted { holds_request: false }),
            ) => {
                aborted_first += 1;
                assert_eq!(state(&owner, &record).await, (RecordState::Aborted, false));
            }
            both => panic!("{both:?}"),
        }
    }
    assert_eq!(staged_first + aborted_first, 60);
}

#[tokio::test]
async fn an_abort_takes_its_request_only_where_that_is_free() {
    let postgres = Postgres::start();
    let store = postgres.store().await;
    let first = attempt("request");
    assert_eq!(store.abort(first.clone(), why()).await, Ok(Abort::Aborted { holds_request: true }));
    assert_eq!(store.abort(first.clone(), why()).await, Ok(Abort::Aborted { holds_request: true }));
    let second = attempt("request");
    assert_eq!(store.stage(second.clone()).await, Ok(Stage::HeldByOther));
    assert_eq!(store.abort(second.clone(), why()).await, Ok(Abort::Aborted { holds_request: false }));
    assert_eq!(
        store.stage(first.clone()).await,
        Ok(Stage::Terminal { state: RecordState::Aborted, holds_request: true })
    );
    // A staged one keeps its request when it is aborted; a committed one can't be.
    let (staged, committed) = (attempt("staged"), attempt("committed"));
    assert_eq!(store.stage(staged.clone()).await, Ok(Stage::Staged));
    assert_eq!(store.stage(committed.clone()).await, Ok(Stage::Staged));
    assert_eq!(store.insert_aborted(staged.clone(), why()).await, Ok(Abort::Staging));
    assert_eq!(store.abort(staged.clone(), why()).await, Ok(Abort::Aborted { holds_request: true }));
    assert_eq!(store.commit(committed.transaction_id).await, Ok(Commit::Committed));
    assert_eq!(store.abort(committed.clone(), why()).await, Ok(Abort::Committed));
    assert_eq!(store.commit(staged.transaction_id).await, Ok(Commit::Aborted));
    assert_eq!(store.commit(Uuid::now_v7()).await, Ok(Commit::Collected));
    let read = store.record(staged.transaction_id).await.unwrap().unwrap();
    assert_eq!(read.refusal, Some(why()));
    assert_eq!(read.first_decision, Some(RecordState::Aborted));
}

#[tokio::test]
async fn a_reason_with_a_nul_keeps_no_decision_from_being_stored() {
    let postgres = Postgres::start();
    let store = postgres.store().await;
    let record = attempt("request");
    assert_eq!(store.stage(record.clone()).await, Ok(Stage::Staged));
    let why = Refusal::new("OUT_OF_STOCK", "no \0 left");
    assert_eq!(store.abort(record.clone(), why).await, Ok(Abort::Aborted { holds_request: true }));
    let read = store.record(record.transaction_id).await.unwrap().unwrap();
    assert_eq!(read.refusal, Some(Refusal::new("OUT_OF_STOCK", "no  left")));
}

#[tokio::test]
async fn a_finish_keeps_the_answer_but_never_changes_a_decision() {
    let postgres = Postgres::start();
    let store = postgres.store().await;
    let finish = |record: &NewRecord, decision, client_answer| Finish {
        transaction_id: record.transaction_id,
        decision,
        client_answer,
        refusal: None,
    };
    let (placed, recovered) = (attempt("placed"), attempt("recovered"));
    store.stage(placed.clone()).await.unwrap();
    store.stage(recovered.clone()).await.unwrap();
    store.abort(recovered.clone(), why()).await.unwrap();
    write(&store, finish(&placed, Some(Decision::Commit), ClientAnswer::Accepted)).await;
    write(&store, finish(&recovered, Some(Decision::Commit), ClientAnswer::Unknown)).await;
    let read = store.record(placed.transaction_id).await.unwrap().unwrap();
    assert_eq!((read.state, read.client_answer), (RecordState::Committed, ClientAnswer::Accepted));
    assert!(read.decide_time.is_some());
    let read = store.record(recovered.transaction_id).await.unwrap().unwrap();
    assert_eq!((read.state, read.first_decision), (RecordState::Aborted, Some(RecordState::Aborted)));
    assert_eq!((read.client_answer, read.refusal), (ClientAnswer::Unknown, Some(why())));
}

#[tokio::test]
async fn one_batch_is_the_same_as_one_after_the_other() {
    let postgres = Postgres::start();
    let store = postgres.store().await;
    let (held, twice) = (attempt("held"), attempt("held"));
    let (staged, gone) = (attempt("staged"), attempt("gone"));
    store.stage(staged.clone()).await.unwrap();
    let (one, two, late, abort, commit) = tokio::join!(
        store.stage(held.clone()),
        store.stage(twice.clone()),
        store.stage(gone.clone()),
        store.abort(gone.clone(), why()),
        store.commit(staged.transaction_id),
    );
    let mut both = [one.unwrap(), two.unwrap()];
    both.sort_by_key(|stage| *stage != Stage::Staged);
    assert_eq!(both, [Stage::Staged, Stage::HeldByOther]);
    assert_eq!(abort, Ok(Abort::Aborted { holds_request: true }));
    assert!(matches!(late, Ok(Stage::Staged | Stage::Terminal { state: RecordState::Aborted, .. })), "{late:?}");
    assert_eq!(state(&store, &gone).await, (RecordState::Aborted, true));
    assert_eq!(commit, Ok(Commit::Committed));
}

#[tokio::test]
async fn below_the_watermark_nothing_is_inserted_and_what_has_ended_is_deleted() {
    let postgres = Postgres::start();
    let store = postgres.store().await;
    let records = [attempt("open"), attempt("committed"), attempt("aborted")];
    for record in &records {
        store.stage(record.clone()).await.unwrap();
    }
    let [open, committed, aborted] = &records;
    store.commit(committed.transaction_id).await.unwrap();
    store.abort(aborted.clone(), why()).await.unwrap();
    let tombstone = attempt("tombstone");
    store.insert_aborted(without_request(&tombstone), why()).await.unwrap();

    let watermark = store.advance_watermark(now_unix_ms() + 60_000).await.unwrap();
    assert_eq!(store.advance_watermark(0).await.unwrap(), watermark, "it never goes back");
    let late = attempt("late");
    assert_eq!(store.stage(late.clone()).await, Ok(Stage::BelowWatermark));
    assert_eq!(store.abort(late.clone(), why()).await, Ok(Abort::BelowWatermark));
    assert_eq!(store.insert_aborted(late.clone(), why()).await, Ok(Abort::BelowWatermark));
    assert!(store.record(late.transaction_id).await.unwrap().is_none());
    // What stands is answered still.
    assert_eq!(store.stage(open.clone()).await, Ok(Stage::Staged));

    // Only the tombstone holds no request; the others stay for the retention, and until their batches were told END.
    assert_eq!(store.delete_settled(watermark, 0, 100).await.unwrap(), 1);
    assert!(store.record(tombstone.transaction_id).await.unwrap().is_none());
    assert_eq!(store.delete_settled(watermark, watermark, 100).await.unwrap(), 0);
    let to_end = store.to_end(watermark, None, 100).await.unwrap();
    let ids: Vec<_> = to_end.iter().flat_map(|batch| &batch.records).map(|record| record.transaction_id).collect();
    assert_eq!(ids, [committed.transaction_id, aborted.transaction_id], "those of closed batches");
    for batch in &to_end {
        store.mark_ended(&[batch.batch_id]).await.unwrap();
        assert_eq!(store.delete_settled(watermark, 0, 100).await.unwrap(), 0, "still within the retention");
        assert_eq!(store.delete_settled(watermark, watermark, 100).await.unwrap(), 1);
        assert!(store.record(batch.records[0].transaction_id).await.unwrap().is_none());
    }
    assert_eq!(store.to_end(watermark, None, 100).await.unwrap().len(), 0);
    assert_eq!(state(&store, open).await, (RecordState::Staging, true));
}

#[tokio::test]
async fn what_was_refused_goes_when_its_time_has_come_though_older_records_stay() {
    let postgres = Postgres::start();
    let store = postgres.store().await;
    let [open, refused] = ["open", "refused"].map(attempt);
    store.stage(open.clone()).await.unwrap();
    store.insert_aborted(refused.clone(), why()).await.unwrap();
    let watermark = store.advance_watermark(now_unix_ms() + 60_000).await.unwrap();
    assert_eq!(store.delete_settled(watermark, 0, 1).await.unwrap(), 0, "its request is held still");
    assert_eq!(store.delete_settled(watermark, watermark, 1).await.unwrap(), 1);
    assert!(store.record(refused.transaction_id).await.unwrap().is_none());
    assert_eq!(state(&store, &open).await, (RecordState::Staging, true));
}

#[tokio::test]
async fn finishes_wait_for_their_batch_but_not_for_long() {
    let postgres = Postgres::start();
    let store = postgres.store().await;
    let pool = postgres.pool().await;
    // The first insert is under way while the others queue up to be one batch.
    let staged = |records: Vec<Arc<NewRecord>>| {
        let store = store.clone();
        async move { join_all(records.iter().map(|record| store.stage(record.clone()))).await }
    };
    let records: Vec<_> = (0..40).map(|place| attempt(&format!("request-{place}"))).collect();
    assert!(staged(records.clone()).await.iter().all(|staged| *staged == Ok(Stage::Staged)));
    let accepted = |record: &NewRecord| Finish {
        transaction_id: record.transaction_id,
        decision: Some(Decision::Commit),
        client_answer: ClientAnswer::Accepted,
        refusal: None,
    };
    let (last, others) = records.split_last().unwrap();
    // All but the last: its batch is given up, any other is closed.
    join_all(others.iter().map(|record| write(&store, accepted(record)))).await;
    for record in others {
        assert_eq!(state(&store, record).await, (RecordState::Committed, true));
    }
    assert_eq!(state(&store, last).await, (RecordState::Staging, true));
    write(&store, accepted(last)).await;
    assert_eq!(state(&store, last).await, (RecordState::Committed, true));
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM record_batch WHERE state = 1 OR undecided <> 0")
        .fetch_one(&*pool)
        .await
        .unwrap();
    assert_eq!(open, 0);
    let again: Vec<_> = (0..40).map(|place| attempt(&format!("again-{place}"))).collect();
    staged(again.clone()).await;
    join_all(again.iter().map(|record| write(&store, accepted(record)))).await;
    let touched: i64 = sqlx::query_scalar("SELECT count(*) FROM record WHERE state <> 1 AND request_id LIKE 'again-%'")
        .fetch_one(&*pool)
        .await
        .unwrap();
    assert_eq!(touched, 0, "only their batches were");
}

#[tokio::test]
async fn what_stood_before_there_were_batches_is_decided_and_collected_like_all_else() {
    let postgres = Postgres::start();
    let options = participant::postgres::connect_options(&postgres.url(), "test").unwrap();
    let mut old = sqlx::ConnectOptions::connect(&options).await.unwrap();
    for migration in [
        include_str!("../../migrations/0001_records.sql"),
        include_str!("../../migrations/0002_undecided.sql"),
        include_str!("../../migrations/0003_sagas.sql"),
        include_str!("../../migrations/0010_step_timeout.sql"),
    ] {
        sqlx::raw_sql(migration).execute(&mut old).await.unwrap();
    }
    let ids: [Uuid; 4] = std::array::from_fn(|_| Uuid::now_v7());
    for (id, (state, ended, mode)) in ids.iter().zip([(1, false, 1), (2, false, 1), (2, true, 1), (1, false, 2)]) {
        sqlx::query(
            "INSERT INTO record (transaction_id, client_id, request_id, request_digest, state, holds_request, owner_id,
                                 deadline_unix_ms, participants, client_answer, first_decision, decide_time, ended, mode)
             VALUES ($1, 'client', $1::text, '', $2, true, 'gone', 7, 'inventory', 0, nullif($2, 1),
                     CASE WHEN $2 <> 1 THEN now() END, $3, $4)",
        )
        .bind(id)
        .bind(state)
        .bind(ended)
        .bind(mode)
        .execute(&mut old)
        .await
        .unwrap();
    }
    sqlx::query("INSERT INTO undecided VALUES ($1)").bind(ids[0]).execute(&mut old).await.unwrap();
    sqlx::raw_sql(include_str!("../../migrations/0011_record_batches.sql")).execute(&mut old).await.unwrap();

    let pool = participant::Pool::connect(options.clone(), 4).await.unwrap();
    let store = Store::start(pool, options);
    let [open, committed, ended, saga] = ids;
    let mut read = store.records(&ids).await.unwrap();
    read.sort_unstable_by_key(|record| record.transaction_id);
    let states: Vec<_> = read.iter().map(|record| record.state).collect();
    use RecordState::{Committed, Staging};
    assert_eq!(states, [Staging, Committed, Committed, Staging]);
    let abandoned = store.abandoned("me", 0, 10).await.unwrap();
    assert_eq!(abandoned.iter().map(|record| record.transaction_id).collect::<Vec<_>>(), [open]);
    assert_eq!(store.commit(open).await, Ok(Commit::Committed));
    let to_end = store.to_end(7, None, 10).await.unwrap();
    let records: Vec<_> = to_end.iter().flat_map(|batch| &batch.records).map(|record| record.transaction_id).collect();
    assert_eq!(records, [open, committed]);
    assert_eq!(store.delete_settled(7, 7, 10).await.unwrap(), 1, "one had ended");
    assert!(store.record(ended).await.unwrap().is_none());
    store.mark_ended(&to_end.iter().map(|batch| batch.batch_id).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(store.delete_settled(7, 7, 10).await.unwrap(), 2);
    assert!(store.record(saga).await.unwrap().is_some());
}

#[tokio::test]
async fn ten_thousand_in_doubt_are_listed_at_once_though_there_was_nothing_when_the_plan_was_made() {
    let postgres = Postgres::start();
    let store = postgres.store().await;
    let newest = async || store.list(Some(RecordState::Staging), None, 1_000).await.unwrap();
    sqlx::query("VACUUM ANALYZE record, record_batch, open_saga").execute(&postgres.pool().await).await.unwrap();
    assert_eq!(newest().await.len(), 0);
    let records: Vec<_> = (0..10_000).map(|number| attempt(&number.to_string())).collect();
    let staged = store.stage_all(records.clone()).await;
    assert!(staged.iter().all(|staged| *staged == Ok(Stage::Staged)));
    let began = std::time::Instant::now();
    let listed: Vec<Uuid> = newest().await.iter().map(|record| record.transaction_id).collect();
    // It is less than a tenth of a second, and ten seconds where each record is compared with each id.
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "took {:?}", began.elapsed());
    let last: Vec<Uuid> = records.iter().rev().take(1_000).map(|record| record.transaction_id).collect();
    assert_eq!(listed, last);
}
