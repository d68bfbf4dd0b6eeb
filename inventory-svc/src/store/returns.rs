//! What a saga's step has sold comes back: one update of the sums per SKU and one insert of the movements.
use participant::{PreparedBranch, Refusal, StepBranch};
use sqlx::PgConnection;

use super::ledger::{self, Batch};
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
    let batch = Batch::new(Kind::Returned, sold.iter().zip(reasons));
    let rows = sqlx::query_as(
        "UPDATE stock SET on_hand = stock.on_hand + c.on_hand, version = stock.version + c.movements,
                update_time = greatest(now(), stock.update_time)
         FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS c (sku, on_hand, movements)
         WHERE stock.sku = c.sku
         RETURNING stock.sku, stock.on_hand, stock.held, stock.version, stock.update_time",
    )
    .bind(batch.changes.keys().copied().collect::<Vec<_>>())
    .bind(batch.changes.values().map(|change| change.on_hand).collect::<Vec<_>>())
    .bind(batch.changes.values().map(|change| change.movements).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    let figures = rows.into_iter().map(super::stock::stock).map(|stock| (stock.sku.clone(), stock)).collect();
    // A SKU that is missing fails the write: what was sold exists, or somebody has tampered with the table.
    ledger::write(connection, &batch, &figures).await
}
