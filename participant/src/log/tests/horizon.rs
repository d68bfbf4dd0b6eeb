//! END up to a horizon.
use super::*;

fn due(deadline_unix_ms: i64) -> TransactionRef {
    TransactionRef { deadline_unix_ms, ..transaction() }
}

impl World {
    /// Prepares and commits these, each by itself.
    async fn sell(&self, transactions: &[TransactionRef]) {
        for transaction in transactions {
            assert_eq!(self.prepare(*transaction).await, Reply::Voted(Vote::Yes, None));
            assert_eq!(self.commit(*transaction).await, Reply::Settled(Settle::Apply));
        }
    }

    /// All that a round of the collector deletes.
    async fn collect(&self) -> u64 {
        let ended = self.log.ended_horizon().await.unwrap();
        let mut rows = 0;
        loop {
            match self.log.delete_ended(ended, 2).await.unwrap() {
                0 => return rows,
                deleted => rows += deleted,
            }
        }
    }
}

#[tokio::test]
async fn a_horizon_is_confirmed_no_higher_than_the_watermark_and_what_is_in_doubt() {
    let world = World::with_seats(5).await;
    let now = now_unix_ms();
    let [sold, held, later] = [due(now + 1_000), due(now + 2_000), due(now + 3_000)];
    world.sell(&[sold, later]).await;
    world.prepare(held).await;
    assert_eq!(world.log.confirm_horizon(i64::MAX).await.unwrap(), 0, "nothing can be said above the watermark");
    let watermark = world.log.advance_watermark(now + 2_500).await.unwrap();
    assert_eq!(world.log.confirm_horizon(i64::MAX).await.unwrap(), held.deadline_unix_ms - 1);
    assert_eq!(world.log.confirm_horizon(now).await.unwrap(), now, "no higher than what was asked");
    world.commit(held).await;
    assert_eq!(world.log.confirm_horizon(i64::MAX).await.unwrap(), watermark);
    assert_eq!(world.log.confirm_horizon(i64::MIN).await.unwrap(), i64::MIN);
    assert_eq!(world.log.ended_horizon().await.unwrap(), 0, "nobody has said END");
}

#[tokio::test]
async fn end_up_to_a_horizon_deletes_what_is_committed_and_at_or_below_it() {
    let world = World::with_seats(9).await;
    let now = now_unix_ms();
    let [first, second, last] = [due(now + 1_000), due(now + 2_000), due(now + 2_001)];
    let odd = TransactionRef { transaction_id: Uuid::max(), ..second };
    // One is due so much later that it is in a batch of its own, and one was aborted.
    let [early, aborted, hours_later] = [due(now + 1_500), due(now + 1_500), due(now + 7_200_000)];
    let together = [early, aborted, hours_later].map(|it| prepare(it, "hall")).into();
    world.writer.submit_all(together).await.unwrap();
    world.abort(aborted).await;
    for transaction in [early, hours_later] {
        assert_eq!(world.commit(transaction).await, Reply::Settled(Settle::Apply));
    }
    world.sell(&[first, second, last, odd]).await;
    assert_eq!(world.collect().await, 0);
    world.log.advance_watermark(now + 7_200_000).await.unwrap();
    assert_eq!(world.collect().await, 0, "a watermark alone takes nothing that is committed");

    assert_eq!(world.log.end_horizon(now + 2_000).await.unwrap(), now + 2_000);
    assert_eq!(world.log.end_horizon(now + 10).await.unwrap(), now + 2_000, "it never goes back");
    assert_eq!(world.collect().await, 5);
    for (gone, place) in [first, second, odd, early, aborted].iter().zip(0..) {
        assert_eq!(world.state(*gone).await, None, "{place}");
    }
    for kept in [last, hours_later] {
        assert_eq!(world.state(kept).await, Some(BranchState::Committed));
    }
    world.is_sound().await;
    world.log.end_horizon(now + 7_200_000).await.unwrap();
    assert_eq!(world.collect().await, 2);
    let batches: i64 = sqlx::query_scalar("SELECT count(*) FROM branch_batch").fetch_one(&world.pool).await.unwrap();
    assert_eq!(batches, 0);
}

#[tokio::test]
async fn what_is_in_doubt_is_never_ended_by_anyones_horizon() {
    let world = World::with_seats(5).await;
    let now = now_unix_ms();
    let [held, sold] = [due(now + 1_000), due(now + 1_000)];
    world.prepare(held).await;
    world.sell(&[sold]).await;
    assert_eq!(world.log.end_horizon(i64::MAX).await.unwrap(), 0, "above the watermark");
    world.log.advance_watermark(now + 5_000).await.unwrap();
    assert_eq!(world.log.end_horizon(i64::MAX).await.unwrap(), held.deadline_unix_ms - 1);
    assert_eq!(world.collect().await, 0);
    assert_eq!(world.state(held).await, Some(BranchState::Prepared));
}

#[tokio::test]
async fn what_a_horizon_is_confirmed_for_is_on_disk() {
    let world = World::with_seats(1).await;
    let watermark = world.log.advance_watermark(now_unix_ms()).await.unwrap();
    world.sell(&[due(now_unix_ms() + 1_000)]).await;
    let lazily: String =
        sqlx::query_scalar("SELECT pg_current_wal_insert_lsn()::text").fetch_one(&world.pool).await.unwrap();
    assert_eq!(world.log.confirm_horizon(i64::MAX).await.unwrap(), watermark);
    let flushed: bool = sqlx::query_scalar("SELECT pg_current_wal_flush_lsn() >= $1::pg_lsn")
        .bind(lazily)
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert!(flushed);
}

#[tokio::test]
async fn a_horizon_waits_for_an_insert_that_has_read_the_old_watermark() {
    let world = World::with_seats(5).await;
    let pending = due(now_unix_ms() + 1_000);
    let mut insert = world.pool.begin().await.unwrap();
    let rows = vec![(pending, b"hall".as_slice())];
    let mut batch = NewBatch { batch_id: Uuid::now_v7(), origin: &origin(), rows };
    super::super::batches::insert_with_care(&mut insert, &mut batch, Uuid::now_v7()).await.unwrap();
    // As a collector does that has not come to its drain yet.
    sqlx::query("UPDATE log_watermark SET deadline_unix_ms = $1")
        .bind(pending.deadline_unix_ms + 1)
        .execute(&world.pool)
        .await
        .unwrap();
    let log = world.log.clone();
    let confirming = tokio::spawn(async move { log.confirm_horizon(i64::MAX).await.unwrap() });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&world.pool).await.unwrap() == 0 {}
    assert!(!confirming.is_finished());
    insert.commit().await.unwrap();
    assert_eq!(confirming.await.unwrap(), pending.deadline_unix_ms - 1, "it has seen what was inserted");
}
