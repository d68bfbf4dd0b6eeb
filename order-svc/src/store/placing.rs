//! Orders of a batch: written down when they are prepared, marked when they are refused, each with one statement. That they
//! are confirmed is said by the log alone.
use participant::columns::{Columns, Rows};
use participant::{HoldAll, Refusal};
use sqlx::PgConnection;
use uuid::Uuid;

use super::lines;
use crate::domain::{NewOrder, create_time};

/// Writes down the orders of [`columns`].
macro_rules! insert_orders {
    () => {
        "INSERT INTO orders (order_id, account, request_id, currency, total_minor, lines, create_time, unconfirmed,
                             client_id, waits)
         SELECT order_id, account, request_id, currency, total_minor, lines::jsonb, create_time, $8,
                nullif(client_id, ''), nullif(waits, false)
         FROM (SELECT unnest($1::uuid[]) AS order_id, unnest($2::text[]) AS account, unnest($3::text[]) AS request_id,
                      unnest($4::text[]) AS currency, unnest($5::bigint[]) AS total_minor, unnest($6::text[]) AS lines,
                      unnest($7::timestamptz[]) AS create_time, unnest($9::text[]) AS client_id,
                      unnest($10::boolean[]) AS waits) AS o"
    };
}

static INSERT: Rows = Rows::new(insert_orders!());
static PLACED: Rows = Rows::new(concat!("placed AS (", insert_orders!(), "),"));

/// Writes orders down, pending as long as their transactions are prepared; `unconfirmed`: until they are confirmed.
pub async fn insert(
    connection: &mut PgConnection,
    orders: &[(Uuid, &NewOrder)],
    unconfirmed: bool,
) -> Result<(), sqlx::Error> {
    if orders.is_empty() {
        return Ok(());
    }
    let columns = columns(orders, unconfirmed)?;
    sqlx::query_with(INSERT.text(&columns), columns.into_arguments()).execute(connection).await?;
    Ok(())
}

/// How orders are written down as part of a statement, pending as long as their transactions are prepared.
pub fn hold_all(orders: &[(Uuid, &NewOrder)]) -> Result<HoldAll, sqlx::Error> {
    let columns = columns(orders, false)?;
    Ok(HoldAll::silent(PLACED.text(&columns), "true", columns.into_arguments()))
}

fn columns(orders: &[(Uuid, &NewOrder)], unconfirmed: bool) -> Result<Columns, sqlx::Error> {
    let column = |of: fn(&NewOrder) -> &str| orders.iter().map(|(_, order)| of(order)).collect::<Vec<_>>();
    let lines = orders.iter().map(|(_, order)| lines::to_json(&order.lines)).collect::<Result<Vec<_>, _>>()?;
    let mut columns = Columns::of(orders.len());
    let add = || {
        columns.add(orders.iter().map(|(order_id, _)| *order_id).collect())?;
        columns.add(column(|order| &order.account))?;
        columns.add(column(|order| &order.request_id))?;
        columns.add(column(|order| &order.currency))?;
        columns.add(orders.iter().map(|(_, order)| order.total_minor).collect())?;
        columns.add(lines)?;
        columns.add(orders.iter().map(|(order_id, _)| create_time(*order_id)).collect())?;
        columns.add_value(unconfirmed)?;
        columns.add(column(|order| &order.client_id))?;
        columns.add(orders.iter().map(|(_, order)| order.waits).collect())
    };
    add().map_err(sqlx::Error::Encode)?;
    Ok(columns)
}

/// Unconfirmed orders become confirmed.
pub async fn confirm(connection: &mut PgConnection, order_ids: Vec<Uuid>) -> Result<(), sqlx::Error> {
    if order_ids.is_empty() {
        return Ok(());
    }
    let done = sqlx::query(
        "UPDATE orders SET unconfirmed = false WHERE order_id = ANY($1::uuid[]) AND unconfirmed AND NOT refused",
    )
    .bind(&order_ids)
    .execute(connection)
    .await?;
    all_there(done.rows_affected(), order_ids.len())
}

/// Pending orders become refused.
pub async fn refuse(connection: &mut PgConnection, orders: &[(Uuid, &Refusal)]) -> Result<(), sqlx::Error> {
    if orders.is_empty() {
        return Ok(());
    }
    let done = sqlx::query(
        "UPDATE orders SET refused = true, unconfirmed = false, reason = r.reason, reason_message = r.reason_message
         FROM unnest($1::uuid[], $2::text[], $3::text[]) AS r (order_id, reason, reason_message)
         WHERE orders.order_id = r.order_id AND NOT orders.refused",
    )
    .bind(orders.iter().map(|(order_id, _)| *order_id).collect::<Vec<_>>())
    .bind(orders.iter().map(|(_, refusal)| storable(&refusal.reason)).collect::<Vec<_>>())
    .bind(orders.iter().map(|(_, refusal)| storable(&refusal.message)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    all_there(done.rows_affected(), orders.len())
}

/// Pending orders go without a trace.
pub async fn drop(connection: &mut PgConnection, order_ids: Vec<Uuid>) -> Result<(), sqlx::Error> {
    if order_ids.is_empty() {
        return Ok(());
    }
    let done = sqlx::query("DELETE FROM orders WHERE order_id = ANY($1::uuid[]) AND NOT refused")
        .bind(&order_ids)
        .execute(connection)
        .await?;
    all_there(done.rows_affected(), order_ids.len())
}

/// A reason comes from outside, and Postgres takes no NUL in a text.
fn storable(text: &str) -> String {
    text.replace('\0', "")
}

/// What is prepared or unconfirmed is pending; otherwise someone has tampered with the table, and nothing may be acknowledged.
fn all_there(found: u64, expected: usize) -> Result<(), sqlx::Error> {
    if usize::try_from(found) == Ok(expected) {
        return Ok(());
    }
    tracing::error!(found, expected, "pending orders are missing or refused");
    Err(sqlx::Error::RowNotFound)
}
