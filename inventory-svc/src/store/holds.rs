//! Holds of a batch of branches: taken, sold, given back, each with one update of the sums per SKU.
use std::collections::BTreeMap;

use participant::Refusal;
use sqlx::PgConnection;

use crate::domain::{Holds, decide, sums};

/// Takes the holds of a batch, deciding in its order.
///
/// Most batches find enough of everything: one guarded update of the sums tells so. Where a SKU is short of the batch's
/// sum, the branches are decided one by one on the locked rows, and what the update took too much of is put right.
pub async fn take(connection: &mut PgConnection, batch: &[&Holds]) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
    let wanted = sums(batch.iter().copied());
    let covered = take_sums(connection, &wanted).await?;
    if covered.len() == wanted.len() {
        return Ok(batch.iter().map(|_| Ok(())).collect());
    }
    let short: Vec<&str> = wanted
        .keys()
        .copied()
        .filter(|sku| covered.binary_search_by(|other| other.as_str().cmp(sku)).is_err())
        .collect();
    let mut available: BTreeMap<&str, i64> = wanted.clone();
    available.retain(|sku, _| short.binary_search(sku).is_err());
    let locked = lock_available(connection, &short).await?;
    available.extend(locked.iter().map(|(sku, available)| (sku.as_str(), *available)));

    let votes = decide(batch, available);
    let granted = batch.iter().zip(&votes).filter(|(_, vote)| vote.is_ok()).map(|(holds, _)| *holds);
    let mut corrections = sums(granted);
    for sku in &covered {
        let taken = wanted.get(sku.as_str()).copied().unwrap_or_default();
        *corrections.entry(sku).or_default() -= taken;
    }
    corrections.retain(|_, change| *change != 0);
    change_held(connection, &corrections).await?;
    Ok(votes)
}

/// Holds become sales: they leave what is on hand.
pub async fn sell(connection: &mut PgConnection, batch: impl IntoIterator<Item = &Holds>) -> Result<(), sqlx::Error> {
    let sold = sums(batch);
    let (skus, quantities) = columns(&sold);
    let done = sqlx::query(
        "UPDATE stock SET on_hand = stock.on_hand - s.quantity, held = stock.held - s.quantity,
                version = stock.version + 1, update_time = now()
         FROM unnest($1::text[], $2::bigint[]) AS s (sku, quantity)
         WHERE stock.sku = s.sku",
    )
    .bind(skus)
    .bind(quantities)
    .execute(connection)
    .await?;
    all_there(done.rows_affected(), sold.len())
}

/// Holds go back to what is available.
pub async fn give_back(
    connection: &mut PgConnection,
    batch: impl IntoIterator<Item = &Holds>,
) -> Result<(), sqlx::Error> {
    let mut returned = sums(batch);
    returned.values_mut().for_each(|quantity| *quantity = -*quantity);
    change_held(connection, &returned).await
}

/// Takes each SKU's sum where as much is available; answers which SKUs, sorted.
async fn take_sums(connection: &mut PgConnection, wanted: &BTreeMap<&str, i64>) -> Result<Vec<String>, sqlx::Error> {
    let (skus, quantities) = columns(wanted);
    let mut covered: Vec<String> = sqlx::query_scalar(
        "UPDATE stock SET held = stock.held + s.quantity, version = stock.version + 1, update_time = now()
         FROM unnest($1::text[], $2::bigint[]) AS s (sku, quantity)
         WHERE stock.sku = s.sku AND stock.on_hand - stock.held >= s.quantity
         RETURNING stock.sku",
    )
    .bind(skus)
    .bind(quantities)
    .fetch_all(connection)
    .await?;
    covered.sort_unstable();
    Ok(covered)
}

/// Locks SKUs and answers what is available of those that exist.
async fn lock_available(connection: &mut PgConnection, skus: &[&str]) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as("SELECT sku, on_hand - held FROM stock WHERE sku = ANY($1::text[]) ORDER BY sku FOR UPDATE")
        .bind(skus)
        .fetch_all(connection)
        .await
}

async fn change_held(connection: &mut PgConnection, changes: &BTreeMap<&str, i64>) -> Result<(), sqlx::Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let (skus, quantities) = columns(changes);
    let done = sqlx::query(
        "UPDATE stock SET held = stock.held + s.quantity, version = stock.version + 1, update_time = now()
         FROM unnest($1::text[], $2::bigint[]) AS s (sku, quantity)
         WHERE stock.sku = s.sku",
    )
    .bind(skus)
    .bind(quantities)
    .execute(connection)
    .await?;
    all_there(done.rows_affected(), changes.len())
}

fn columns<'a>(sums: &BTreeMap<&'a str, i64>) -> (Vec<&'a str>, Vec<i64>) {
    sums.iter().map(|(sku, quantity)| (*sku, *quantity)).unzip()
}

/// What is held exists; otherwise someone has tampered with the table, and nothing may be acknowledged.
fn all_there(found: u64, expected: usize) -> Result<(), sqlx::Error> {
    if usize::try_from(found) == Ok(expected) {
        return Ok(());
    }
    tracing::error!(found, expected, "stock that is held is missing");
    Err(sqlx::Error::RowNotFound)
}
