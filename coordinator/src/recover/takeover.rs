//! Looks for transactions that nobody drives any more, and recovers them: at the start and all the time after.
//!
//! They are STAGING records and participants' rows in doubt whose owner is dead, or is this process and doesn't know them
//! any more (a lazy COMMITTED that a database lost in a crash).
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use participant::TransactionRef;
use participant::clock::now_unix_ms;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::start;
use crate::coordinator::Coordinator;
use crate::participants::{BranchRow, Participant};
use crate::store::Record;

/// Records looked at in one round, at most; the next round goes on.
const MAX_RECORDS: i64 = 20_000;
/// A participant's rows looked at in one round, at most: as many as it lists on one page.
const MAX_ROWS: i32 = 5_000;

/// Looks for abandoned transactions forever.
pub async fn take_over(coordinator: Arc<Coordinator>) {
    let pause = Duration::from_millis(u64::from(coordinator.args.lease_ms / 2).clamp(50, 500));
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // This process's own records and rows are suspicious only when two rounds find them without a driver: the first may
    // have been listed just before they were settled.
    let (mut suspected_records, mut suspected_rows) = (HashSet::new(), HashSet::new());
    loop {
        ticks.tick().await;
        suspected_records = take_over_records(&coordinator, &suspected_records).await;
        suspected_rows = take_over_rows(&coordinator, &suspected_rows).await;
    }
}

/// Returns the suspects for the next round.
async fn take_over_records(coordinator: &Arc<Coordinator>, suspects: &HashSet<Uuid>) -> HashSet<Uuid> {
    let overdue = now_unix_ms() - 2 * i64::from(coordinator.args.lease_ms);
    let abandoned = coordinator.store.abandoned(&coordinator.owner_id, overdue, MAX_RECORDS).await;
    let records = abandoned.unwrap_or_else(|error| {
        tracing::debug!(%error, "abandoned records can't be read; looking again");
        Vec::new()
    });
    let mut next = HashSet::new();
    for record in records {
        let Record { transaction_id, deadline_unix_ms, ref owner_id, .. } = record;
        if coordinator.active.drives(transaction_id) {
            continue;
        }
        if **owner_id == *coordinator.owner_id && !suspects.contains(&transaction_id) {
            next.insert(transaction_id);
            continue;
        }
        start(coordinator, TransactionRef { transaction_id, deadline_unix_ms }, Vec::new(), Some(record));
    }
    next
}

/// Returns the suspects for the next round.
async fn take_over_rows(coordinator: &Arc<Coordinator>, suspects: &HashSet<(String, Uuid)>) -> HashSet<(String, Uuid)> {
    let listed = join_all(coordinator.participants.iter().map(in_doubt)).await;
    // Read after the rows, so that a coordinator that has just started counts as alive.
    let live = match coordinator.store.live_owners().await {
        Ok(live) => live,
        Err(error) => {
            tracing::debug!(%error, "leases can't be read; looking again");
            return HashSet::new();
        }
    };
    let mut next = HashSet::new();
    for (participant, rows) in listed {
        for row in rows {
            let id = row.transaction.transaction_id;
            if coordinator.active.drives(id) {
                continue;
            }
            if *row.owner_id == *coordinator.owner_id {
                let suspect = (participant.clone(), id);
                if !suspects.contains(&suspect) {
                    next.insert(suspect);
                    continue;
                }
            } else if live.contains(&row.owner_id) {
                continue;
            }
            start(coordinator, row.transaction, row.participants, None);
        }
    }
    next
}

async fn in_doubt(participant: &Participant) -> (String, Vec<BranchRow>) {
    let rows = participant.prepared(MAX_ROWS).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "rows in doubt can't be listed; looking again");
        Vec::new()
    });
    (participant.name.clone(), rows)
}
