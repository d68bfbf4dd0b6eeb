//! Whether garbage collection has left anything of orders that are over.
use std::time::{Duration, Instant};

use crate::server::Service;
use crate::system::System;

impl System {
    /// Waits until nothing stays of orders that are over but the records that answer repeated requests. Panics when it
    /// takes longer than `within`.
    pub async fn collected(&self, within: Duration) {
        let began = Instant::now();
        loop {
            let left = self.uncollected().await;
            if left.is_empty() {
                return;
            }
            assert!(began.elapsed() < within, "not collected after {} ms: {left:#?}", began.elapsed().as_millis());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What is left, by place.
    async fn uncollected(&self) -> Vec<String> {
        let rows = "SELECT (SELECT count(*) FROM branch_log) + (SELECT count(*) FROM branch_batch)
                           + (SELECT count(*) FROM step_log)";
        let records = "SELECT count(*) FROM record_as_it_stands WHERE NOT holds_request OR ((state = 2 OR mode = 2) AND NOT ended)";
        let places = Service::PARTICIPANTS.map(|service| (service, rows)).into_iter();
        let mut left = Vec::new();
        for (service, what) in places.chain([(Service::Coordinator, records)]) {
            let count: i64 = sqlx::query_scalar(what).fetch_one(&self.pool(service)).await.unwrap();
            if count > 0 {
                left.push(format!("{count} at {}", service.name()));
            }
        }
        left
    }
}
