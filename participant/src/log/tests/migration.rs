//! A log that was written before there were batches.
use super::*;

#[tokio::test]
async fn what_was_prepared_before_there_were_batches_is_decided_as_ever() {
    let postgres = Postgres::start();
    let pool = connect_pool(&postgres.url(), "test", 4, Duration::from_secs(20)).await.unwrap();
    let now =
        [include_str!("../../../migrations/0004_batches.sql"), include_str!("../../../migrations/0005_horizon.sql")];
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
    for sql in now {
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
