//! This process's own lease.
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::coordinator::Coordinator;
use crate::store::Heartbeat;

/// Takes the lease, trying again while the database can't be reached.
pub async fn take_lease(coordinator: &Coordinator, wait: Duration) -> Result<(), sqlx::Error> {
    let args = &coordinator.args;
    let give_up = Instant::now() + wait;
    loop {
        let address = args.listen.to_string();
        match coordinator.store.take_lease(&args.name, &coordinator.owner_id, &address, args.lease_ms).await {
            Err(error) if Instant::now() < give_up => {
                tracing::info!(%error, "waiting to take the lease");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            taken => return taken,
        }
    }
}

/// Gives signs of life; returns when another process has taken this one's name.
pub async fn keep_lease(coordinator: Arc<Coordinator>) {
    let args = &coordinator.args;
    let mut ticks = tokio::time::interval(Duration::from_millis(u64::from(args.lease_ms / 4).max(25)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match coordinator.store.keep_lease(&args.name, &coordinator.owner_id, args.lease_ms).await {
            Ok(Heartbeat::Kept) => (),
            Ok(Heartbeat::Superseded) => return,
            // Others may recover what this process drives; that is safe, and the votes will tell.
            Err(error) => tracing::warn!(%error, "the lease could not be kept"),
        }
    }
}
