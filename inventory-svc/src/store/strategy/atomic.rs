//! Atomic: one guarded update takes what an order wants if there is enough of it, and answers what is left. Postgres
//! checks and takes in one step, so nothing has to be read before. Orders for one SKU wait for each other's row lock, from
//! the update to the end of the forced COMMIT.
use participant::{PreparedBranch, Refusal};
use sqlx::PgConnection;

use super::{Counters, Name, Strategy};
use crate::domain::Holds;
use crate::store::holds;

/// One guarded update per order.
#[derive(Debug, Default)]
pub struct Atomic {
    counters: Counters,
}

#[tonic::async_trait]
impl Strategy for Atomic {
    fn name(&self) -> Name {
        Name::Atomic
    }

    async fn take(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Holds>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        let mut votes = Vec::with_capacity(branches.len());
        for branch in branches {
            // The same update as that of a batch.
            votes.extend(holds::take(connection, std::slice::from_ref(branch)).await?);
        }
        Ok(votes)
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}
