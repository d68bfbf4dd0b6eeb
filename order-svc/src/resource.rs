//! The orders as a participant.
use participant::audit::Check;
use participant::{DUPLICATE_REQUEST, InvalidBranch, PreparedBranch, Refusal, Resource};
use sqlx::PgConnection;

use crate::domain::NewOrder;
use crate::{grpc, store};

/// The orders: written down at prepare, refused at abort; that they are confirmed is said by the log.
#[derive(Debug, Clone, Copy)]
pub struct Orders;

impl Resource for Orders {
    type Branch = NewOrder;

    fn name(&self) -> &'static str {
        "order"
    }

    fn decode(&self, bytes: &[u8]) -> Result<NewOrder, InvalidBranch> {
        grpc::decode_branch(bytes)
    }

    async fn prepare(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<NewOrder>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        store::placing::insert(connection, branches).await?;
        // A valid order can always be written down; whether it can be met is for the others to say.
        Ok(branches.iter().map(|_| Ok(())).collect())
    }

    async fn commit(&self, _: &mut PgConnection, _: &[PreparedBranch<NewOrder>]) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn abort(
        &self,
        connection: &mut PgConnection,
        branches: &[(PreparedBranch<NewOrder>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        let (duplicates, refused): (Vec<_>, Vec<_>) =
            branches.iter().cloned().partition(|(_, refusal)| refusal.reason == DUPLICATE_REQUEST);
        store::placing::refuse(connection, &refused).await?;
        // The order is the other attempt's; a shop's list must not show one that nobody placed.
        store::placing::drop(connection, duplicates.iter().map(|(order, _)| order.transaction_id).collect()).await
    }

    async fn audit(
        &self,
        connection: &mut PgConnection,
        prepared: &[PreparedBranch<NewOrder>],
    ) -> Result<Vec<Check>, sqlx::Error> {
        store::audit::check(connection, prepared.iter().map(|branch| branch.transaction_id).collect()).await
    }
}
