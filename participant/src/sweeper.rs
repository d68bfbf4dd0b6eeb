//! Settles branches in doubt past their deadline by asking a coordinator to recover the transaction.
//!
//! Any coordinator will do. What it decides it sends itself, as COMMIT or ABORT; only FORGOTTEN, which says that no record
//! stands and none ever will, is for the participant to act on.
use std::time::Duration;

use futures::{StreamExt, stream};
use proto::assent::transaction::v1 as api;
use proto::assent::transaction::v1::coordinator_service_client::CoordinatorServiceClient;
use tokio::time::MissedTickBehavior;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::clock::now_unix_ms;
use crate::log::{Entry, Log, Row};
use crate::writers::Writers;
use crate::{ParticipantArgs, Resource};

/// Rows looked at in one round, at most; the next round goes on behind them.
const MAX_ROWS: i64 = 1_000;
/// Recoveries asked for at one time.
const AT_ONCE: usize = 16;
/// Longer than a coordinator takes to ask every participant.
const TIMEOUT: Duration = Duration::from_millis(5_000);

/// Asks coordinators about what is in doubt.
pub struct Sweeper<R: Resource> {
    coordinators: Vec<CoordinatorServiceClient<Channel>>,
    interval: Duration,
    log: Log,
    writers: Writers<R>,
}

impl<R: Resource> Sweeper<R> {
    /// A sweeper that asks these coordinators; nothing is connected before it is needed.
    pub fn new(args: &ParticipantArgs, log: Log, writers: Writers<R>) -> anyhow::Result<Self> {
        let mut coordinators = Vec::new();
        for address in args.coordinators.iter().filter(|address| !address.is_empty()) {
            let endpoint = Endpoint::from_shared(address.clone())
                .map_err(|error| anyhow::anyhow!("{address:?} is no address of a coordinator: {error}"))?;
            let channel = endpoint.connect_timeout(Duration::from_secs(1)).tcp_nodelay(true).connect_lazy();
            coordinators.push(CoordinatorServiceClient::new(channel));
        }
        anyhow::ensure!(!coordinators.is_empty(), "--coordinators names none: who settles what is in doubt?");
        let interval = Duration::from_millis(args.sweep_interval_ms.max(10));
        Ok(Sweeper { coordinators, interval, log, writers })
    }

    /// Sweeps forever.
    pub async fn sweep(mut self) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut after = Uuid::nil();
        loop {
            ticks.tick().await;
            after = self.round(after).await;
            // One that knows may still not reach us with its decision, so each round begins with another one.
            self.coordinators.rotate_left(1);
        }
    }

    /// Looks at rows after `after`; returns where the next round goes on, so that what stays in doubt at the front keeps
    /// nobody behind it waiting.
    async fn round(&self, after: Uuid) -> Uuid {
        let rows = match self.log.overdue(now_unix_ms(), after, MAX_ROWS).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::debug!(%error, "rows in doubt can't be read; looking again");
                return after;
            }
        };
        let next = match rows.last() {
            Some(last) if i64::try_from(rows.len()) == Ok(MAX_ROWS) => last.transaction.transaction_id,
            _ => Uuid::nil(),
        };
        stream::iter(rows).for_each_concurrent(AT_ONCE, |row| self.settle(row)).await;
        next
    }

    async fn settle(&self, row: Row) {
        let id = row.transaction.transaction_id;
        match self.recover(&row).await {
            Some(api::RecoveryOutcome::Forgotten) => {
                tracing::info!(transaction_id = %id, "forgotten by the coordinator: aborting the branch");
                // If it was not done the next round finds the row again.
                let _ = self.writers.submit(Entry::Forgotten(row.transaction)).await;
            }
            outcome => tracing::debug!(transaction_id = %id, ?outcome, "asked for recovery"),
        }
    }

    /// Asks one coordinator after the other until one knows.
    async fn recover(&self, row: &Row) -> Option<api::RecoveryOutcome> {
        for coordinator in &self.coordinators {
            let mut request = Request::new(api::RecoverTransactionRequest {
                transaction: Some(row.transaction.into()),
                participants: row.participants.clone(),
            });
            request.set_timeout(TIMEOUT);
            match tokio::time::timeout(TIMEOUT, coordinator.clone().recover_transaction(request)).await {
                Ok(Ok(answer)) => match answer.into_inner().outcome() {
                    api::RecoveryOutcome::InDoubt | api::RecoveryOutcome::Unspecified => (),
                    known => return Some(known),
                },
                Ok(Err(status)) => tracing::debug!(%status, "a coordinator can't recover; asking the next"),
                Err(_) => tracing::debug!("a coordinator does not answer; asking the next"),
            }
        }
        None
    }
}
