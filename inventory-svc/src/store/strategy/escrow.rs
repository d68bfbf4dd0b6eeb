//! Escrow: the orders that have come together take from the stock in one update of their sums, and divide it among
//! themselves in memory. A hot SKU costs one row update for all of them, and nobody waits for anybody but the disk.
use participant::{PreparedBranch, Refusal, Writing};
use sqlx::PgConnection;

use super::{Counters, Name, Strategy};
use crate::domain::Holds;
use crate::store::holds;

/// The default.
#[derive(Debug, Default)]
pub struct Escrow {
    counters: Counters,
}

#[tonic::async_trait]
impl Strategy for Escrow {
    fn name(&self) -> Name {
        Name::Escrow
    }

    fn writing(&self, _: usize) -> Writing {
        Writing::Batched
    }

    async fn take(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Holds>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        holds::take(connection, branches).await
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}
