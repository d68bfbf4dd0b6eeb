//! Collects garbage: advances the watermark, and deletes the ABORTED rows at or below it.
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::clock::now_unix_ms;
use crate::config::ServiceArgs;
use crate::log::Log;

/// Rows deleted in one local transaction.
const STEP: i64 = 1_000;
/// Steps in one round, so that a round ends before the next is due.
const MAX_STEPS: u32 = 100;

/// Collects forever.
pub async fn collect(args: ServiceArgs, log: Log) {
    let mut ticks = tokio::time::interval(Duration::from_millis(args.collect_interval_ms.max(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match round(&log, now_unix_ms().saturating_sub(args.watermark_lag_ms)).await {
            Ok(0) => (),
            Ok(deleted) => tracing::info!(deleted, "log rows collected"),
            Err(error) => tracing::debug!(%error, "garbage was not collected; trying again"),
        }
    }
}

async fn round(log: &Log, to_unix_ms: i64) -> Result<u64, sqlx::Error> {
    let watermark = log.advance_watermark(to_unix_ms).await?;
    let mut deleted = 0;
    for _ in 0..MAX_STEPS {
        match log.delete_settled(watermark, STEP).await? {
            0 => break,
            step => deleted += step,
        }
    }
    Ok(deleted)
}
