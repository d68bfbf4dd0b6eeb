//! Whether the orders agree with the transactions that place them.
use participant::audit::{Check, Violation};
use sqlx::PgConnection;
use uuid::Uuid;

/// Checks no-orphan-holds: every prepared transaction has its order, and that is not refused.
pub async fn check(connection: &mut PgConnection, prepared: Vec<Uuid>) -> Result<Vec<Check>, sqlx::Error> {
    let checked_count: i64 = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&mut *connection).await?;
    let differing: Vec<(Uuid, Option<bool>)> = sqlx::query_as(
        "SELECT p.order_id, o.refused FROM unnest($1::uuid[]) AS p (order_id) LEFT JOIN orders o USING (order_id)
         WHERE o.refused IS DISTINCT FROM false ORDER BY 1",
    )
    .bind(prepared)
    .fetch_all(connection)
    .await?;
    let violation = |(order_id, refused): (Uuid, Option<bool>)| {
        let detail = match refused {
            Some(_) => "the transaction is prepared, but its order is refused",
            None => "the transaction is prepared, but there is no such order",
        };
        let order_id = order_id.to_string();
        Violation { transaction_id: order_id.clone(), subject: order_id, detail: detail.to_owned() }
    };
    let violations = differing.into_iter().map(violation).collect();
    Ok(vec![Check { invariant: "no-orphan-holds", checked_count, violations }])
}
