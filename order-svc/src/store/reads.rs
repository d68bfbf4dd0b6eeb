//! Orders as stored.
use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{lines, state_code, state_of};
use crate::domain::{NewOrder, Order, State};

#[derive(sqlx::FromRow)]
struct Row {
    order_id: Uuid,
    account: String,
    request_id: String,
    state: i16,
    currency: String,
    total_minor: i64,
    lines: String,
    reason: String,
    reason_message: String,
    create_time: DateTime<Utc>,
}

impl TryFrom<Row> for Order {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let Row { account, request_id, currency, total_minor, .. } = row;
        let content = NewOrder { account, request_id, currency, total_minor, lines: lines::from_json(&row.lines)? };
        Ok(Order {
            order_id: row.order_id,
            content,
            state: state_of(row.state)?,
            reason: row.reason,
            reason_message: row.reason_message,
            create_time: row.create_time,
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT order_id, account, request_id, state, currency, total_minor, lines::text AS lines, reason,
                    reason_message, create_time
             FROM orders ",
            $rest
        )
    };
}

/// Reads one order.
pub async fn get(executor: impl PgExecutor<'_>, order_id: Uuid) -> Result<Option<Order>, sqlx::Error> {
    let row: Option<Row> =
        sqlx::query_as(select!("WHERE order_id = $1")).bind(order_id).fetch_optional(executor).await?;
    row.map(Order::try_from).transpose()
}

/// Which orders to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In this state only.
    pub state: Option<State>,
    /// Of this account only.
    pub account: Option<String>,
}

/// Lists orders older than `before`, newest first, at most `limit`. Each kind of filter has a statement of its own, so
/// that each finds its index.
pub async fn list(
    executor: impl PgExecutor<'_>,
    filter: &Filter,
    before: Uuid,
    limit: usize,
) -> Result<Vec<Order>, sqlx::Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let state = filter.state.map(state_code);
    let query = match (&filter.account, state) {
        (None, None) => sqlx::query_as(select!("WHERE order_id < $1 ORDER BY order_id DESC LIMIT $2")),
        (None, Some(_)) => {
            sqlx::query_as(select!("WHERE state = $3 AND order_id < $1 ORDER BY order_id DESC LIMIT $2"))
        }
        (Some(_), None) => {
            sqlx::query_as(select!("WHERE account = $3 AND order_id < $1 ORDER BY order_id DESC LIMIT $2"))
        }
        (Some(_), Some(_)) => sqlx::query_as(select!(
            "WHERE account = $3 AND state = $4 AND order_id < $1 ORDER BY order_id DESC LIMIT $2"
        )),
    };
    let mut query = query.bind(before).bind(limit);
    if let Some(account) = &filter.account {
        query = query.bind(account);
    }
    if let Some(state) = state {
        query = query.bind(state);
    }
    let rows: Vec<Row> = query.fetch_all(executor).await?;
    rows.into_iter().map(Order::try_from).collect()
}
