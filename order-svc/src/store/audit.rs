//! Whether the orders agree with the transactions that place and change them, and with their own histories.
use std::collections::{BTreeMap, HashMap};

use participant::PreparedBranch;
use participant::audit::{Check, Violation};
use sqlx::PgConnection;
use uuid::Uuid;

use super::life::{return_lines_from, returned_from};
use super::lines;
use crate::domain::{Branch, EventKind, Line, ReturnLine, State, outcomes};

/// Orders whose histories are read at one time.
const PAGE: i64 = 1_000;

/// Checks no-orphan-holds: every prepared transaction has its order, and that is not refused, or its change in doubt, and
/// there is no other; and order-life: the orders are what their histories come to.
pub async fn check(
    connection: &mut PgConnection,
    prepared: &[PreparedBranch<Branch>],
) -> Result<Vec<Check>, sqlx::Error> {
    let checked_count: i64 = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&mut *connection).await?;
    let placing = prepared.iter().filter(|branch| matches!(*branch.branch, Branch::Place(_)));
    let differing: Vec<(Uuid, Option<bool>)> = sqlx::query_as(
        "SELECT p.order_id, o.refused FROM unnest($1::uuid[]) AS p (order_id) LEFT JOIN orders o USING (order_id)
         WHERE o.refused IS DISTINCT FROM false ORDER BY 1",
    )
    .bind(placing.map(|branch| branch.transaction_id).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    let placed = differing.into_iter().map(|(order_id, refused)| {
        let detail = match refused {
            Some(_) => "the transaction is prepared, but its order is refused",
            None => "the transaction is prepared, but there is no such order",
        };
        violation(order_id, order_id, detail)
    });
    let violations = placed.chain(changing(&mut *connection, prepared).await?).collect();
    let holds = Check { invariant: "no-orphan-holds", checked_count, violations };
    // Of most orders there is nothing more to be said than that they were placed.
    Ok(vec![holds, Check { checked_count, ..histories(connection).await? }])
}

fn violation(transaction_id: Uuid, order_id: Uuid, detail: impl Into<String>) -> Violation {
    let transaction_id = transaction_id.to_string();
    Violation { transaction_id, subject: order_id.to_string(), detail: detail.into() }
}

/// Changes that are held without being prepared, and prepared without being held.
async fn changing(
    connection: &mut PgConnection,
    prepared: &[PreparedBranch<Branch>],
) -> Result<Vec<Violation>, sqlx::Error> {
    let held: Vec<(Uuid, Uuid)> =
        sqlx::query_as("SELECT order_id, pending_id FROM order_life WHERE pending_id IS NOT NULL ORDER BY 1")
            .fetch_all(connection)
            .await?;
    let mut held: HashMap<Uuid, Uuid> = held.into_iter().collect();
    let mut wrong = Vec::new();
    for PreparedBranch { transaction_id, branch } in prepared {
        let Branch::Change(change) = &**branch else { continue };
        match held.remove(&change.order_id) {
            Some(holder) if holder == *transaction_id => (),
            _ => wrong.push(violation(
                *transaction_id,
                change.order_id,
                "a change is prepared, but the order does not hold it",
            )),
        }
    }
    let orphans = held.into_iter().map(|(order_id, transaction_id)| {
        violation(transaction_id, order_id, "the order holds a change that is not prepared")
    });
    wrong.extend(orphans);
    Ok(wrong)
}

type LifeRow = (Uuid, i16, i64, Option<String>, i64, Option<String>, Option<i64>, Option<bool>, Option<bool>, i64);

struct EventRow {
    sequence: i64,
    kind: i16,
    state: i16,
    lines: Vec<ReturnLine>,
    refund_minor: i64,
    allotted_units: i64,
}

/// Checks order-life.
async fn histories(connection: &mut PgConnection) -> Result<Check, sqlx::Error> {
    let mut check = Check { invariant: "order-life", checked_count: 0, violations: Vec::new() };
    let lost: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "SELECT order_id, transaction_id FROM order_event e
         WHERE NOT EXISTS (SELECT FROM order_life l WHERE l.order_id = e.order_id) ORDER BY 1 LIMIT 100",
    )
    .fetch_all(&mut *connection)
    .await?;
    let no_life = "there is a history, but the order says that nothing has happened to it";
    check.violations.extend(lost.into_iter().map(|(order_id, transaction)| violation(transaction, order_id, no_life)));
    let mut after = Uuid::nil();
    loop {
        let page: Vec<LifeRow> = sqlx::query_as(
            "SELECT l.order_id, l.state, l.version, l.returned::text, l.refunded_minor, o.lines::text, o.total_minor,
                    o.refused, o.waits, l.allotted_units
             FROM order_life l LEFT JOIN orders o USING (order_id) WHERE l.order_id > $1 ORDER BY 1 LIMIT $2",
        )
        .bind(after)
        .bind(PAGE)
        .fetch_all(&mut *connection)
        .await?;
        let Some((last, ..)) = page.last() else { return Ok(check) };
        after = *last;
        let mut events = events(&mut *connection, page.iter().map(|(order_id, ..)| *order_id).collect()).await?;
        for row in page {
            let order_id = row.0;
            let history = events.remove(&order_id).unwrap_or_default();
            for detail in differences(row, &history)? {
                check.violations.push(violation(order_id, order_id, detail));
            }
        }
    }
}

/// An event as it is stored: order, sequence, kind, state, lines, refund, allotted units.
type Stored = (Uuid, i64, i16, i16, Option<String>, i64, i64);

async fn events(
    connection: &mut PgConnection,
    order_ids: Vec<Uuid>,
) -> Result<HashMap<Uuid, Vec<EventRow>>, sqlx::Error> {
    let rows: Vec<Stored> = sqlx::query_as(
        "SELECT order_id, sequence, kind, state, lines::text, refund_minor, coalesce(allotted_units, 0) FROM order_event
         WHERE order_id = ANY($1::uuid[]) ORDER BY order_id, sequence",
    )
    .bind(order_ids)
    .fetch_all(connection)
    .await?;
    let mut events: HashMap<Uuid, Vec<EventRow>> = HashMap::new();
    for (order_id, sequence, kind, state, lines, refund_minor, allotted_units) in rows {
        let lines = return_lines_from(lines.as_deref())?;
        events.entry(order_id).or_default().push(EventRow {
            sequence,
            kind,
            state,
            lines,
            refund_minor,
            allotted_units,
        });
    }
    Ok(events)
}

/// In what an order differs from its history.
fn differences(row: LifeRow, history: &[EventRow]) -> Result<Vec<String>, sqlx::Error> {
    let (_, state, version, returned, refunded_minor, lines, total_minor, refused, waits, allotted_units) = row;
    let (Some(lines), Some(total_minor), Some(false)) = (lines, total_minor, refused) else {
        return Ok(vec!["something has happened to an order that was never confirmed".to_owned()]);
    };
    let mut wrong = Vec::new();
    let mut now = (if waits == Some(true) { State::Backordered } else { State::Confirmed }, 2);
    let (mut refunds, mut by_events) = (0_i128, BTreeMap::<&str, i128>::new());
    for event in history {
        let (kind, to) = (EventKind::of_code(event.kind), State::of_code(event.state));
        if event.sequence != now.1 + 1 {
            wrong.push(format!("its history goes from event {} to {}", now.1, event.sequence));
        }
        match (kind, to) {
            (Some(kind), Some(to)) if outcomes(Some(now.0), kind).contains(&to) => now = (to, event.sequence),
            _ => {
                wrong.push(format!("event {} can't follow upon {}", event.sequence, now.0.name()));
                now = (to.unwrap_or(now.0), event.sequence);
            }
        }
        refunds += i128::from(event.refund_minor);
        for line in &event.lines {
            *by_events.entry(&line.sku).or_default() += i128::from(line.quantity);
        }
    }
    if (State::of_code(state), version) != (Some(now.0), now.1) {
        wrong.push(format!("it is {state} at version {version}, its history ends with {} at {}", now.0.code(), now.1));
    }
    let by_history: i128 = history.iter().map(|event| i128::from(event.allotted_units)).sum();
    if i128::from(allotted_units) != by_history {
        wrong.push(format!("{allotted_units} units were got, {by_history} by its history"));
    }
    if i128::from(refunded_minor) != refunds || refunds > i128::from(total_minor) {
        wrong.push(format!("{refunded_minor} were paid back, {refunds} by its history, of {total_minor} paid"));
    }
    let lines: Vec<Line> = lines::from_json(&lines)?;
    let returned = returned_from(returned.as_deref())?;
    let mut by_order: BTreeMap<&str, i128> = BTreeMap::new();
    for (line, returned) in lines.iter().zip(&returned) {
        if *returned != 0 {
            *by_order.entry(&line.sku).or_default() += i128::from(*returned);
        }
        if !(0..=line.quantity).contains(returned) {
            wrong.push(format!("{returned} of {} have come back, of {} bought", line.sku, line.quantity));
        }
    }
    if by_order != by_events {
        wrong.push(format!("{by_order:?} have come back, by its history {by_events:?}"));
    }
    Ok(wrong)
}
