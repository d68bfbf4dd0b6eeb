//! Logs that were written by earlier versions.
use super::*;

/// What came after the log's partitions.
const SINCE_PARTITIONS: [&str; 6] = [
    include_str!("../../../migrations/0008_ids_do_not_compress.sql"),
    include_str!("../../../migrations/0009_unexpected.sql"),
    include_str!("../../../migrations/0010_audited_instead.sql"),
    include_str!("../../../migrations/0011_rare_vacuums.sql"),
    include_str!("../../../migrations/0012_ids_by_expression.sql"),
    include_str!("../../../migrations/0013_batches_by_columns.sql"),
];

#[tokio::test]
async fn what_was_prepared_before_there_were_batches_is_decided_as_ever() {
    let postgres = Postgres::start();
    let pool = connect_pool(&postgres.url(), "test", 4, Duration::from_secs(20)).await.unwrap();
    let now = [
        include_str!("../../../migrations/0004_batches.sql"),
        include_str!("../../../migrations/0005_horizon.sql"),
        include_str!("../../../migrations/0006_small_samples.sql"),
        include_str!("../../../migrations/0007_partitions.sql"),
    ];
    let before = [
        include_str!("../../../migrations/0001_log.sql"),
        "CREATE TABLE room (name text PRIMARY KEY, free int NOT NULL, sold int NOT NULL DEFAULT 0);
         INSERT INTO room VALUES ('hall', 7, 1)",
    ];
    let [held, aborted, sold] = [1, 3, 2].map(|state: i16| (transaction(), state));
    for sql in before {
        sqlx::raw_sql(sql).execute(&*pool).await.unwrap();
    }
    for (transaction, state) in [held, aborted, sold] {
        sqlx::query(
            "INSERT INTO branch_log (transaction_id, deadline_unix_ms, state, participants, owner_id, branch, decide_time)
             VALUES ($1, $2, $3, 'seats,meals', 'owner', 'hall', CASE WHEN $3 <> 1 THEN now() END)",
        )
        .bind(transaction.transaction_id)
        .bind(transaction.deadline_unix_ms)
        .bind(state)
        .execute(&pool)
        .await
        .unwrap();
    }
    for sql in now.into_iter().chain(SINCE_PARTITIONS) {
        sqlx::raw_sql(sql).execute(&*pool).await.unwrap();
    }
    let writer = World::writer(&postgres);
    let world = World { log: Log::new(pool.clone()), postgres, pool, writer };
    let row = world.log.get(held.0.transaction_id).await.unwrap().unwrap();
    assert_eq!((row.participants.len(), row.owner_id.as_str()), (2, "owner"));
    assert_eq!(world.log.list(Some(BranchState::Prepared), Uuid::nil(), 10).await.unwrap().len(), 1);
    assert_eq!(world.commit(held.0).await, Reply::Settled(Settle::Apply));
    assert_eq!(world.commit(sold.0).await, Reply::Settled(Settle::Already));
    assert_eq!(world.abort(aborted.0).await, Reply::Settled(Settle::Already));
    assert_eq!(world.seats().await, (7, 2));
    world.is_sound().await;
    // What was committed then is found by the horizon as well.
    world.log.advance_watermark(sold.0.deadline_unix_ms.max(held.0.deadline_unix_ms)).await.unwrap();
    let ended = world.log.end_horizon(i64::MAX).await.unwrap();
    assert_eq!(world.log.delete_ended(ended, 10).await.unwrap(), 2);
    assert_eq!(world.state(aborted.0).await, Some(BranchState::Aborted));
    world.is_sound().await;
}

#[tokio::test]
async fn what_was_there_before_there_were_partitions_is_decided_and_collected_as_ever() {
    let postgres = Postgres::start();
    let pool = connect_pool(&postgres.url(), "test", 4, Duration::from_secs(20)).await.unwrap();
    let before = [
        include_str!("../../../migrations/0001_log.sql"),
        include_str!("../../../migrations/0004_batches.sql"),
        include_str!("../../../migrations/0005_horizon.sql"),
        include_str!("../../../migrations/0006_small_samples.sql"),
        "CREATE TABLE room (name text PRIMARY KEY, free int NOT NULL, sold int NOT NULL DEFAULT 0);
         INSERT INTO room VALUES ('hall', 7, 1)",
    ];
    for sql in before {
        sqlx::raw_sql(sql).execute(&*pool).await.unwrap();
    }
    // One is held, one was refused, one was fenced, one is of a closed batch with an odd one.
    let [held, refused, fenced, sold] = [(); 4].map(|()| transaction());
    let odd = TransactionRef { transaction_id: Uuid::max(), ..sold };
    for (ids, state) in [(vec![held, refused], 1_i16), (vec![sold, odd], 2)] {
        sqlx::query(
            "WITH batch AS (
                 INSERT INTO branch_batch (batch_id, state, undecided, rows_left, revision, participants, owner_id,
                                           transaction_ids, max_deadline_unix_ms, decide_time)
                 VALUES ($3, $4, CASE WHEN $4 = 1 THEN 1 ELSE 0 END, 2, $3, 'seats,meals', 'owner', $1, $2,
                         CASE WHEN $4 = 2 THEN now() END)
             )
             INSERT INTO branch_log (transaction_id, deadline_unix_ms, state, batch_id, branch)
             SELECT id, $2, 1, $3, 'hall' FROM unnest($1::uuid[]) AS id",
        )
        .bind(ids.iter().map(|it| it.transaction_id).collect::<Vec<_>>())
        .bind(held.deadline_unix_ms)
        .bind(Uuid::now_v7())
        .bind(state)
        .execute(&pool)
        .await
        .unwrap();
    }
    sqlx::query("UPDATE branch_log SET state = 3, decide_time = now() WHERE transaction_id = $1")
        .bind(refused.transaction_id)
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO branch_log (transaction_id, deadline_unix_ms, state, decide_time) VALUES ($1, $2, 3, now())",
    )
    .bind(fenced.transaction_id)
    .bind(fenced.deadline_unix_ms)
    .execute(&pool)
    .await
    .unwrap();
    for sql in [include_str!("../../../migrations/0007_partitions.sql")].into_iter().chain(SINCE_PARTITIONS) {
        sqlx::raw_sql(sql).execute(&*pool).await.unwrap();
    }

    let writer = World::writer(&postgres);
    let world = World { log: Log::new(pool.clone()), postgres, pool, writer };
    world.is_sound().await;
    let later = transaction();
    assert!(world.log.make_partitions(now_unix_ms(), 60_000).await.unwrap() > 0, "after what was there");
    assert_eq!(world.prepare(later).await, Reply::Voted(Vote::Yes, None));
    for (it, state) in [
        (held, BranchState::Prepared),
        (refused, BranchState::Aborted),
        (fenced, BranchState::Aborted),
        (sold, BranchState::Committed),
        (odd, BranchState::Committed),
    ] {
        assert_eq!(world.state(it).await, Some(state));
    }
    assert_eq!(world.log.list(Some(BranchState::Prepared), Uuid::nil(), 10).await.unwrap().len(), 2);
    assert_eq!(world.commit(held).await, Reply::Settled(Settle::Apply));
    assert_eq!(world.abort(later).await, Reply::Settled(Settle::Release));
    assert_eq!(world.prepare(sold).await, Reply::Voted(Vote::Yes, None));
    assert_eq!(world.seats().await, (7, 2));
    world.is_sound().await;
    // All of it is in one partition, but for what has an odd id.
    let watermark = world.log.advance_watermark(now_unix_ms() + 600_000).await.unwrap();
    let ended = world.log.end_horizon(watermark).await.unwrap();
    assert_eq!(world.log.drop_partition(crate::log::Over::at(ended, 0)).await.unwrap(), Some(4));
    world.is_sound().await;
    assert_eq!(world.state(odd).await, Some(BranchState::Committed));
    assert_eq!(world.log.delete_ended(ended, 10).await.unwrap(), 2);
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM branch_log").fetch_one(&world.pool).await.unwrap();
    assert_eq!(rows, 0);
}
