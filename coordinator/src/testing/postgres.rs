//! A private Postgres with the coordinator's schema.
use std::ops::Deref;
use std::time::Duration;

use participant::Pool;

use crate::store::Store;

/// A Postgres cluster; gone when dropped.
pub struct Postgres(participant::testing::Postgres);

impl Postgres {
    /// Starts a cluster on a free port.
    pub fn start() -> Self {
        Postgres(participant::testing::Postgres::start())
    }

    /// A pool on it, with the coordinator's schema.
    pub async fn pool(&self) -> Pool {
        let wait = Duration::from_secs(20);
        let pool = participant::postgres::connect_pool(&self.url(), "test", 8, wait).await.unwrap();
        Store::migrate(&pool).await.unwrap();
        pool
    }

    /// A store of its own writer, as another coordinator would have.
    pub async fn store(&self) -> Store {
        let connect = participant::postgres::connect_options(&self.url(), "test").unwrap();
        Store::start(self.pool().await, connect)
    }
}

impl Deref for Postgres {
    type Target = participant::testing::Postgres;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
