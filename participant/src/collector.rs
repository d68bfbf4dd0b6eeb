//! Collects garbage: advances the watermark, deletes the rows that it lets go and those of transactions that have ended, and
//! forgets old requests.
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::clock::now_unix_ms;
use crate::log::Log;
use crate::{ParticipantArgs, Pool, own_request};

/// Rows deleted in one local transaction.
const STEP: i64 = 1_000;
/// Steps in one round. Every round advances the watermark, so none may go on for ever; but with the default interval it must
/// be able to delete 100,000 rows a second, far more than come.
const MAX_STEPS: u32 = 1_000;

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

/// How many log rows and requests went.
async fn round(args: &ParticipantArgs, log: &Log, pool: &Pool) -> Result<(u64, u64), sqlx::Error> {
    let watermark = log.advance_watermark(now_unix_ms().saturating_sub(args.service.watermark_lag_ms)).await?;
    let (mut rows, mut requests) = (0, 0);
    for _ in 0..MAX_STEPS {
        let step = (
            log.delete_settled(watermark, STEP).await?,
            own_request::forget(pool, args.request_retention_ms, STEP).await?,
        );
        if step == (0, 0) {
            break;
        }
        rows += step.0;
        requests += step.1;
    }
    let ended = log.ended_horizon().await?;
    for _ in 0..MAX_STEPS {
        let deleted = log.delete_ended(ended, STEP).await?;
        if deleted == 0 {
            break;
        }
        rows += deleted;
    }
    Ok((rows, requests))
}
