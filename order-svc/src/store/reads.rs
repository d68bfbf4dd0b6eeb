//! Orders as stored.
use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, QueryBuilder};
use uuid::Uuid;

use super::{lines, state_of};
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

/// What is read of orders, up to the condition.
const SELECT: &str = "SELECT order_id, account, request_id, state, currency, total_minor, lines::text AS lines, reason,
        reason_message, create_time FROM order_with_state WHERE order_id ";

/// Reads one order.
pub async fn get(executor: impl PgExecutor<'_>, order_id: Uuid) -> Result<Option<Order>, sqlx::Error> {
    let mut query = QueryBuilder::new(SELECT);
    query.push("= ").push_bind(order_id);
    let row: Option<Row> = query.build_query_as().fetch_optional(executor).await?;
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
    let mut query = QueryBuilder::new(SELECT);
    query.push("< ").push_bind(before);
    if let Some(account) = &filter.account {
        query.push(" AND account = ").push_bind(account);
    }
    query.push(match filter.state {
        None => "",
        // Few, and found by the indexes on them.
        Some(State::Pending) => {
            " AND order_id = ANY (ARRAY(SELECT transaction_id FROM branch_log WHERE state = 1
                                        UNION ALL SELECT order_id FROM orders WHERE unconfirmed))"
        }
        Some(State::Confirmed) => " AND state = 2",
        Some(State::Refused) => " AND refused",
    });
    query.push(" ORDER BY order_id DESC LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows: Vec<Row> = query.build_query_as().fetch_all(executor).await?;
    rows.into_iter().map(Order::try_from).collect()
}
