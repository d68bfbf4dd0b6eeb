//! Whether anything is in doubt anywhere.
use std::time::{Duration, Instant};

use proto::assent::transaction::v1::{BranchState, ListBranchesRequest, ListTransactionsRequest, RecordState};
use tonic::Status;

use crate::client::{Client, timed};
use crate::server::Service;

impl Client {
    /// Waits until nothing is in doubt: no record STAGING, no log row PREPARED, nothing listed as stuck. Returns how long
    /// that took; panics when it takes longer than `within`.
    pub async fn settled(&self, within: Duration) -> Duration {
        let began = Instant::now();
        loop {
            // Taken before it is looked at, so that looking doesn't count.
            let elapsed = began.elapsed();
            let left = self.in_doubt().await;
            match &left {
                Ok(left) if left.is_empty() => return elapsed,
                _ => assert!(elapsed < within, "in doubt after {} ms: {left:#?}", elapsed.as_millis()),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What is in doubt, by place.
    pub async fn in_doubt(&self) -> Result<Vec<String>, Status> {
        let mut left = Vec::new();
        let staging = ListTransactionsRequest { state: RecordState::Staging.into(), ..Default::default() };
        let stuck = ListTransactionsRequest { stuck: true, ..Default::default() };
        for request in [staging, stuck] {
            let listed = self.transactions.clone().list_transactions(timed(request)).await?.into_inner().transactions;
            left.extend(listed.into_iter().map(|summary| {
                let transaction = summary.transaction.unwrap_or_default();
                format!("record {} {:?}: {}", transaction.transaction_id, transaction.state(), summary.stuck_reason)
            }));
        }
        if self.places_sagas() {
            left.extend(self.open_sagas().await?);
        }
        for service in Service::PARTICIPANTS {
            let prepared = ListBranchesRequest { state: BranchState::Prepared.into(), ..Default::default() };
            let listed = self.participant(service).list_branches(timed(prepared)).await?.into_inner().branches;
            left.extend(
                listed.into_iter().map(|branch| {
                    format!("{} {}", service.name(), branch.transaction.unwrap_or_default().transaction_id)
                }),
            );
        }
        Ok(left)
    }

    /// Those of the newest sagas that have not ended.
    async fn open_sagas(&self) -> Result<Vec<String>, Status> {
        let newest = ListTransactionsRequest { page_size: 500, ..Default::default() };
        let listed = self.transactions.clone().list_transactions(timed(newest)).await?.into_inner().transactions;
        let open = listed.into_iter().filter_map(|summary| {
            let saga = summary.saga.filter(|saga| saga.end_time.is_none())?;
            let transaction_id = summary.transaction.unwrap_or_default().transaction_id;
            let steps = saga.steps.iter().map(|step| format!("{} {:?} {}", step.name, step.state(), step.last_error));
            Some(format!("saga {transaction_id} {:?}: {:?}", saga.state(), steps.collect::<Vec<_>>()))
        });
        Ok(open.collect())
    }
}
