//! The orders as a participant.
use participant::audit::Check;
use participant::{DUPLICATE_REQUEST, InvalidBranch, PreparedBranch, Refusal, Resource, StepBranch};
use sqlx::PgConnection;

use crate::domain::NewOrder;
use crate::{grpc, store};

/// A saga's step of this name confirms the order that its other step has written down.
const CONFIRM: &str = "confirm";

/// The orders: written down at prepare, refused at abort; that they are confirmed is said by the log. In a saga two steps
/// do that: one writes the order down, one confirms it; a compensation of the first refuses it.
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
        store::placing::insert(connection, branches, false).await?;
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

    async fn execute(
        &self,
        connection: &mut PgConnection,
        steps: &[StepBranch<NewOrder>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        let (confirmed, placed): (Vec<_>, Vec<_>) = steps.iter().partition(|step| step.step == CONFIRM);
        let placed = placed
            .into_iter()
            .map(|step| PreparedBranch { transaction_id: step.transaction_id, branch: step.branch.clone() });
        let placed: Vec<PreparedBranch<NewOrder>> = placed.collect();
        if !placed.is_empty() {
            store::placing::insert(connection, &placed, true).await?;
        }
        store::placing::confirm(connection, confirmed.iter().map(|step| step.transaction_id).collect()).await?;
        Ok(steps.iter().map(|_| Ok(())).collect())
    }

    async fn compensate(
        &self,
        connection: &mut PgConnection,
        steps: &[(StepBranch<NewOrder>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        if let Some((step, _)) = steps.iter().find(|(step, _)| step.step == CONFIRM) {
            // It comes after the pivot of every saga that has it.
            tracing::error!(transaction_id = %step.transaction_id, "alarm: a confirmation can't be undone");
            return Err(sqlx::Error::Protocol("a confirmation can't be undone".to_owned()));
        }
        let placed = |(step, refusal): &(StepBranch<NewOrder>, Refusal)| {
            (PreparedBranch { transaction_id: step.transaction_id, branch: step.branch.clone() }, refusal.clone())
        };
        store::placing::refuse(connection, &steps.iter().map(placed).collect::<Vec<_>>()).await
    }

    async fn audit(
        &self,
        connection: &mut PgConnection,
        prepared: &[PreparedBranch<NewOrder>],
    ) -> Result<Vec<Check>, sqlx::Error> {
        store::audit::check(connection, prepared.iter().map(|branch| branch.transaction_id).collect()).await
    }
}
