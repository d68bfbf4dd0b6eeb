//! The replay of the ledger against the stock, some SKUs at a time.
use participant::Pool;
use sqlx::{Connection, PgConnection};

use super::{ledger, stock};
use crate::domain::{Difference, Replay};

/// Movements that are read at a time.
const CHUNK: i64 = 10_000;
/// SKUs that are replayed at a time, where all are.
const SKUS: usize = 1_000;
/// So many of the last of all characters come after any SKU: they are one more than it can have.
const AFTER_ALL: usize = 65;

/// Some SKUs, replayed.
pub struct Page {
    /// The SKUs, and the one that comes next, if there are more.
    pub skus: Vec<String>,
    /// What differs, by SKU.
    pub differences: Vec<Difference>,
    /// How many movements there were.
    pub movement_count: i64,
}

/// Replays some SKUs in a snapshot of its own; see [`page`].
pub async fn snapshot(pool: &Pool, after: &str, limit: usize) -> Result<Page, sqlx::Error> {
    let replayed = pool.run(async |connection: &mut PgConnection| {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let mut snapshot = PgConnection::begin_with(connection, begin).await?;
        let page = page(&mut snapshot, after, limit).await?;
        snapshot.rollback().await?;
        Ok(page)
    });
    replayed.await
}

/// Replays the movements of SKUs after `after`, so many as have stock; those without stock between them as well. The
/// connection is in a REPEATABLE READ transaction: stock and ledger are of one moment.
async fn page(connection: &mut PgConnection, after: &str, limit: usize) -> Result<Page, sqlx::Error> {
    let mut stock = stock::list(&mut *connection, after, limit + 1).await?;
    let skus: Vec<String> = stock.iter().map(|stock| stock.sku.clone()).collect();
    let more = stock.len() > limit;
    stock.truncate(limit);
    let last = stock.last().filter(|_| more).map(|last| last.sku.clone());
    let until = last.unwrap_or_else(|| char::MAX.to_string().repeat(AFTER_ALL));
    let mut replay = Replay::new(stock);
    // Nothing of `after` itself is left.
    let mut position = (after.to_owned(), i64::MAX);
    loop {
        let chunk = ledger::after(connection, (&position.0, position.1), &until, CHUNK).await?;
        let Some(last) = chunk.last() else { break };
        position = (last.sku.clone(), last.sequence);
        chunk.into_iter().for_each(|movement| replay.take(movement));
    }
    let (differences, movement_count) = replay.end();
    Ok(Page { skus, differences, movement_count })
}

/// Replays the whole ledger in the snapshot given.
pub async fn all(connection: &mut PgConnection) -> Result<Vec<Difference>, sqlx::Error> {
    let (mut differences, mut after) = (Vec::new(), String::new());
    loop {
        let page = page(connection, &after, SKUS).await?;
        differences.extend(page.differences);
        if page.skus.len() <= SKUS {
            return Ok(differences);
        }
        after = page.skus.into_iter().nth(SKUS - 1).unwrap_or_default();
    }
}
