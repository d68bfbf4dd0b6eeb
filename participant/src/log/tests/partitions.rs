//! Partitions of the log: what goes with them, what stays, and who may be at it meanwhile.
use super::*;
use crate::log::{Over, batches};

const SPAN_MS: i64 = 60_000;
const HOURS_MS: i64 = 7_200_000;

/// A log with partitions from an hour ago on, for three minutes, and some rows in them.
struct Past {
    world: World,
    /// When the first one begins.
    from_ms: i64,
}

impl Past {
    async fn new() -> Self {
        let world = World::with_seats(100).await;
        assert_eq!(
            world.log.drop_partition(over(i64::MAX)).await.unwrap(),
            Some(0),
            "what the migration made, which is empty"
        );
        let from_ms = (now_unix_ms() - HOURS_MS / 2) / SPAN_MS * SPAN_MS;
        assert_eq!(world.log.make_partitions(from_ms, SPAN_MS).await.unwrap(), 3);
        Past { world, from_ms }
    }

    /// A transaction of the partition in this place.
    fn of(&self, place: i64) -> TransactionRef {
        let unix_ms = self.from_ms + place * SPAN_MS + 1_000;
        TransactionRef { transaction_id: id(unix_ms), deadline_unix_ms: unix_ms + 3_000 }
    }

    /// The same, with a deadline that is hours away.
    fn late_of(&self, place: i64) -> TransactionRef {
        TransactionRef { deadline_unix_ms: self.from_ms + HOURS_MS, ..self.of(place) }
    }

    /// Has these prepared together, and committed together.
    async fn sell(&self, transactions: &[TransactionRef]) {
        let writer = &self.world.writer;
        let votes = writer.submit_all(transactions.iter().map(|it| prepare(*it, "hall")).collect()).await.unwrap();
        assert_eq!(votes, vec![Reply::Voted(Vote::Yes, None); transactions.len()]);
        let commits = transactions.iter().map(|it| Entry::Commit { transaction: *it, durable: false }).collect();
        assert_eq!(writer.submit_all(commits).await.unwrap(), vec![Reply::Settled(Settle::Apply); transactions.len()]);
    }

    /// Says END of everything that is due until the end of the partition in this place, and a bit later.
    async fn end(&self, place: i64) -> i64 {
        let until_ms = self.from_ms + (place + 1) * SPAN_MS + 10_000;
        let watermark = self.world.log.advance_watermark(until_ms).await.unwrap();
        assert_eq!(watermark, until_ms);
        self.world.log.end_horizon(until_ms).await.unwrap()
    }

    /// In which places there are partitions.
    async fn places(&self) -> Vec<i64> {
        let partitions = crate::log::partitions::partitions(&self.world.pool).await.unwrap();
        partitions.iter().map(|partition| (partition.begins_ms() - self.from_ms) / SPAN_MS).collect()
    }

    async fn count(&self, what: &'static str) -> i64 {
        sqlx::query_scalar(what).fetch_one(&self.world.pool).await.unwrap()
    }

    async fn in_default(&self) -> i64 {
        self.count("SELECT count(*) FROM branch_log_default").await
    }

    /// Drops a partition into which a local transaction has inserted, and which is committed once the collector waits for it.
    async fn drop_meanwhile(&self, ended: i64, insert: sqlx::Transaction<'_, sqlx::Postgres>) -> Option<u64> {
        let log = self.world.log.clone();
        let within = Duration::from_secs(20);
        let dropping = tokio::spawn(async move { log.drop_partition_within(over(ended), within).await.unwrap() });
        self.somebody_waits().await;
        insert.commit().await.unwrap();
        dropping.await.unwrap()
    }

    /// Returns when somebody waits for the log's table.
    async fn somebody_waits(&self) {
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'branch_log'::regclass";
        let waiting = async { while self.count(waits).await == 0 {} };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("nobody waits for it");
    }
}

/// What is over at a horizon that is not held up.
fn over(ended_unix_ms: i64) -> Over {
    Over::at(ended_unix_ms, 0)
}

fn id(unix_ms: i64) -> Uuid {
    let of_time = u128::try_from(unix_ms).unwrap() << 80;
    Uuid::from_u128(of_time | (Uuid::now_v7().as_u128() & ((1 << 80) - 1)))
}

#[tokio::test]
async fn a_partition_goes_with_all_that_has_ended_in_it() {
    let past = Past::new().await;
    let sold = [past.of(0), past.of(0), past.of(0)];
    let (fenced, refused, next) = (past.of(0), past.of(0), past.of(1));
    past.sell(&sold).await;
    past.world.say(Entry::Fence(fenced)).await;
    past.world.prepare(refused).await;
    past.world.abort(refused).await;
    past.sell(&[next]).await;
    assert_eq!(past.world.log.drop_partition(over(past.from_ms)).await.unwrap(), None, "nothing has ended");

    let ended = past.end(0).await;
    assert_eq!(past.world.log.drop_partition(over(ended)).await.unwrap(), Some(5));
    assert_eq!(past.world.log.drop_partition(over(ended)).await.unwrap(), None, "the next one has not ended");
    assert_eq!(past.places().await, [1, 2]);
    for gone in sold.into_iter().chain([fenced, refused]) {
        assert_eq!(past.world.state(gone).await, None);
        assert_eq!(past.world.prepare(gone).await, Reply::Voted(Vote::Forgotten, None));
    }
    assert_eq!(past.world.state(next).await, Some(BranchState::Committed));
    assert_eq!(past.count("SELECT count(*) FROM branch_batch").await, 1);
    assert_eq!(past.count("SELECT dropped_rows FROM log_watermark").await, 5);
    past.world.is_sound().await;
}

#[tokio::test]
async fn the_few_rows_that_must_stay_are_moved_when_their_partition_goes() {
    let past = Past::new().await;
    let (sold, held, late, aborted) = (past.of(0), past.late_of(0), past.late_of(0), past.late_of(0));
    // A batch that reaches into the next partition.
    let across = [past.of(0), past.of(1)].map(|it| TransactionRef { deadline_unix_ms: past.from_ms + 1_000, ..it });
    past.sell(&[sold]).await;
    past.sell(&[late]).await;
    past.sell(&across).await;
    past.world.prepare(held).await;
    past.world.say(Entry::Fence(aborted)).await;
    let ended = past.end(0).await;
    assert_eq!(past.world.log.drop_partition(over(ended)).await.unwrap(), Some(1));
    assert_eq!((past.places().await, past.in_default().await), (vec![1, 2], 4));
    past.world.is_sound().await;
    assert_eq!(past.world.state(sold).await, None);
    assert_eq!(past.world.state(held).await, Some(BranchState::Prepared));
    assert_eq!(past.world.state(aborted).await, Some(BranchState::Aborted));
    for committed in [late, across[0], across[1]] {
        assert_eq!(past.world.state(committed).await, Some(BranchState::Committed));
    }

    // They are what they were: decided once, repeated as they are, and deleted when they may be.
    assert_eq!(past.world.prepare(held).await, Reply::Voted(Vote::Yes, None));
    assert_eq!(past.world.commit(held).await, Reply::Settled(Settle::Apply));
    assert_eq!(past.world.commit(late).await, Reply::Settled(Settle::Already));
    assert_eq!(past.world.seats().await, (95, 5));
    assert_eq!(past.world.log.delete_ended(ended, 10).await.unwrap(), 2, "the batch that was in both");
    past.world.is_sound().await;
    let watermark = past.world.log.advance_watermark(past.from_ms + HOURS_MS).await.unwrap();
    let ended = past.world.log.end_horizon(watermark).await.unwrap();
    assert_eq!(past.world.log.delete_ended(ended, 10).await.unwrap(), 2);
    assert_eq!(past.world.log.delete_settled(watermark, 10).await.unwrap(), 1);
    assert_eq!(past.count("SELECT count(*) FROM branch_log").await, 0);
    past.world.is_sound().await;
}

#[tokio::test]
async fn many_rows_that_must_stay_keep_their_partition_and_what_has_ended_is_deleted_from_it() {
    let past = Past::new().await;
    let sold = past.of(0);
    past.sell(&[sold]).await;
    let late: Vec<Uuid> = (0..=5_000).map(|place| id(past.from_ms + place)).collect();
    sqlx::query(
        "WITH batch AS (
             INSERT INTO branch_batch (batch_id, state, undecided, rows_left, revision, participants, owner_id, transaction_ids,
                                       max_deadline_unix_ms)
             VALUES ($2, 1, cardinality($1::uuid[]), cardinality($1::uuid[]), $2, '', '', $1, $3)
         )
         INSERT INTO branch_log (transaction_id, deadline_unix_ms, state, batch_id, branch)
         SELECT id, $3, 1, $2, 'hall' FROM unnest($1::uuid[]) AS id",
    )
    .bind(&late)
    .bind(Uuid::now_v7())
    .bind(past.from_ms + HOURS_MS)
    .execute(&past.world.pool)
    .await
    .unwrap();
    let ended = past.end(0).await;
    assert_eq!(past.world.log.drop_partition(over(ended)).await.unwrap(), None);
    assert_eq!(past.world.log.delete_ended(ended, 10).await.unwrap(), 1);
    past.world.is_sound().await;
    // Once one less has to stay, the rest is moved.
    let [first, ..] = late[..] else { unreachable!() };
    let first = TransactionRef { transaction_id: first, deadline_unix_ms: 0 };
    assert_eq!(past.world.commit(first).await, Reply::Settled(Settle::Apply));
    assert_eq!(past.world.log.drop_partition(over(ended)).await.unwrap(), None, "it is committed, but has not ended");
    let watermark = past.world.log.advance_watermark(past.from_ms + HOURS_MS).await.unwrap();
    assert_eq!(past.world.say(Entry::End(first)).await, Reply::Ended(End::Delete));
    assert!(watermark > ended);
    assert_eq!(past.world.log.drop_partition(over(ended)).await.unwrap(), Some(0));
    assert_eq!((past.places().await, past.in_default().await), (vec![1, 2], 5_000));
    past.world.is_sound().await;
}

#[tokio::test]
async fn a_row_that_comes_between_the_look_and_the_lock_stays() {
    let past = Past::new().await;
    let (sold, pending, fenced) = (past.of(0), past.late_of(0), past.late_of(0));
    past.sell(&[sold]).await;
    let ended = past.end(0).await;
    let mut insert = past.world.pool.begin().await.unwrap();
    let rows = vec![(pending, b"hall".as_slice())];
    let mut batch = NewBatch { batch_id: Uuid::now_v7(), origin: &origin(), rows };
    batches::insert(&mut insert, &mut batch, Uuid::now_v7()).await.unwrap();
    let refusal = Refusal::new("FENCED", "in between");
    super::super::write::insert_aborted(&mut insert, &[(fenced, &refusal)]).await.unwrap();
    assert_eq!(past.drop_meanwhile(ended, insert).await, Some(1));
    assert_eq!(past.world.state(sold).await, None);
    assert_eq!(past.world.state(pending).await, Some(BranchState::Prepared));
    assert_eq!(past.world.state(fenced).await, Some(BranchState::Aborted));
    past.world.is_sound().await;
}

#[tokio::test]
async fn what_a_process_of_an_earlier_version_writes_goes_or_stays_as_any() {
    let past = Past::new().await;
    let earlier = async |connection: &mut PgConnection, it: TransactionRef, state: i16| {
        sqlx::query(
            "WITH batch AS (
                 INSERT INTO branch_batch (batch_id, state, undecided, rows_left, revision, participants, owner_id,
                                           transaction_ids, max_deadline_unix_ms, decide_time)
                 VALUES ($2, $4, CASE WHEN $4 = 1 THEN 1 ELSE 0 END, 1, $2, '', '', ARRAY[$1::uuid], $3,
                         CASE WHEN $4 = 2 THEN now() END)
             )
             INSERT INTO branch_log (transaction_id, deadline_unix_ms, state, batch_id, branch) VALUES ($1, $3, 1, $2, 'hall')",
        )
        .bind(it.transaction_id)
        .bind(Uuid::now_v7())
        .bind(it.deadline_unix_ms)
        .bind(state)
        .execute(connection)
        .await
        .unwrap();
    };
    let (gone, late, later) = (past.of(0), past.late_of(0), past.late_of(0));
    let mut insert = past.world.pool.begin().await.unwrap();
    earlier(&mut insert, gone, 2).await;
    earlier(&mut insert, late, 2).await;
    insert.commit().await.unwrap();
    let ended = past.end(0).await;
    let mut insert = past.world.pool.begin().await.unwrap();
    earlier(&mut insert, later, 1).await;
    assert_eq!(past.drop_meanwhile(ended, insert).await, Some(1));
    assert_eq!(past.world.state(gone).await, None);
    assert_eq!(past.world.state(late).await, Some(BranchState::Committed));
    assert_eq!(past.world.state(later).await, Some(BranchState::Prepared));
    assert_eq!(past.count("SELECT count(*) FROM branch_batch").await, 2);
}

#[tokio::test]
async fn nothing_has_changed_when_the_lock_can_t_be_had_or_the_collector_dies_waiting_and_others_go_on() {
    let past = Past::new().await;
    let sold = past.of(0);
    past.sell(&[sold]).await;
    let ended = past.end(0).await;
    let mut reader = past.world.pool.begin().await.unwrap();
    let read: i64 = sqlx::query_scalar("SELECT count(*) FROM branch_log").fetch_one(&mut *reader).await.unwrap();
    assert_eq!(read, 1);
    assert_eq!(past.world.log.drop_partition(over(ended)).await.unwrap(), None);
    assert_eq!(past.world.log.make_partitions(past.from_ms + 3 * SPAN_MS, SPAN_MS).await.unwrap(), 0);
    let log = past.world.log.clone();
    let dropping = tokio::spawn(async move { log.drop_partition_within(over(ended), Duration::from_secs(20)).await });
    past.somebody_waits().await;
    let killed = past.count("SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE NOT granted").await;
    assert_eq!(killed, 1);
    assert!(dropping.await.unwrap().is_err());
    let other = transaction();
    assert_eq!(past.world.prepare(other).await, Reply::Voted(Vote::Yes, None), "the reader is still at it");
    assert_eq!(past.world.state(sold).await, Some(BranchState::Committed));
    assert_eq!((past.places().await, past.count("SELECT dropped_rows FROM log_watermark").await), (vec![0, 1, 2], 0));
    past.world.is_sound().await;
    reader.rollback().await.unwrap();
    assert_eq!(past.world.log.drop_partition(over(ended)).await.unwrap(), Some(1));
    assert_eq!(past.world.log.make_partitions(past.from_ms + 3 * SPAN_MS, SPAN_MS).await.unwrap(), 3);
    past.world.is_sound().await;
}

#[tokio::test]
async fn two_collectors_make_and_drop_each_partition_once() {
    let past = Past::new().await;
    let other = connect_pool(&past.world.postgres.url(), "other", 4, Duration::from_secs(20)).await.unwrap();
    for place in 0..3 {
        past.sell(&[past.of(place), past.of(place)]).await;
    }
    let ended = past.end(2).await;
    // While one is waiting for its lock, the other has nothing to do.
    let mut reader = past.world.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE branch_log IN ACCESS SHARE MODE").execute(&mut *reader).await.unwrap();
    let (here, there) = (past.world.log.clone(), Log::new(other.clone()));
    let patient = Duration::from_secs(10);
    let dropping = tokio::spawn(async move { here.drop_partition_within(over(ended), patient).await.unwrap() });
    past.somebody_waits().await;
    assert_eq!(there.drop_partition_within(over(ended), patient).await.unwrap(), None);
    assert!(!dropping.is_finished());
    reader.rollback().await.unwrap();
    assert_eq!(dropping.await.unwrap(), Some(2));
    let collect = async |log: Log| {
        let mut rows = 0;
        while past.places().await.iter().any(|place| *place < 3) {
            rows += log.drop_partition(over(ended)).await.unwrap().unwrap_or_default();
            log.make_partitions(past.from_ms + 3 * SPAN_MS, SPAN_MS).await.unwrap();
        }
        rows
    };
    let both = async { tokio::join!(collect(past.world.log.clone()), collect(Log::new(other))) };
    let (here, there) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("all can be dropped");
    assert_eq!(here + there, 4);
    // Whichever was refused the lock last may have left some.
    past.world.log.make_partitions(past.from_ms + 3 * SPAN_MS, SPAN_MS).await.unwrap();
    assert_eq!(past.places().await, [3, 4, 5]);
    past.world.is_sound().await;
}

#[tokio::test]
async fn odd_ids_are_answered_as_any_and_keep_no_partition_from_coming_and_going() {
    let past = Past::new().await;
    let odd = [Uuid::nil(), Uuid::max(), id(past.from_ms + 4 * SPAN_MS)]
        .map(|transaction_id| TransactionRef { transaction_id, ..past.of(0) });
    past.sell(&odd).await;
    // As deep in the past as can be, and in one batch with one that came in time.
    let low = TransactionRef { transaction_id: Uuid::from_u128(1), ..past.late_of(2) };
    past.sell(&[low, past.late_of(2)]).await;
    assert_eq!(past.in_default().await, 4);
    assert_eq!(past.world.log.make_partitions(past.from_ms + 3 * SPAN_MS, SPAN_MS).await.unwrap(), 2);
    assert_eq!(past.places().await, [0, 1, 2, 3, 5], "but for the one that has a row already");
    let ended = past.end(0).await;
    assert_eq!(past.world.log.drop_partition(over(ended)).await.unwrap(), Some(0));
    assert_eq!(past.places().await, [1, 2, 3, 5]);
    assert_eq!(past.world.prepare(odd[1]).await, Reply::Voted(Vote::Yes, None));
    assert_eq!(past.world.log.delete_ended(ended, 10).await.unwrap(), 3);
    past.world.is_sound().await;
}

#[tokio::test]
async fn an_audit_sees_a_partition_and_its_batches_or_neither() {
    let past = Past::new().await;
    past.sell(&[past.of(0)]).await;
    let mut dropping = past.world.pool.begin().await.unwrap();
    let name = format!("branch_log_{}", past.from_ms);
    let drop = format!("DELETE FROM branch_batch; ALTER TABLE branch_log DETACH PARTITION {name}; DROP TABLE {name}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&mut *dropping).await.unwrap();
    let log = past.world.log.clone();
    let auditing = tokio::spawn(async move { log.audit(&Seats).await.unwrap() });
    past.somebody_waits().await;
    dropping.commit().await.unwrap();
    let checks = auditing.await.unwrap();
    assert!(checks.iter().all(|check| check.violations.is_empty()), "{checks:#?}");
}

#[tokio::test]
async fn where_no_horizon_is_told_a_partition_goes_once_its_transactions_were_ended_one_by_one() {
    let past = Past::new().await;
    let (held, sold, fenced) = (past.of(0), [past.of(0), past.of(0)], past.of(0));
    past.world.prepare(held).await;
    past.sell(&sold).await;
    past.world.say(Entry::Fence(fenced)).await;
    let settled = past.world.log.advance_watermark(past.from_ms + SPAN_MS + 10_000).await.unwrap();
    for it in sold {
        assert_eq!(past.world.say(Entry::End(it)).await, Reply::Ended(End::Delete));
    }
    assert_eq!(
        past.world.log.drop_partition(Over::at(0, settled - 5_000)).await.unwrap(),
        None,
        "not before what is late could have come"
    );
    assert_eq!(
        past.world.log.drop_partition(Over::at(0, settled)).await.unwrap(),
        Some(1),
        "the fence, and nothing else"
    );
    assert_eq!((past.places().await, past.in_default().await), (vec![1, 2], 1));
    assert_eq!(past.world.commit(held).await, Reply::Settled(Settle::Apply));
    past.world.is_sound().await;
}
