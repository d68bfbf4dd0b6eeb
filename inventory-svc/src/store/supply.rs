//! What follows from a change of stock, in the same local transaction, for SKUs that are marked: nobody sees what was freed
//! before those who wait for it have got theirs. It is called where movements are written, so no change can leave it out.
use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::backorders;
use super::locations::{self, Written};
use super::waitlist;
use crate::domain::{Marks, Stock};

/// Minds what the SKUs that have changed are marked with: by these movements, or by one at a location. Their rows are locked.
/// Answers what those are that have changed by it.
pub async fn mind<'a>(
    connection: &mut PgConnection,
    changed: impl IntoIterator<Item = &'a Stock>,
    written: &[Written<'_>],
    at: Option<&str>,
) -> Result<BTreeMap<String, Stock>, sqlx::Error> {
    let marked: Vec<&Stock> = changed.into_iter().filter(|stock| stock.marks.is_any()).collect();
    let located = locations::located(marked.iter().copied());
    if !located.is_empty() {
        locations::divide(connection, &located, written, at).await?;
    }
    // An order outranks a wish.
    let mut now = BTreeMap::new();
    let owed = freed(&marked, &now, Marks::OWED);
    if !owed.is_empty() {
        now = backorders::serve(connection, &owed).await?;
    }
    let waited = freed(&marked, &now, Marks::WAITED);
    if !waited.is_empty() {
        let offered = waitlist::offer_freed(connection, &waited).await?;
        now.extend(offered);
    }
    Ok(now)
}

/// The marked SKUs, as they are now, of which something is free.
fn freed<'s>(marked: &[&'s Stock], now: &'s BTreeMap<String, Stock>, mark: Marks) -> Vec<&'s Stock> {
    let marked = marked.iter().filter(|stock| stock.marks.has(mark));
    let marked = marked.map(|stock| now.get(&stock.sku).unwrap_or(stock));
    marked.filter(|stock| stock.balance.available() > 0).collect()
}

/// Marks a SKU; its row is locked.
pub async fn mark(connection: &mut PgConnection, sku: &str, mark: Marks) -> Result<(), sqlx::Error> {
    let mark_it = "UPDATE stock SET marks = coalesce(marks, 0) | $2 WHERE sku = $1 AND coalesce(marks, 0) & $2 = 0";
    sqlx::query(mark_it).bind(sku).bind(mark.bits()).execute(connection).await.map(drop)
}

/// Takes a mark off SKUs; their rows are locked.
pub async fn unmark(connection: &mut PgConnection, skus: &[&str], mark: Marks) -> Result<(), sqlx::Error> {
    if skus.is_empty() {
        return Ok(());
    }
    let unmark =
        "UPDATE stock SET marks = nullif(marks & ~$2::integer, 0) WHERE sku = ANY($1::text[]) AND marks & $2 <> 0";
    sqlx::query(unmark).bind(skus).bind(mark.bits()).execute(connection).await.map(drop)
}
