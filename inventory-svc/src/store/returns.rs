//! What a saga's step has sold comes back, whatever reservation it was claimed of.
use participant::{PreparedBranch, Refusal, StepBranch};
use sqlx::PgConnection;

use super::holds::settle;
use super::ledger::Batch;
use crate::domain::{Holds, Kind};

/// Puts back what the steps have sold.
pub async fn put_back(
    connection: &mut PgConnection,
    steps: &[(StepBranch<Holds>, Refusal)],
) -> Result<(), sqlx::Error> {
    let sold = |(step, _): &(StepBranch<Holds>, Refusal)| PreparedBranch {
        transaction_id: step.transaction_id,
        branch: step.branch.clone(),
    };
    let sold: Vec<PreparedBranch<Holds>> = steps.iter().map(sold).collect();
    let reasons = steps.iter().map(|(_, refusal)| Some(refusal.reason.as_str()));
    // A SKU that is missing fails it: what was sold exists, or somebody has tampered with the table.
    settle(connection, &Batch::new(Kind::Returned, sold.iter().zip(reasons))).await
}
