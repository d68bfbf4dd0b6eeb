//! Optimistic: the rows are read without a lock, and updated if they are still at the version that was read; else both are
//! done again, a bounded number of times with growing pauses. Nobody waits while nobody else wants the same; on a hot SKU
//! most of the work is done in vain.
use std::time::Duration;

use participant::postgres::conflict;
use participant::{PreparedBranch, Refusal};
use rand::Rng;
use sqlx::PgConnection;

use super::{Counters, Held, Name, Strategy, find_enough, hold};
use crate::domain::Holds;
use crate::store::holds::{self, Guard};

/// How often it is tried in one local transaction. After that it is begun anew, with pauses of its own, until the writer
/// gives it up as doubt.
const TRIES: u32 = 8;
/// The first pause, at most; each further one may be twice as long.
const PAUSE_US: u64 = 500;

/// Read, update if nothing has changed.
#[derive(Debug, Default)]
pub struct Optimistic {
    counters: Counters,
}

impl Optimistic {
    async fn take_one(
        &self,
        connection: &mut PgConnection,
        branch: &PreparedBranch<Holds>,
    ) -> Result<Result<(), Refusal>, sqlx::Error> {
        for tried in 0..TRIES {
            let read = holds::read(connection, &branch.branch).await?;
            let claims = match find_enough(connection, branch, &read).await? {
                Ok(claims) => claims,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let versions: Vec<i64> = read.values().map(|seen| seen.version).collect();
            match hold(connection, branch, &claims, Guard::Version(&versions)).await? {
                Held::All => return Ok(Ok(())),
                // Some of the rows are changed and locked: only a new local transaction lets go of them.
                Held::Some => break,
                Held::Nothing => self.counters.retry(),
            }
            let most = PAUSE_US << tried;
            let pause = rand::rng().random_range(0..most);
            tokio::time::sleep(Duration::from_micros(pause)).await;
        }
        self.counters.retry();
        Err(conflict())
    }
}

#[tonic::async_trait]
impl Strategy for Optimistic {
    fn name(&self) -> Name {
        Name::Optimistic
    }

    async fn take(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Holds>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        let mut votes = Vec::with_capacity(branches.len());
        for branch in branches {
            votes.push(self.take_one(connection, branch).await?);
        }
        Ok(votes)
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}
