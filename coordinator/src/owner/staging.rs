//! The lane to the coordinator's own database: STAGING records set out in the rounds of their PREPAREs.
//!
//! A record is written sooner than participants vote. Written at once, it would share its forced write with few others while
//! the votes of all of them are still to come: nobody is answered sooner for it, and the processors are busy with it.
use std::sync::Arc;

use tokio::sync::mpsc;

use super::attempt::Attempt;
use crate::rounds::Rounds;
use crate::store::{NewRecord, Store};

/// Records in one batch, at most.
const MAX_RECORDS: usize = 1024;

type Ask = (Arc<NewRecord>, Arc<Attempt>);

/// A handle on the lane, which ends when the handle is dropped.
pub struct StagingLane {
    asks: mpsc::UnboundedSender<Ask>,
    rounds: Rounds,
}

impl StagingLane {
    /// Starts the lane's task.
    pub fn start(store: Store, rounds: Rounds) -> Self {
        let (asks, queue) = mpsc::unbounded_channel();
        tokio::spawn(run(store, rounds.clone(), queue));
        StagingLane { asks, rounds }
    }

    /// Has a record inserted, forced, and its attempt told. Nothing is told by a database that has stopped answering.
    pub fn stage(&self, record: Arc<NewRecord>, attempt: Arc<Attempt>) {
        // A lane that is gone tells nothing, which is doubt as well.
        let _ = self.asks.send((record, attempt));
        self.rounds.order();
    }
}

async fn run(store: Store, rounds: Rounds, mut queue: mpsc::UnboundedReceiver<Ask>) {
    let mut turns = rounds.turns();
    while let Some(first) = queue.recv().await {
        let under_way = turns.may_go().await;
        let mut batch = vec![first];
        while batch.len() < MAX_RECORDS {
            let Ok(ask) = queue.try_recv() else { break };
            batch.push(ask);
        }
        turns.go(under_way, stage(store.clone(), batch));
    }
    turns.end().await;
}

async fn stage(store: Store, batch: Vec<Ask>) {
    // Once all that is ready has been done: the PREPAREs are written first, because participants have more to do than the
    // database here, which would have a processor to itself at once, this process' own for instance.
    tokio::task::yield_now().await;
    let (records, attempts): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let staged = store.stage_all(records).await;
    for (attempt, staged) in attempts.into_iter().zip(staged) {
        attempt.staged(staged);
    }
}
