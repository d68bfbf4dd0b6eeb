//! Partitions of the log's rows by their ids, which are UUIDv7 and so stand for times: they are made ahead of time, and dropped when
//! nobody can need their rows any more. That costs next to nothing, where deleting row by row costs as much as inserting, and a
//! vacuum afterwards.
//!
//! Whose rows are in a partition is told by the batches, which know the first and the last of their ids; no row is read. What may
//! go is said by [`protocol::collection`]: batches that are closed and have ended go with the partition, in one local transaction.
//! The few rows that must stay (of a batch that reaches into the next partition, or one with a late deadline) go to the DEFAULT
//! partition in the same one. If they are many the partition stays, and what has ended in it is deleted by statements after a while
//! ([`Spans::patience_ms`]), as it is in the DEFAULT partition.
//!
//! Both need locks for which everybody else would queue, so they give up soon and are tried again in the next round. Only one
//! collector is at it at a time, however many processes a service has.
use std::time::Duration;

use protocol::branch::BranchState;
use protocol::collection::may_delete_branch;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgExecutor};
use uuid::Uuid;

use super::Log;
use crate::crash_point;
use crate::postgres::is_lock_refused;

/// How long a lock is waited for that everybody else queues behind.
const LOCKED_WITHIN: Duration = Duration::from_millis(50);
/// No partition is for less: one that is gone before the next round would do no good.
const LEAST_SPAN_MS: i64 = 10_000;
/// A partition is looked at once the horizon is so far past its last id: most deadlines are nearer than that, and what would go a
/// bit later is not to be moved.
const SLACK_MS: i64 = 10_000;
/// How many spans partitions are made ahead.
const AHEAD: i64 = 3;
/// When so many partitions lie in the past (because a horizon is held up) the next ones are for twice as long, and so on: each look
/// into the log locks all of them.
const DOUBLED_AFTER: usize = 12;
const MAX_DOUBLINGS: usize = 10;
/// A watermark further behind (two years) makes no larger partitions.
const MAX_LAG_MS: i64 = 1 << 36;
/// So many rows are moved at most, while everybody waits.
const MAX_MOVED: i64 = 5_000;
/// So many batches are deleted in one local transaction at most; that takes seconds, in which nobody waits.
const MAX_BATCHES: i64 = 1_000_000;
/// Of so many times 500 batches it is said in one round between which ids their rows are; of the others it is while everybody waits.
const MAX_SAYINGS: u32 = 10_000;
/// Making a partition reads the DEFAULT one, while whoever wants it waits. If it is larger than this nothing is made until it has
/// become smaller.
const MAX_DEFAULT_BYTES: i64 = 2 << 30;

/// Says of batches between which ids their rows are, where a process of a version that did not say it has written them: those for
/// which a condition holds.
macro_rules! say_ids {
    ($which:literal) => {
        concat!(
            "UPDATE branch_batch SET first_transaction_id = transaction_ids[1],
                                     last_transaction_id = transaction_ids[cardinality(transaction_ids)]
             WHERE ",
            $which
        )
    };
}

/// How large partitions are, and how long they are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Spans {
    /// How much time a partition is for.
    pub span_ms: i64,
    /// What has ended so long ago, and is still there, is deleted by statements.
    pub patience_ms: i64,
}

impl Spans {
    /// With a watermark that is so far behind the clock.
    pub fn of(watermark_lag_ms: i64) -> Self {
        let share = watermark_lag_ms.clamp(0, MAX_LAG_MS) / 5;
        Spans { span_ms: share.max(LEAST_SPAN_MS), patience_ms: share * 3 }
    }
}

/// What is over.
#[derive(Debug, Clone, Copy)]
pub struct Over {
    /// Up to which deadline everything has ended.
    ended_unix_ms: i64,
    /// Up to which deadline nothing comes any more, and what was ABORTED may go; not below that.
    settled_unix_ms: i64,
}

impl Over {
    /// What is over at a horizon, and at a watermark that is no longer waited for: where the horizon is held up, and each
    /// transaction ended by itself, partitions that are empty by then go all the same.
    pub fn at(ended_unix_ms: i64, settled_unix_ms: i64) -> Self {
        Over { ended_unix_ms, settled_unix_ms: settled_unix_ms.max(ended_unix_ms) }
    }
}

/// A partition: the rows with ids from the first up to, but not with, the second.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Partition {
    /// The table's name, quoted where it must be.
    name: String,
    from_id: Uuid,
    to_id: Uuid,
}

impl Partition {
    pub(super) fn begins_ms(&self) -> i64 {
        unix_ms(self.from_id)
    }

    /// From when on ids are no more in it.
    fn ends_ms(&self) -> i64 {
        let to_ms = unix_ms(self.to_id);
        if first_id(to_ms) < self.to_id { to_ms + 1 } else { to_ms }
    }

    /// Whether it may be time for it to go.
    fn is_due(&self, over: Over) -> bool {
        self.ends_ms() + SLACK_MS <= over.settled_unix_ms
    }
}

/// The time in an id. Of one that is no UUIDv7 it is some time between 1970 and 10889.
fn unix_ms(id: Uuid) -> i64 {
    i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX)
}

/// The first id of a time.
fn first_id(unix_ms: i64) -> Uuid {
    let unix_ms = unix_ms.clamp(0, (1 << 48) - 1);
    Uuid::from_u128(u128::try_from(unix_ms).unwrap_or_default() << 80)
}

/// Which times from now on have no partition, cut into spans.
fn missing(partitions: &[Partition], now_unix_ms: i64, span_ms: i64) -> Vec<(i64, i64)> {
    let past = partitions.iter().filter(|partition| partition.ends_ms() <= now_unix_ms).count();
    let span_ms = span_ms << (past / DOUBLED_AFTER).min(MAX_DOUBLINGS);
    let begin = |unix_ms: i64| unix_ms.div_euclid(span_ms) * span_ms;
    let mut missing = Vec::new();
    let mut at = begin(now_unix_ms).max(0);
    while at < now_unix_ms + AHEAD * span_ms {
        let there = partitions.iter().find(|partition| (partition.begins_ms()..partition.ends_ms()).contains(&at));
        if let Some(there) = there {
            at = there.ends_ms();
            continue;
        }
        let next = partitions.iter().map(Partition::begins_ms).filter(|from_ms| *from_ms > at).min();
        let to = (begin(at) + span_ms).min(next.unwrap_or(i64::MAX));
        missing.push((at, to));
        at = to;
    }
    missing
}

impl Log {
    /// Makes the partitions that are missing from now on, for so long each; returns how many were made. Those for whose ids there
    /// are rows already are left out, and those for which a lock can't be had are left for the next time.
    pub async fn make_partitions(&self, now_unix_ms: i64, span_ms: i64) -> Result<u64, sqlx::Error> {
        let mut made = 0;
        while !missing(&partitions(&self.pool).await?, now_unix_ms, span_ms).is_empty()
            && self.change(async |local| make_one(local, now_unix_ms, span_ms).await).await?.is_some()
        {
            made += 1;
        }
        Ok(made)
    }

    /// Drops the oldest partition of which next to nothing must stay; returns how many rows went, or nothing if there was none, or
    /// a lock can't be had now.
    pub async fn drop_partition(&self, over: Over) -> Result<Option<u64>, sqlx::Error> {
        self.drop_partition_within(over, LOCKED_WITHIN).await
    }

    /// The same, for which the lock is waited for so long.
    pub(super) async fn drop_partition_within(&self, over: Over, within: Duration) -> Result<Option<u64>, sqlx::Error> {
        if !partitions(&self.pool).await?.iter().any(|partition| partition.is_due(over)) {
            return Ok(None);
        }
        self.say_ids().await?;
        let dropped = self.change(async |local| drop_one(local, over, within).await).await?;
        if dropped.is_some() {
            crash_point::pass("collect.after");
        }
        Ok(dropped)
    }

    /// Says of batches between which ids their rows are where that is not said, a few at a time, because whoever closes one of them
    /// waits meanwhile.
    async fn say_ids(&self) -> Result<(), sqlx::Error> {
        for _ in 0..MAX_SAYINGS {
            let some = say_ids!(
                "batch_id = ANY(ARRAY(SELECT batch_id FROM branch_batch WHERE first_transaction_id IS NULL
                                      LIMIT 500 FOR NO KEY UPDATE SKIP LOCKED))"
            );
            if sqlx::query(some).execute(&self.pool).await?.rows_affected() == 0 {
                break;
            }
        }
        Ok(())
    }

    /// One change of the partitions, in a local transaction of its own, which is undone if there was nothing to change or a lock
    /// can't be had.
    async fn change<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<Option<T>, sqlx::Error>,
    ) -> Result<Option<T>, sqlx::Error> {
        let change = async |connection: &mut PgConnection| {
            let mut local = connection.begin().await?;
            let changed = work(&mut local).await;
            match &changed {
                Ok(Some(_)) => local.commit().await?,
                // At once, so that its locks are gone.
                _ => local.rollback().await?,
            }
            changed
        };
        match self.pool.run(change).await {
            Err(error) if is_lock_refused(&error) => {
                tracing::debug!(%error, "the log's partitions are left for the next round");
                Ok(None)
            }
            changed => changed,
        }
    }
}

/// Keeps the partitions as they are until the end of the local transaction: whoever changes them takes this lock first, which hinders
/// nobody else. From now on no lock is waited for longer than `within`.
async fn keep_others_off(connection: &mut PgConnection, within: Duration) -> Result<(), sqlx::Error> {
    let within = format!("{}ms", within.as_millis());
    sqlx::query("SELECT set_config('lock_timeout', $1, true)").bind(within).execute(&mut *connection).await?;
    sqlx::query("LOCK TABLE ONLY branch_log IN SHARE UPDATE EXCLUSIVE MODE NOWAIT").execute(connection).await?;
    Ok(())
}

/// All partitions but the DEFAULT one, in the order of their ids.
pub(super) async fn partitions(executor: impl PgExecutor<'_>) -> Result<Vec<Partition>, sqlx::Error> {
    sqlx::query_as(
        "SELECT partition.oid::regclass::text AS name, bound[1]::uuid AS from_id, bound[2]::uuid AS to_id
         FROM pg_inherits JOIN pg_class AS partition ON partition.oid = inhrelid
              CROSS JOIN LATERAL regexp_match(pg_get_expr(relpartbound, partition.oid),
                                              '^FOR VALUES FROM \\(''([^'']+)''\\) TO \\(''([^'']+)''\\)$') AS bound
         WHERE inhparent = 'branch_log'::regclass AND bound IS NOT NULL ORDER BY from_id",
    )
    .fetch_all(executor)
    .await
}

/// A statement about a partition by its name.
async fn carry_out(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

/// Makes the first that is missing and can be made, if there is one.
async fn make_one(local: &mut PgConnection, now_unix_ms: i64, span_ms: i64) -> Result<Option<()>, sqlx::Error> {
    keep_others_off(&mut *local, LOCKED_WITHIN).await?;
    let mut free = None;
    for (from_ms, to_ms) in missing(&partitions(&mut *local).await?, now_unix_ms, span_ms) {
        let (is_taken, is_large): (bool, bool) = sqlx::query_as(
            "SELECT EXISTS (SELECT FROM branch_log_default WHERE transaction_id >= $1 AND transaction_id < $2),
                    pg_relation_size('branch_log_default') > $3",
        )
        .bind(first_id(from_ms))
        .bind(first_id(to_ms))
        .bind(MAX_DEFAULT_BYTES)
        .fetch_one(&mut *local)
        .await?;
        if is_large {
            tracing::warn!("the DEFAULT partition of the log is too large for others to be made beside it");
            break;
        }
        if !is_taken {
            free = Some((from_ms, to_ms));
            break;
        }
    }
    let Some((from_ms, to_ms)) = free else { return Ok(None) };
    // A table is made first and attached then, because that makes nobody wait who inserts. It is never vacuumed (but against
    // wraparound), because hardly anything in it changes, and it goes as a whole.
    let name = format!("branch_log_{from_ms}");
    let columns = "(LIKE branch_log INCLUDING DEFAULTS INCLUDING CONSTRAINTS) WITH (autovacuum_enabled = false)";
    carry_out(&mut *local, format!("CREATE TABLE {name} {columns}")).await?;
    let (from_id, to_id) = (first_id(from_ms), first_id(to_ms));
    let values = format!("FOR VALUES FROM ('{from_id}') TO ('{to_id}')");
    carry_out(&mut *local, format!("ALTER TABLE branch_log ATTACH PARTITION {name} {values}")).await?;
    Ok(Some(()))
}

/// Batches that may have rows in a partition (from $1 up to $2).
macro_rules! near {
    () => {
        "(first_transaction_id < $2 AND last_transaction_id >= $1)"
    };
}

/// Batches of which all rows are in a partition (from $1 up to $2) and have ended (at $3).
macro_rules! ended_inside {
    () => {
        "(first_transaction_id >= $1 AND first_transaction_id < $2 AND last_transaction_id < $2
          AND state = 2 AND max_deadline_unix_ms <= $3)"
    };
}

/// Rows that must stay though no batch may tell so: ABORTED ones are over at $4. A COMMITTED one without a batch is nobody's work
/// here, but is treated as its state says.
macro_rules! stays_alone {
    () => {
        "((state = 3 OR batch_id IS NULL) AND deadline_unix_ms > $3 AND (state <> 3 OR deadline_unix_ms > $4))"
    };
}

/// How many rows went, if any partition could go.
async fn drop_one(local: &mut PgConnection, over: Over, within: Duration) -> Result<Option<u64>, sqlx::Error> {
    // What has ended is at or below the watermark, and nothing of it is PREPARED: of an open batch every row is kept.
    debug_assert!(
        [BranchState::Committed, BranchState::Aborted].iter().all(|state| may_delete_branch(*state, true, true))
    );
    keep_others_off(&mut *local, within).await?;
    let mut chosen = None;
    for partition in partitions(&mut *local).await? {
        if partition.is_due(over) && may_go(&mut *local, &partition, over).await? {
            chosen = Some(partition);
            break;
        }
    }
    let Some(partition) = chosen else { return Ok(None) };
    crash_point::pass("collect.before");
    let gone = delete_batches(&mut *local, &partition, over).await?;
    let Partition { name, from_id, to_id } = &partition;
    carry_out(&mut *local, format!("LOCK TABLE ONLY branch_log, {name} IN ACCESS EXCLUSIVE MODE")).await?;
    carry_out(&mut *local, format!("ALTER TABLE branch_log DETACH PARTITION {name}")).await?;
    // Now nobody else has it, so what came until the lock was there is seen, and moved as well.
    sqlx::query(say_ids!("first_transaction_id IS NULL")).execute(&mut *local).await?;
    let moved = sqlx::query(AssertSqlSafe(format!(
        concat!(
            "INSERT INTO branch_log SELECT kept.* FROM {name} AS kept WHERE transaction_id IN (
                 SELECT id FROM branch_batch CROSS JOIN LATERAL unnest(transaction_ids) AS id
                 WHERE ",
            near!(),
            " AND id >= $1 AND id < $2
                 UNION
                 SELECT transaction_id FROM {name} WHERE ",
            stays_alone!(),
            ")"
        ),
        name = name
    )))
    .persistent(false)
    .bind(from_id)
    .bind(to_id)
    .bind(over.ended_unix_ms)
    .bind(over.settled_unix_ms)
    .execute(&mut *local)
    .await?
    .rows_affected();
    carry_out(&mut *local, format!("DROP TABLE {name}")).await?;
    tracing::debug!(%name, gone, moved, "a partition of the log is dropped");
    Ok(Some(u64::try_from(gone).unwrap_or_default()))
}

/// Whether not too many rows of a partition must stay.
async fn may_go(connection: &mut PgConnection, partition: &Partition, over: Over) -> Result<bool, sqlx::Error> {
    let Partition { name, from_id, to_id } = partition;
    let (batches, kept): (i64, i64) = sqlx::query_as(AssertSqlSafe(format!(
        concat!(
            "SELECT (SELECT count(*) FROM branch_batch WHERE ",
            ended_inside!(),
            "),
             (SELECT coalesce(sum(rows_left), 0)::bigint FROM branch_batch
              WHERE ",
            near!(),
            "
                AND (first_transaction_id >= $1 OR last_transaction_id < $2
                     OR EXISTS (SELECT FROM unnest(transaction_ids) AS id WHERE id >= $1 AND id < $2))
                AND NOT ",
            ended_inside!(),
            ")
             + (SELECT count(*) FROM (SELECT FROM {name} WHERE ",
            stays_alone!(),
            " LIMIT $5 + 1) AS alone)"
        ),
        name = name
    )))
    .persistent(false)
    .bind(from_id)
    .bind(to_id)
    .bind(over.ended_unix_ms)
    .bind(over.settled_unix_ms)
    .bind(MAX_MOVED)
    .fetch_one(connection)
    .await?;
    Ok(batches <= MAX_BATCHES && kept <= MAX_MOVED)
}

/// Deletes the batches that go with a partition, and counts their rows and those without a batch, which are asked for in the words of
/// the small index that has them.
async fn delete_batches(connection: &mut PgConnection, partition: &Partition, over: Over) -> Result<i64, sqlx::Error> {
    let Partition { name, from_id, to_id } = partition;
    sqlx::query_scalar(AssertSqlSafe(format!(
        concat!(
            "WITH gone AS (DELETE FROM branch_batch WHERE ",
            ended_inside!(),
            " RETURNING rows_left), counted AS (
                 SELECT (SELECT coalesce(sum(rows_left), 0) FROM gone)::bigint
                        + (SELECT count(*) FROM {name} WHERE (state = 3 OR batch_id IS NULL) AND batch_id IS NULL AND NOT ",
            stays_alone!(),
            ") AS rows
             ), noted AS (
                 UPDATE log_watermark SET dropped_rows = dropped_rows + rows FROM counted WHERE sole
             )
             SELECT rows FROM counted"
        ),
        name = name
    )))
    .persistent(false)
    .bind(from_id)
    .bind(to_id)
    .bind(over.ended_unix_ms)
    .bind(over.settled_unix_ms)
    .fetch_one(connection)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(from_ms: i64, to_ms: i64) -> Partition {
        Partition { name: String::new(), from_id: first_id(from_ms), to_id: first_id(to_ms) }
    }

    #[test]
    fn what_is_missing_from_now_on_is_cut_into_spans() {
        assert_eq!(missing(&[], 125, 10), [(120, 130), (130, 140), (140, 150), (150, 160)]);
        assert_eq!(missing(&[], -5, 10), [(0, 10), (10, 20), (20, 30)], "no id is older");
        let there = [partition(0, 124), partition(130, 133), partition(147, 150)];
        let gaps = [(124, 130), (133, 140), (140, 147), (150, 160)];
        assert_eq!(missing(&there, 125, 10), gaps, "around what is there, whatever its span was");
        assert_eq!(missing(&[partition(0, 1_000)], 125, 10), []);
        let odd = Partition { to_id: Uuid::from_u128(first_id(130).as_u128() + 1), ..partition(0, 130) };
        assert_eq!(missing(&[odd], 129, 10), [(131, 140), (140, 150), (150, 160)], "what ends within a millisecond");
    }

    #[test]
    fn where_many_are_not_dropped_new_ones_are_longer() {
        let past: Vec<Partition> = (0..24).map(|place| partition(place * 10, place * 10 + 10)).collect();
        assert_eq!(missing(&past[..11], 240, 10).len(), 3);
        assert_eq!(missing(&past[..12], 240, 10), [(240, 260), (260, 280), (280, 300)]);
        assert_eq!(missing(&past, 240, 10), [(240, 280), (280, 320), (320, 360)]);
        let many: Vec<Partition> = (0..1_000).map(|place| partition(place * 10, place * 10 + 10)).collect();
        assert_eq!(missing(&many, 10_000, 10)[0], (10_000, 10_240));
    }

    #[test]
    fn any_lag_makes_partitions_of_some_length() {
        let spans = |lag| {
            let Spans { span_ms, patience_ms } = Spans::of(lag);
            (span_ms, patience_ms)
        };
        assert_eq!(spans(600_000), (120_000, 360_000));
        assert_eq!(spans(500), (10_000, 300));
        assert_eq!(spans(i64::MIN), (10_000, 0));
        let (longest, _) = spans(i64::MAX);
        let many: Vec<Partition> = (0..1_000).map(|place| partition(place, place + 1)).collect();
        assert!(missing(&many, i64::from(u32::MAX), longest).len() >= 3);
        for id in [Uuid::nil(), Uuid::max(), Uuid::now_v7()] {
            assert!(first_id(unix_ms(id)) <= id);
        }
        assert_eq!((first_id(i64::MIN), first_id(i64::MAX).as_u128() >> 80), (Uuid::nil(), (1 << 48) - 1));
    }
}
