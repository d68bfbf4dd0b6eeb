//! Collects garbage: advances the watermark, drops partitions of the log of which all has ended, and makes the next ones; deletes
//! what has been over for long and is still there; and forgets old requests.
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::clock::now_unix_ms;
use crate::log::{Log, Over, Spans};
use crate::{ParticipantArgs, Pool, own_request};

/// Rows deleted in one local transaction.
const STEP: i64 = 1_000;
/// Steps in one round. Every round advances the watermark, so none may go on for ever; but with the default interval it must
/// be able to delete 100,000 rows a second, far more than come.
const MAX_STEPS: u32 = 1_000;
/// Partitions dropped in one round: others wait for each of them, if not for long.
const MAX_DROPPED: u32 = 4;

/// Collects forever.
pub async fn collect(args: ParticipantArgs, log: Log, pool: Pool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(args.service.collect_interval_ms.max(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match round(&args, &log, &pool).await {
            Ok((0, 0)) => (),
            Ok((rows, requests)) => tracing::info!(rows, requests, "garbage collected"),
            Err(error) => tracing::debug!(%error, "garbage was not collected; trying again"),
        }
    }
}

/// Makes the partitions of the log that are missing. If that fails rows come into the DEFAULT one, and are found there.
pub async fn make_partitions(args: &ParticipantArgs, log: &Log) {
    match log.make_partitions(now_unix_ms(), Spans::of(args.service.watermark_lag_ms).span_ms).await {
        Ok(0) => (),
        Ok(made) => tracing::debug!(made, "partitions of the log were made"),
        Err(error) => tracing::warn!(%error, "no partition of the log could be made; trying again"),
    }
}

/// How many log rows and requests went.
async fn round(args: &ParticipantArgs, log: &Log, pool: &Pool) -> Result<(u64, u64), sqlx::Error> {
    make_partitions(args, log).await;
    let watermark = log.advance_watermark(now_unix_ms().saturating_sub(args.service.watermark_lag_ms)).await?;
    let ended = log.ended_horizon().await?;
    let patience_ms = Spans::of(args.service.watermark_lag_ms).patience_ms;
    let (settled, long_ended) = (watermark.saturating_sub(patience_ms), ended.saturating_sub(patience_ms));
    let (mut rows, mut requests, mut dropped) = (0, 0, 0);
    while dropped < MAX_DROPPED
        && let Some(of_partition) = log.drop_partition(Over::at(ended, settled)).await?
    {
        rows += of_partition;
        dropped += 1;
    }
    for _ in 0..MAX_STEPS {
        let forgotten = own_request::forget(pool, args.request_retention_ms, STEP).await?;
        if forgotten == 0 {
            break;
        }
        requests += forgotten;
    }
    // Where partitions go, they take nearly all with them.
    if dropped == 0 {
        rows += delete(log, settled, long_ended).await?;
    }
    Ok((rows, requests))
}

/// Deletes by statements what a watermark and a horizon allow; returns how many rows went.
async fn delete(log: &Log, watermark: i64, ended: i64) -> Result<u64, sqlx::Error> {
    let mut rows = 0;
    for _ in 0..MAX_STEPS {
        let deleted = log.delete_settled(watermark, STEP).await?;
        if deleted == 0 {
            break;
        }
        rows += deleted;
    }
    for _ in 0..MAX_STEPS {
        let deleted = log.delete_ended(ended, STEP).await?;
        if deleted == 0 {
            break;
        }
        rows += deleted;
    }
    Ok(rows)
}
