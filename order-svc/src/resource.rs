//! The orders as a participant.
use std::sync::Arc;

use participant::audit::Check;
use participant::{DUPLICATE_REQUEST, HoldAll, InvalidBranch, PreparedBranch, Refusal, Resource, StepBranch};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Branch, Change, NewOrder};
use crate::store::{changes, life, placing};
use crate::{grpc, store};

/// A saga's step of this name confirms the order that its other step has written down.
const CONFIRM: &str = "confirm";

/// The orders: written down at prepare, refused at abort; that they are confirmed is said by the log. In a saga two steps
/// do that: one writes the order down, one confirms it; a compensation of the first refuses it. A change of an order that
/// stands is held with the order at prepare, and takes effect at commit.
#[derive(Debug, Clone, Copy)]
pub struct Orders;

impl Resource for Orders {
    type Branch = Branch;

    fn name(&self) -> &'static str {
        "order"
    }

    fn decode(&self, bytes: &[u8]) -> Result<Branch, InvalidBranch> {
        grpc::decode_branch(bytes)
    }

    async fn prepare(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Branch>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        placing::insert(&mut *connection, &placed(branches), false).await?;
        let mut votes = changes::prepare(connection, &changes::of(branches)).await?.into_iter();
        let vote = |branch: &PreparedBranch<Branch>| match &*branch.branch {
            // A valid order can always be written down; whether it can be met is for the others to say.
            Branch::Place(_) => Ok(Ok(())),
            Branch::Change(_) => votes.next().ok_or(sqlx::Error::RowNotFound),
        };
        branches.iter().map(vote).collect()
    }

    fn hold_all(
        &self,
        branches: &[PreparedBranch<Branch>],
        committed: &[PreparedBranch<Branch>],
    ) -> Result<Option<HoldAll>, sqlx::Error> {
        let placed = placed(branches);
        if placed.len() < branches.len() || !changes::of(committed).is_empty() {
            return Ok(None);
        }
        placing::hold_all(&placed).map(Some)
    }

    async fn commit(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Branch>],
    ) -> Result<(), sqlx::Error> {
        changes::apply(connection, &changes::of(branches)).await
    }

    async fn abort(
        &self,
        connection: &mut PgConnection,
        branches: &[(PreparedBranch<Branch>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        let (mut refused, mut dropped, mut released) = (Vec::new(), Vec::new(), Vec::new());
        for (PreparedBranch { transaction_id, branch }, refusal) in branches {
            match &**branch {
                Branch::Change(change) => released.push((*transaction_id, change.order_id)),
                // The order is the other attempt's; a shop's list must not show one that nobody placed.
                Branch::Place(_) if refusal.reason == DUPLICATE_REQUEST => dropped.push(*transaction_id),
                Branch::Place(_) => refused.push((*transaction_id, refusal)),
            }
        }
        placing::refuse(&mut *connection, &refused).await?;
        placing::drop(&mut *connection, dropped).await?;
        life::release(connection, &released).await
    }

    async fn execute(
        &self,
        connection: &mut PgConnection,
        steps: &[StepBranch<Branch>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        let branch = |step: &StepBranch<Branch>| PreparedBranch {
            transaction_id: step.transaction_id,
            branch: Arc::clone(&step.branch),
        };
        let (confirming, others): (Vec<_>, Vec<_>) =
            steps.iter().partition(|step| step.step == CONFIRM && matches!(*step.branch, Branch::Place(_)));
        let others: Vec<PreparedBranch<Branch>> = others.into_iter().map(branch).collect();
        placing::insert(&mut *connection, &placed(&others), true).await?;
        placing::confirm(&mut *connection, confirming.iter().map(|step| step.transaction_id).collect()).await?;
        let asked = changes::of(&others);
        let votes = changes::prepare(&mut *connection, &asked).await?;
        let granted: Vec<(Uuid, &Change)> =
            asked.iter().zip(&votes).filter(|(_, vote)| vote.is_ok()).map(|(change, _)| *change).collect();
        changes::apply(connection, &granted).await?;
        let mut votes = votes.into_iter();
        let result = |step: &StepBranch<Branch>| match &*step.branch {
            Branch::Place(_) => Ok(Ok(())),
            Branch::Change(_) => votes.next().ok_or(sqlx::Error::RowNotFound),
        };
        steps.iter().map(result).collect()
    }

    async fn compensate(
        &self,
        connection: &mut PgConnection,
        steps: &[(StepBranch<Branch>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        let is_final = |step: &StepBranch<Branch>| step.step == CONFIRM || matches!(*step.branch, Branch::Change(_));
        if let Some((step, _)) = steps.iter().find(|(step, _)| is_final(step)) {
            // It comes after the pivot of every saga that has it, or is the pivot.
            tracing::error!(transaction_id = %step.transaction_id, "alarm: what became of an order can't be undone");
            return Err(sqlx::Error::Protocol("what became of an order can't be undone".to_owned()));
        }
        let placed = |(step, refusal): &(StepBranch<Branch>, Refusal)| (step.transaction_id, refusal.clone());
        let placed: Vec<(Uuid, Refusal)> = steps.iter().map(placed).collect();
        placing::refuse(connection, &placed.iter().map(|(id, refusal)| (*id, refusal)).collect::<Vec<_>>()).await
    }

    async fn audit(
        &self,
        connection: &mut PgConnection,
        prepared: &[PreparedBranch<Branch>],
    ) -> Result<Vec<Check>, sqlx::Error> {
        store::audit::check(connection, prepared).await
    }
}

/// The orders to write down among branches.
fn placed(branches: &[PreparedBranch<Branch>]) -> Vec<(Uuid, &NewOrder)> {
    let orders = branches.iter().filter_map(|branch| match &*branch.branch {
        Branch::Place(order) => Some((branch.transaction_id, order)),
        Branch::Change(_) => None,
    });
    orders.collect()
}
