//! What happened to orders. The first two events, that an order was placed and what that came to, are told from its own row:
//! placing an order writes nothing more than that.
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::life::return_lines_from;
use super::{reads, state_of};
use crate::domain::{Event, EventKind, Order, State};

#[derive(sqlx::FromRow)]
struct Row {
    sequence: i64,
    kind: i16,
    state: i16,
    transaction_id: Uuid,
    client_id: String,
    request_id: String,
    reason: String,
    lines: Option<String>,
    refund_minor: i64,
    create_time: DateTime<Utc>,
}

impl TryFrom<Row> for Event {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let kind = EventKind::of_code(row.kind)
            .ok_or_else(|| sqlx::Error::Decode(format!("{} is no kind of event", row.kind).into()))?;
        Ok(Event {
            sequence: row.sequence,
            kind,
            state: state_of(row.state)?,
            transaction_id: row.transaction_id,
            client_id: row.client_id,
            request_id: row.request_id,
            reason: row.reason,
            lines: return_lines_from(row.lines.as_deref())?,
            refund_minor: row.refund_minor,
            create_time: row.create_time,
        })
    }
}

/// An order and its events after a place, oldest first, at most `limit`; none if there is no such order.
///
/// An event is written while its order is locked, so one is never seen before the one before it.
pub async fn after(
    pool: &participant::Pool,
    order_id: Uuid,
    sequence: i64,
    limit: usize,
) -> Result<Option<(Order, Vec<Event>)>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let Some(order) = reads::get(&mut *connection, order_id).await? else { return Ok(None) };
    let mut events = match sequence < 2 {
        true => beginnings(&mut connection, &order).await?,
        false => Vec::new(),
    };
    events.retain(|event| event.sequence > sequence);
    events.truncate(limit);
    // What the first two are is known only once the order is no longer pending, and nothing comes after them before.
    if events.len() < limit && order.state != State::Pending {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT sequence, kind, state, transaction_id, client_id, request_id, reason, lines::text AS lines,
                    refund_minor, create_time
             FROM order_event WHERE order_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3",
        )
        .bind(order_id)
        .bind(sequence)
        .bind(i64::try_from(limit - events.len()).unwrap_or(i64::MAX))
        .fetch_all(&mut *connection)
        .await?;
        for row in rows {
            events.push(Event::try_from(row)?);
        }
    }
    Ok(Some((order, events)))
}

/// That it was placed, and confirmed or refused.
async fn beginnings(connection: &mut PgConnection, order: &Order) -> Result<Vec<Event>, sqlx::Error> {
    let placed = Event {
        sequence: 1,
        kind: EventKind::Placed,
        state: State::Pending,
        transaction_id: order.order_id,
        client_id: order.content.client_id.clone(),
        request_id: order.content.request_id.clone(),
        reason: String::new(),
        lines: Vec::new(),
        refund_minor: 0,
        create_time: order.create_time,
    };
    let (kind, state) = match order.state {
        State::Pending => return Ok(vec![placed]),
        State::Refused => (EventKind::Refused, State::Refused),
        _ if order.content.waits => (EventKind::Confirmed, State::Backordered),
        _ => (EventKind::Confirmed, State::Confirmed),
    };
    let decided: Option<Option<DateTime<Utc>>> =
        sqlx::query_scalar("SELECT decide_time FROM branch_with_state WHERE transaction_id = $1")
            .bind(order.order_id)
            .fetch_optional(connection)
            .await?;
    let create_time = decided.flatten().unwrap_or(order.create_time);
    let decided = Event { sequence: 2, kind, state, reason: order.reason.clone(), create_time, ..placed.clone() };
    Ok(vec![placed, decided])
}
