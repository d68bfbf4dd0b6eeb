//! Collects garbage: advances the watermark, tells participants END, deletes what may go.
//!
//! END is said up to a horizon that everyone confirms, which names no transaction. Only what stays behind for long, because
//! the horizon is held up (by a participant that does not answer or knows no horizons, by a record or row that is in doubt,
//! or by a record that names a participant unknown here), is ended by its id.
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use participant::TransactionRef;
use participant::clock::now_unix_ms;
use protocol::collection::common_horizon;
use protocol::record::RecordState;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use crate::coordinator::Coordinator;
use crate::participants::CallError;
use crate::saga::group;
use crate::store::{ClosedBatch, Record};

/// For so many rounds a horizon may be late: participants advance their watermarks by their own clocks, as often as we do.
const LATE_ROUNDS: u64 = 3;
/// Records, or sagas, that are ended in one step.
const END_STEP: i64 = 500;
/// Such steps in one round. Every round advances the watermark, so none may go on for ever; but with the default interval it must be
/// able to take 50,000 records a second, far more than come.
const MAX_END_STEPS: u32 = 1_000;
/// Records that are deleted in one step, which takes some ten milliseconds.
const DELETE_STEP: i64 = 2_000;

/// Collects forever.
pub async fn collect(coordinator: Arc<Coordinator>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(coordinator.args.service.collect_interval_ms.max(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = round(&coordinator).await {
            tracing::debug!(%error, "garbage was not collected; trying again");
        }
    }
}

async fn round(coordinator: &Coordinator) -> Result<(), sqlx::Error> {
    let now = now_unix_ms();
    let watermark = coordinator.store.advance_watermark(now - coordinator.args.service.watermark_lag_ms).await?;
    end_horizon(coordinator, watermark).await?;
    let late = LATE_ROUNDS.saturating_mul(coordinator.args.service.collect_interval_ms);
    let held_up = watermark.saturating_sub(i64::try_from(late).unwrap_or(i64::MAX));
    let mut after = None;
    for _ in 0..MAX_END_STEPS {
        let batches = coordinator.store.to_end(held_up, after, END_STEP).await?;
        let Some(last) = batches.last() else { break };
        after = Some((last.max_deadline_unix_ms, last.batch_id));
        coordinator.store.mark_ended(&end(coordinator, &batches).await).await?;
    }
    end_sagas(coordinator, watermark).await?;
    let retention = now - coordinator.args.request_retention_ms;
    let deleted = delete(coordinator, watermark, retention).await?;
    if deleted > 0 {
        tracing::info!(deleted, "records collected");
    }
    Ok(())
}

/// Deletes what may go, until nothing is left or the next round is due. Orders come first: after each step the database is left
/// alone for as long as it took.
async fn delete(coordinator: &Coordinator, watermark: i64, retention: i64) -> Result<u64, sqlx::Error> {
    let first = Instant::now();
    let interval = Duration::from_millis(coordinator.args.service.collect_interval_ms);
    let mut deleted = 0;
    loop {
        let begun = Instant::now();
        let step = coordinator.store.delete_settled(watermark, retention, DELETE_STEP).await?;
        deleted += step;
        let left = interval.saturating_sub(first.elapsed());
        if step == 0 || left.is_zero() {
            return Ok(deleted);
        }
        tokio::time::sleep(begun.elapsed().min(left)).await;
    }
}

/// Tells all participants END up to the horizon that they confirm, and notes what has ended.
async fn end_horizon(coordinator: &Coordinator, watermark: i64) -> Result<(), sqlx::Error> {
    let own = coordinator.store.horizon(watermark, &coordinator.participants.names()).await?;
    let confirmed = join_all(coordinator.participants.iter().map(|participant| participant.confirm_horizon(own))).await;
    let Some(horizon) = common_horizon(own, confirmed.into_iter().map(answered)) else { return Ok(()) };
    let ended = join_all(coordinator.participants.iter().map(|participant| participant.end_horizon(horizon))).await;
    let Some(ended) = common_horizon(horizon, ended.into_iter().map(answered)) else { return Ok(()) };
    let batches = coordinator.store.mark_ended_up_to(ended).await?;
    if batches > 0 {
        tracing::debug!(horizon_unix_ms = ended, batches, "records have ended up to a horizon");
    }
    Ok(())
}

fn answered(answer: Result<i64, CallError>) -> Option<i64> {
    answer.inspect_err(|error| tracing::debug!(%error, "a participant does not confirm a horizon")).ok()
}

/// Makes sure that the participants of the durably COMMITTED records of these batches are durably so as well, and tells them
/// END; returns the batches of which all participants of all records have acknowledged it.
async fn end(coordinator: &Coordinator, batches: &[ClosedBatch]) -> Vec<Uuid> {
    let is_committed = |record: &&Record| record.state == RecordState::Committed;
    let mut left: Vec<&Record> = batches.iter().flat_map(|batch| &batch.records).filter(is_committed).collect();
    // A record that names a participant unknown here can't be ended here.
    left.retain(|record| record.participants.iter().all(|name| coordinator.participants.get(name).is_some()));
    let durably = coordinator.participants.iter().map(|participant| (true, participant));
    let ends = coordinator.participants.iter().map(|participant| (false, participant));
    for (durably, participant) in durably.chain(ends) {
        let (concerned, others): (Vec<&Record>, Vec<&Record>) =
            left.into_iter().partition(|record| record.participants.contains(&participant.name));
        let transactions: Vec<TransactionRef> = concerned
            .iter()
            .map(|record| TransactionRef {
                transaction_id: record.transaction_id,
                deadline_unix_ms: record.deadline_unix_ms,
            })
            .collect();
        let answer = match transactions.is_empty() {
            true => Ok(Vec::new()),
            false if durably => participant.commit_durably(&transactions).await,
            false => participant.end(&transactions).await,
        };
        let acknowledged = answer.unwrap_or_else(|error| {
            tracing::debug!(%error, "a participant was not told END; trying again later");
            Vec::new()
        });
        left = others;
        left.extend(concerned.into_iter().zip(acknowledged).filter(|(_, done)| *done).map(|(record, _)| record));
    }
    let ended: HashSet<Uuid> = left.into_iter().map(|record| record.transaction_id).collect();
    let is_over = |record: &Record| !is_committed(&record) || ended.contains(&record.transaction_id);
    batches.iter().filter(|batch| batch.records.iter().all(is_over)).map(|batch| batch.batch_id).collect()
}

/// Tells the participants of sagas that have ended END, step by step; notes the sagas all of whose steps have acknowledged
/// it. A step that was never started has no row, and acknowledges it as well.
async fn end_sagas(coordinator: &Coordinator, watermark: i64) -> Result<(), sqlx::Error> {
    let mut after = Uuid::nil();
    for _ in 0..MAX_END_STEPS {
        let sagas = coordinator.store.sagas_to_end(watermark, after, END_STEP).await?;
        let Some(last) = sagas.last() else { break };
        after = last.transaction_id;
        let mut left: HashSet<Uuid> = sagas.iter().map(|saga| saga.transaction_id).collect();
        // A saga that names a participant unknown here can't be ended here. The coordinator's own steps are records, which go
        // as others do.
        let is_unknown = |name: &str| name != group::NAME && coordinator.participants.get(name).is_none();
        let unknown = sagas.iter().filter(|saga| saga.steps.iter().any(|it| is_unknown(&it.step.participant)));
        for saga in unknown {
            left.remove(&saga.transaction_id);
        }
        for participant in coordinator.participants.iter() {
            let steps = sagas.iter().flat_map(|saga| {
                let transaction =
                    TransactionRef { transaction_id: saga.transaction_id, deadline_unix_ms: saga.saga.deadline };
                let here = saga.steps.iter().filter(|it| it.step.participant == participant.name);
                here.map(move |it| (transaction, it.step.name.clone()))
            });
            let steps: Vec<(TransactionRef, String)> = steps.collect();
            if steps.is_empty() {
                continue;
            }
            let acknowledged = participant.end_steps(&steps).await.unwrap_or_else(|error| {
                tracing::debug!(%error, "a participant was not told that sagas have ended; trying again later");
                Vec::new()
            });
            let mut acknowledged = acknowledged.into_iter();
            for (transaction, _) in &steps {
                if !acknowledged.next().unwrap_or_default() {
                    left.remove(&transaction.transaction_id);
                }
            }
        }
        coordinator.store.mark_sagas_ended(&left.into_iter().collect::<Vec<_>>()).await?;
    }
    Ok(())
}
