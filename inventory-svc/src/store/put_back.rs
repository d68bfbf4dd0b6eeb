//! What comes back of orders: nothing is held for it, and it is there when the transaction commits. That the order had as much
//! is for the order service to say.
use std::collections::{BTreeMap, HashMap};

use participant::{PreparedBranch, Refusal};
use sqlx::PgConnection;
use uuid::Uuid;

use super::backorders;
use super::holds::{all_there, settle};
use super::ledger::{self, Batch, Line};
use super::strategy::Strategy;
use crate::domain::{Holds, Kind, PutBack, Stock, unknown_sku};

/// How the reason of such a movement begins, before the id of the order.
pub const ORDER: &str = "order ";

/// Whether anything of it comes back.
pub fn is_among(branches: &[PreparedBranch<Holds>]) -> bool {
    branches.iter().any(|branch| branch.branch.put_back.is_some())
}

/// Takes the holds of those that hold something; of the others, whether there is such stock.
pub async fn prepare(
    strategy: &dyn Strategy,
    connection: &mut PgConnection,
    branches: &[PreparedBranch<Holds>],
) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
    let holding: Vec<PreparedBranch<Holds>> =
        branches.iter().filter(|branch| branch.branch.put_back.is_none()).cloned().collect();
    let mut votes_of_holding = match holding.is_empty() {
        true => Vec::new(),
        false => backorders::prepare(strategy, &mut *connection, &holding).await?,
    }
    .into_iter();
    let named: Vec<&str> = returning(branches).flat_map(|(_, put_back)| skus(put_back)).collect();
    // Stock is never deleted: what is there now is there when the transaction commits.
    let known: Vec<String> = sqlx::query_scalar("SELECT sku FROM stock WHERE sku = ANY($1::text[])")
        .bind(named)
        .fetch_all(connection)
        .await?;
    let vote = |branch: &PreparedBranch<Holds>| match &branch.branch.put_back {
        None => votes_of_holding.next().ok_or(sqlx::Error::RowNotFound),
        Some(put_back) => Ok(match skus(put_back).find(|sku| !known.iter().any(|known| known == sku)) {
            None => Ok(()),
            Some(missing) => Err(unknown_sku(missing)),
        }),
    };
    branches.iter().map(vote).collect()
}

/// What the branches put back is there.
pub async fn apply(connection: &mut PgConnection, branches: &[PreparedBranch<Holds>]) -> Result<(), sqlx::Error> {
    if !is_among(branches) {
        return Ok(());
    }
    let reasons: Vec<String> =
        returning(branches).map(|(_, put_back)| format!("{ORDER}{}", put_back.order_id)).collect();
    let cancelled: Vec<Uuid> =
        returning(branches).filter(|(_, put_back)| put_back.cancelled).map(|(_, put_back)| put_back.order_id).collect();
    let never_got = match cancelled.is_empty() {
        true => HashMap::new(),
        false => backorders::cancel(&mut *connection, &cancelled).await?,
    };
    let (mut sellable, mut damaged) = (Batch::default(), Batch::default());
    for ((transaction_id, put_back), reason) in returning(branches).zip(&reasons) {
        let kind = if put_back.cancelled { Kind::Cancelled } else { Kind::ReturnedByCustomer };
        let halves =
            [(&mut sellable, kind, &put_back.sellable), (&mut damaged, Kind::ReturnedDamaged, &put_back.damaged)];
        for (batch, kind, lines) in halves {
            for (sku, quantity) in lines {
                // What a cancelled order still waited for can't come back.
                let key = (put_back.order_id, sku.clone());
                let quantity = quantity - never_got.get(&key).copied().unwrap_or_default();
                if quantity <= 0 {
                    continue;
                }
                batch.add(Line {
                    kind,
                    sku,
                    quantity,
                    transaction_id: Some(transaction_id),
                    reservation_id: None,
                    reason: Some(reason),
                });
            }
        }
    }
    settle(connection, &sellable).await?;
    add_damaged(connection, &damaged).await
}

async fn add_damaged(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    if batch.changes.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query_as(
        "UPDATE stock SET damaged = nullif(coalesce(stock.damaged, 0) + c.damaged, 0),
                version = stock.version + c.movements, update_time = greatest(now(), stock.update_time)
         FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS c (sku, damaged, movements) WHERE stock.sku = c.sku
         RETURNING stock.sku, stock.on_hand, stock.held, stock.version, stock.update_time, coalesce(stock.reserved, 0),
                   coalesce(stock.buffer, 0), coalesce(stock.damaged, 0), coalesce(stock.quality_control, 0),
                   coalesce(stock.marks, 0)",
    )
    .bind(batch.changes.keys().copied().collect::<Vec<_>>())
    .bind(batch.changes.values().map(|change| change.damaged).collect::<Vec<_>>())
    .bind(batch.changes.values().map(|change| change.movements).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    let figures: BTreeMap<String, Stock> =
        rows.into_iter().map(super::stock::stock).map(|stock| (stock.sku.clone(), stock)).collect();
    all_there(figures.len(), batch.changes.len())?;
    ledger::write(connection, batch, &figures).await
}

fn returning(branches: &[PreparedBranch<Holds>]) -> impl Iterator<Item = (Uuid, &PutBack)> {
    branches.iter().filter_map(|branch| Some((branch.transaction_id, branch.branch.put_back.as_ref()?)))
}

fn skus(put_back: &PutBack) -> impl Iterator<Item = &str> {
    put_back.sellable.iter().chain(&put_back.damaged).map(|(sku, _)| sku.as_str())
}
