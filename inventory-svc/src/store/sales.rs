//! What transactions have sold, read from the ledger.
use sqlx::PgExecutor;
use uuid::Uuid;

/// A movement by which a transaction sold units, or put them back.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Sale {
    /// The article.
    pub sku: String,
    /// The movement.
    pub sequence: i64,
    /// The transaction.
    pub transaction_id: Uuid,
    /// How many were sold; negative: they came back.
    pub quantity: i64,
}

/// Lists sales (sold, returned by a saga that turned, allotted to an order that waited) after a place in the ledger, at most `limit`.
pub async fn list(
    executor: impl PgExecutor<'_>,
    (sku, sequence): (&str, i64),
    limit: usize,
) -> Result<Vec<Sale>, sqlx::Error> {
    sqlx::query_as(
        "SELECT sku, sequence, transaction_id, CASE kind WHEN 8 THEN -quantity ELSE quantity END AS quantity FROM movement
         WHERE (sku, sequence) > ($1, $2) AND kind IN (3, 8, 22) AND transaction_id IS NOT NULL
         ORDER BY sku, sequence LIMIT $3",
    )
    .bind(sku)
    .bind(sequence)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(executor)
    .await
}
