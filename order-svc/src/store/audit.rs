//! Whether the orders agree with the transactions that place them.
use participant::audit::{Check, Violation};
use sqlx::PgConnection;
use uuid::Uuid;

use super::state_code;
use crate::domain::State;

/// Checks no-orphan-holds: the pending orders are those of the prepared transactions.
pub async fn check(connection: &mut PgConnection, prepared: Vec<Uuid>) -> Result<Vec<Check>, sqlx::Error> {
    let checked_count: i64 = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&mut *connection).await?;
    let differing: Vec<(Uuid, Option<i16>)> = sqlx::query_as(
        "SELECT coalesce(o.order_id, p.order_id), coalesce(o.state, (SELECT state FROM orders x WHERE x.order_id = p.order_id))
         FROM (SELECT order_id, state FROM orders WHERE state = $2) o
         FULL JOIN unnest($1::uuid[]) AS p (order_id) ON o.order_id = p.order_id
         WHERE o.order_id IS NULL OR p.order_id IS NULL
         ORDER BY 1",
    )
    .bind(prepared)
    .bind(state_code(State::Pending))
    .fetch_all(connection)
    .await?;
    let violation = |(order_id, state): (Uuid, Option<i16>)| {
        let detail = match state {
            Some(state) if state == state_code(State::Pending) => {
                "the order is pending, but its transaction is not prepared"
            }
            Some(_) => "the transaction is prepared, but its order is not pending",
            None => "the transaction is prepared, but there is no such order",
        };
        let order_id = order_id.to_string();
        Violation { transaction_id: order_id.clone(), subject: order_id, detail: detail.to_owned() }
    };
    let violations = differing.into_iter().map(violation).collect();
    Ok(vec![Check { invariant: "no-orphan-holds", checked_count, violations }])
}
