//! What changes make of orders, as it is stored beside them.
use std::collections::HashMap;

use participant::Refusal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{lines, state_of};
use crate::domain::{Life, Line, ReturnLine, State};

/// What a change is decided by.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The order's lines.
    pub lines: Vec<Line>,
    /// What it costs.
    pub total_minor: i64,
    /// Where it stands.
    pub life: Life,
    /// Whether a change of it is in doubt.
    pub changing: bool,
}

type Row = (Uuid, String, i64, i16, Option<String>, Option<i64>, Option<String>, bool, Option<i64>);

/// Orders as they stand, locked until the end of the local transaction. What comes later finds what this has written.
pub async fn lock(connection: &mut PgConnection, order_ids: &[Uuid]) -> Result<HashMap<Uuid, Standing>, sqlx::Error> {
    sqlx::query("SELECT FROM orders WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE")
        .bind(order_ids)
        .execute(&mut *connection)
        .await?;
    // A statement of its own, so that it sees what those have committed whom the first one has waited for.
    look(connection, order_ids).await
}

/// Orders as they stand.
pub async fn look(connection: &mut PgConnection, order_ids: &[Uuid]) -> Result<HashMap<Uuid, Standing>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT order_id, lines::text, total_minor, state, returned::text, refunded_minor, tracking,
                pending_id IS NOT NULL, allotted_units
         FROM order_with_state WHERE order_id = ANY($1::uuid[])",
    )
    .bind(order_ids)
    .fetch_all(connection)
    .await?;
    let standing =
        |(order_id, lines, total_minor, state, returned, refunded_minor, tracking, changing, allotted): Row| {
            let life = Life {
                state: state_of(state)?,
                returned: returned_from(returned.as_deref())?,
                refunded_minor: refunded_minor.unwrap_or_default(),
                tracking: tracking.unwrap_or_default(),
                allotted_units: allotted.unwrap_or_default(),
            };
            Ok((order_id, Standing { lines: lines::from_json(&lines)?, total_minor, life, changing }))
        };
    rows.into_iter().map(standing).collect()
}

/// Writes down what changes make of orders, in doubt: each its transaction, its order, and the order after it.
pub async fn hold(connection: &mut PgConnection, changes: &[(Uuid, Uuid, Life)]) -> Result<(), sqlx::Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let returned = changes.iter().map(|(_, _, life)| returned_to(&life.returned)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query(
        "INSERT INTO order_life (order_id, state, version, pending_id, pending_state, pending_returned,
                                 pending_refunded_minor, pending_tracking, pending_allotted_units)
         SELECT order_id, CASE WHEN o.waits THEN $8 ELSE $7 END, 2, transaction_id, c.state, c.returned::jsonb,
                c.refunded_minor, c.tracking, c.allotted_units
         FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::text[], $5::bigint[], $6::text[], $9::bigint[])
              AS c (transaction_id, order_id, state, returned, refunded_minor, tracking, allotted_units)
         JOIN orders o USING (order_id)
         ON CONFLICT (order_id) DO UPDATE SET pending_id = excluded.pending_id, pending_state = excluded.pending_state,
             pending_returned = excluded.pending_returned, pending_refunded_minor = excluded.pending_refunded_minor,
             pending_tracking = excluded.pending_tracking, pending_allotted_units = excluded.pending_allotted_units",
    )
    .bind(changes.iter().map(|(transaction_id, _, _)| *transaction_id).collect::<Vec<_>>())
    .bind(changes.iter().map(|(_, order_id, _)| *order_id).collect::<Vec<_>>())
    .bind(changes.iter().map(|(_, _, life)| life.state.code()).collect::<Vec<_>>())
    .bind(returned)
    .bind(changes.iter().map(|(_, _, life)| life.refunded_minor).collect::<Vec<_>>())
    .bind(changes.iter().map(|(_, _, life)| life.tracking.as_str()).collect::<Vec<_>>())
    .bind(State::Confirmed.code())
    .bind(State::Backordered.code())
    .bind(changes.iter().map(|(_, _, life)| life.allotted_units).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives the holds of changes back: each its transaction and its order.
pub async fn release(connection: &mut PgConnection, changes: &[(Uuid, Uuid)]) -> Result<(), sqlx::Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let order_ids: Vec<Uuid> = changes.iter().map(|(_, order_id)| *order_id).collect();
    let released = sqlx::query(
        "UPDATE order_life SET pending_id = NULL, pending_state = NULL, pending_returned = NULL,
                pending_refunded_minor = NULL, pending_tracking = NULL, pending_allotted_units = NULL
         FROM unnest($1::uuid[], $2::uuid[]) AS c (transaction_id, order_id)
         WHERE order_life.order_id = c.order_id AND order_life.pending_id = c.transaction_id",
    )
    .bind(changes.iter().map(|(transaction_id, _)| *transaction_id).collect::<Vec<_>>())
    .bind(&order_ids)
    .execute(&mut *connection)
    .await?;
    all_there(released.rows_affected(), changes.len())?;
    // Where nothing has happened yet, there is to be no row.
    sqlx::query("DELETE FROM order_life WHERE order_id = ANY($1::uuid[]) AND version = 2 AND pending_id IS NULL")
        .bind(order_ids)
        .execute(connection)
        .await?;
    Ok(())
}

/// A change that is prepared has its hold; otherwise someone has tampered with the table, and nothing may be acknowledged.
pub fn all_there(found: u64, expected: usize) -> Result<(), sqlx::Error> {
    if usize::try_from(found) == Ok(expected) {
        return Ok(());
    }
    tracing::error!(found, expected, "changes of orders that are in doubt are missing");
    Err(sqlx::Error::RowNotFound)
}

/// There is no such order.
pub fn not_found(order_id: Uuid) -> Refusal {
    Refusal::new("ORDER_NOT_FOUND", format!("there is no order {order_id}"))
}

/// How many of each line have come back, to its stored form.
pub fn returned_to(returned: &[i64]) -> Result<Option<String>, sqlx::Error> {
    if returned.iter().all(|quantity| *quantity == 0) {
        return Ok(None);
    }
    serde_json::to_string(returned).map(Some).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// The same from its stored form.
pub fn returned_from(json: Option<&str>) -> Result<Vec<i64>, sqlx::Error> {
    json.map_or(Ok(Vec::new()), |json| serde_json::from_str(json).map_err(|error| sqlx::Error::Decode(error.into())))
}

/// What came back, to its stored form.
pub fn return_lines_to(lines: &[ReturnLine]) -> Result<Option<String>, sqlx::Error> {
    if lines.is_empty() {
        return Ok(None);
    }
    let lines: Vec<_> = lines.iter().map(|line| (&line.sku, line.quantity, line.damaged)).collect();
    serde_json::to_string(&lines).map(Some).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// The same from its stored form.
pub fn return_lines_from(json: Option<&str>) -> Result<Vec<ReturnLine>, sqlx::Error> {
    let Some(json) = json else { return Ok(Vec::new()) };
    let lines: Vec<(String, i64, bool)> =
        serde_json::from_str(json).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(lines.into_iter().map(|(sku, quantity, damaged)| ReturnLine { sku, quantity, damaged }).collect())
}
