//! Goes on with sagas that nobody drives any more: those of owners whose lease ran out, and this process's own that it
//! does not drive.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::drive::Drive;
use crate::coordinator::Coordinator;
use crate::store::TakeOver;

/// Sagas looked at in one round, at most; the next round goes on.
const MAX_SAGAS: i64 = 2_000;
/// Takeovers at one time.
const AT_ONCE: usize = 64;

/// Looks for abandoned sagas forever.
pub async fn take_over(coordinator: Arc<Coordinator>) {
    let pause = Duration::from_millis(u64::from(coordinator.args.lease_ms / 2).clamp(50, 500));
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // This process's own sagas are suspicious only when two rounds find them without a driver: the first may have been
    // listed just before they ended.
    let mut suspects = HashSet::new();
    loop {
        ticks.tick().await;
        suspects = round(&coordinator, &suspects).await;
    }
}

/// Returns the suspects for the next round.
async fn round(coordinator: &Arc<Coordinator>, suspects: &HashSet<Uuid>) -> HashSet<Uuid> {
    let abandoned = coordinator.store.abandoned_sagas(&coordinator.owner_id, MAX_SAGAS).await;
    let abandoned = abandoned.unwrap_or_else(|error| {
        tracing::debug!(%error, "abandoned sagas can't be read; looking again");
        Vec::new()
    });
    let mut next = HashSet::new();
    let mut taken = Vec::new();
    for (transaction_id, owner_id) in abandoned {
        if coordinator.sagas.drives(transaction_id) {
            continue;
        }
        if *owner_id == *coordinator.owner_id && !suspects.contains(&transaction_id) {
            next.insert(transaction_id);
            continue;
        }
        taken.push(transaction_id);
    }
    for some in taken.chunks(AT_ONCE) {
        let each = some.iter().map(|transaction_id| drive(coordinator, *transaction_id));
        futures::future::join_all(each).await;
    }
    next
}

/// Takes a saga over if its owner is not taken to live any more.
pub fn adopt(coordinator: &Arc<Coordinator>, transaction_id: Uuid) -> BoxFuture<'static, ()> {
    let coordinator = coordinator.clone();
    // In a box, because a driver may come here at its end.
    Box::pin(async move {
        if coordinator.sagas.drives(transaction_id) {
            return;
        }
        let (saga, live) = tokio::join!(coordinator.store.saga(transaction_id), coordinator.store.live_owners());
        let (Ok(Some(saga)), Ok(live)) = (saga, live) else { return };
        if !saga.paused && !live.contains(&saga.owner_id) {
            drive(&coordinator, transaction_id).await;
        }
    })
}

/// Takes a saga over as it stands, and drives it in a task of its own.
async fn drive(coordinator: &Arc<Coordinator>, transaction_id: Uuid) {
    let Some((driven, told)) = coordinator.sagas.enter(transaction_id) else { return };
    match own(coordinator, transaction_id).await {
        Ok(Some(drive)) => {
            tracing::info!(%transaction_id, "went on with a saga that nobody drove");
            coordinator.tasks.spawn(drive.run(told, driven));
        }
        Ok(None) => (),
        Err(error) => tracing::debug!(%transaction_id, error, "a saga could not be taken over; trying again"),
    }
}

async fn own(coordinator: &Arc<Coordinator>, transaction_id: Uuid) -> Result<Option<Box<Drive>>, String> {
    let store = &coordinator.store;
    let saga = store.saga(transaction_id).await.map_err(|error| error.to_string())?;
    let Some(saga) = saga.filter(|saga| !saga.paused && !saga.saga.state.is_ended()) else { return Ok(None) };
    let take_over =
        TakeOver { transaction_id, seen_epoch: saga.epoch, owner_id: coordinator.owner_id.clone(), paused: false };
    let Some(epoch) = store.take_over_saga(take_over).await.map_err(|doubt| doubt.to_string())? else {
        return Ok(None);
    };
    drive_of(coordinator, transaction_id, epoch).await
}

/// The driver of a saga that this process owns under `epoch`, by its row as it stands now.
pub(super) async fn drive_of(
    coordinator: &Arc<Coordinator>,
    transaction_id: Uuid,
    epoch: u64,
) -> Result<Option<Box<Drive>>, String> {
    let store = &coordinator.store;
    // Read after the takeover: what its owner before has written until then counts.
    let (saga, record) = tokio::join!(store.saga(transaction_id), store.record(transaction_id));
    let (saga, record) = (saga.map_err(|error| error.to_string())?, record.map_err(|error| error.to_string())?);
    let (Some(saga), Some(record)) = (saga, record) else { return Ok(None) };
    if saga.epoch != epoch {
        return Ok(None);
    }
    Ok(Drive::of_taken(coordinator, saga, epoch, &record))
}
