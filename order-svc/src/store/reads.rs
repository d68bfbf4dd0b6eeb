//! Orders as stored.
use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, QueryBuilder};
use uuid::Uuid;

use super::{life, lines, state_of};
use crate::domain::{Life, NewOrder, Order, State};

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
    client_id: Option<String>,
    version: Option<i64>,
    returned: Option<String>,
    refunded_minor: Option<i64>,
    tracking: Option<String>,
    waits: Option<bool>,
    allotted_units: Option<i64>,
    pending_allotted_units: Option<i64>,
    pending_id: Option<Uuid>,
    pending_state: Option<i16>,
    pending_returned: Option<String>,
    pending_refunded_minor: Option<i64>,
    pending_tracking: Option<String>,
}

impl TryFrom<Row> for Order {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let Row { account, request_id, currency, total_minor, .. } = row;
        let lines = lines::from_json(&row.lines)?;
        let (client_id, waits) = (row.client_id.unwrap_or_default(), row.waits.unwrap_or_default());
        let content = NewOrder { account, request_id, currency, total_minor, lines, client_id, waits };
        let state = state_of(row.state)?;
        let pending = match (row.pending_id, row.pending_state) {
            (Some(transaction_id), Some(state)) => Some((
                transaction_id,
                Life {
                    state: state_of(state)?,
                    returned: life::returned_from(row.pending_returned.as_deref())?,
                    refunded_minor: row.pending_refunded_minor.unwrap_or_default(),
                    tracking: row.pending_tracking.unwrap_or_default(),
                    allotted_units: row.pending_allotted_units.unwrap_or_default(),
                },
            )),
            _ => None,
        };
        Ok(Order {
            order_id: row.order_id,
            content,
            state,
            version: row.version.unwrap_or(if state == State::Pending { 1 } else { 2 }),
            returned: life::returned_from(row.returned.as_deref())?,
            refunded_minor: row.refunded_minor.unwrap_or_default(),
            tracking: row.tracking.unwrap_or_default(),
            allotted_units: row.allotted_units.unwrap_or_default(),
            pending,
            reason: row.reason,
            reason_message: row.reason_message,
            create_time: row.create_time,
        })
    }
}

/// What is read of orders, up to the condition.
const SELECT: &str = "SELECT order_id, account, request_id, state, currency, total_minor, lines::text AS lines, reason,
        reason_message, create_time, client_id, waits, allotted_units, pending_allotted_units, version, returned::text AS returned, refunded_minor, tracking, pending_id,
        pending_state, pending_returned::text AS pending_returned, pending_refunded_minor, pending_tracking
        FROM order_with_state WHERE order_id ";

/// Reads one order.
pub async fn get(executor: impl PgExecutor<'_>, order_id: Uuid) -> Result<Option<Order>, sqlx::Error> {
    let mut query = QueryBuilder::new(SELECT);
    query.push("= ").push_bind(order_id);
    let row: Option<Row> = query.build_query_as().fetch_optional(executor).await?;
    row.map(Order::try_from).transpose()
}

/// The order that the transaction of this id has changed, or may yet.
pub async fn changed_by(executor: impl PgExecutor<'_>, transaction_id: Uuid) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT order_id FROM order_event WHERE transaction_id = $1
         UNION ALL SELECT order_id FROM order_life WHERE pending_id = $1 LIMIT 1",
    )
    .bind(transaction_id)
    .fetch_optional(executor)
    .await
}

/// Which orders to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In this state only.
    pub state: Option<State>,
    /// Of this account only.
    pub account: Option<String>,
    /// Only those of which a change is in doubt.
    pub changing: bool,
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
            " AND order_id = ANY (ARRAY(SELECT transaction_id FROM branch_in_doubt
                                        UNION ALL SELECT order_id FROM orders WHERE unconfirmed))"
        }
        Some(State::Confirmed) => " AND state = 2",
        Some(State::Refused) => " AND refused",
        Some(State::Backordered) => " AND waits AND state = 8",
        Some(
            State::Cancelled | State::Shipped | State::PartiallyReturned | State::Returned | State::PartiallyAllocated,
        ) => "",
    });
    let of_life = |state: &State| state.code() > State::Refused.code() && *state != State::Backordered;
    if let Some(state) = filter.state.filter(of_life) {
        query.push(" AND order_id IN (SELECT order_id FROM order_life WHERE state = ").push_bind(state.code());
        query.push(" AND order_id < ").push_bind(before).push(")");
    }
    if filter.changing {
        query.push(" AND order_id = ANY (ARRAY(SELECT order_id FROM order_life WHERE pending_id IS NOT NULL))");
    }
    query.push(" ORDER BY order_id DESC LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows: Vec<Row> = query.build_query_as().fetch_all(executor).await?;
    rows.into_iter().map(Order::try_from).collect()
}
