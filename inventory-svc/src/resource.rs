//! The inventory as a participant.
use participant::audit::Check;
use participant::{InvalidBranch, PreparedBranch, Refusal, Resource, StepBranch};
use sqlx::PgConnection;

use crate::domain::Holds;
use crate::{grpc, store};

/// The inventory: holds stock at prepare, sells it at commit, gives it back at abort. As a saga's step
/// it is held and sold at once, and put back by the compensation.
#[derive(Debug, Clone, Copy)]
pub struct Inventory;

impl Resource for Inventory {
    type Branch = Holds;

    fn name(&self) -> &'static str {
        "inventory"
    }

    fn decode(&self, bytes: &[u8]) -> Result<Holds, InvalidBranch> {
        grpc::decode_branch(bytes)
    }

    async fn prepare(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Holds>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        store::holds::take(connection, branches).await
    }

    async fn commit(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Holds>],
    ) -> Result<(), sqlx::Error> {
        store::holds::sell(connection, branches).await
    }

    async fn abort(
        &self,
        connection: &mut PgConnection,
        branches: &[(PreparedBranch<Holds>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        store::holds::give_back(connection, branches).await
    }

    async fn compensate(
        &self,
        connection: &mut PgConnection,
        steps: &[(StepBranch<Holds>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        store::returns::put_back(connection, steps).await
    }

    async fn audit(
        &self,
        connection: &mut PgConnection,
        prepared: &[PreparedBranch<Holds>],
    ) -> Result<Vec<Check>, sqlx::Error> {
        store::audit::check(connection, prepared).await
    }
}
