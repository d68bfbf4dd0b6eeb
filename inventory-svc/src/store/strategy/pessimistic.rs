//! Pessimistic: the rows are locked while they are read (SELECT ... FOR UPDATE), so what was decided by them still holds when they
//! are updated. Orders for one SKU queue for its row, in Postgres and with a connection each.
use participant::{PreparedBranch, Refusal};
use sqlx::PgConnection;

use super::{Counters, Name, Strategy, find_enough, hold};
use crate::domain::Holds;
use crate::store::holds::{self, Guard};

/// Lock, read, update.
#[derive(Debug, Default)]
pub struct Pessimistic {
    counters: Counters,
}

#[tonic::async_trait]
impl Strategy for Pessimistic {
    fn name(&self) -> Name {
        Name::Pessimistic
    }

    async fn take(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Holds>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        let mut votes = Vec::with_capacity(branches.len());
        for branch in branches {
            let read = holds::lock(connection, &branch.branch).await?;
            let vote = find_enough(connection, branch, &read).await?;
            if let Ok(claims) = &vote {
                hold(connection, branch, claims, Guard::Locked).await?.all()?;
            }
            votes.push(vote.map(drop));
        }
        Ok(votes)
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}
