//! Changes of a batch: decided in its order on the locked orders, held while they are in doubt, and written into the order's
//! history when they take effect.
use std::collections::HashSet;

use participant::{PreparedBranch, Refusal};
use sqlx::PgConnection;
use uuid::Uuid;

use super::life::{self, all_there, return_lines_to};
use crate::domain::{Branch, Change, EventKind, Operation, busy, decide};

/// The changes among branches.
pub fn of(branches: &[PreparedBranch<Branch>]) -> Vec<(Uuid, &Change)> {
    let changes = branches.iter().filter_map(|branch| match &*branch.branch {
        Branch::Change(change) => Some((branch.transaction_id, change)),
        Branch::Place(_) => None,
    });
    changes.collect()
}

/// Decides changes in their order and holds those that are granted; answers for each.
pub async fn prepare(
    connection: &mut PgConnection,
    changes: &[(Uuid, &Change)],
) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let mut order_ids: Vec<Uuid> = changes.iter().map(|(_, change)| change.order_id).collect();
    order_ids.sort_unstable();
    order_ids.dedup();
    let mut standing = life::lock(&mut *connection, &order_ids).await?;
    let known = known_allotments(&mut *connection, changes).await?;
    let mut held = Vec::new();
    let mut votes = Vec::with_capacity(changes.len());
    for (transaction_id, change) in changes {
        let vote = match standing.get_mut(&change.order_id) {
            None => Err(life::not_found(change.order_id)),
            Some(order) if order.changing => Err(busy("another change of it is under way")),
            Some(_) if known.contains(&(change.order_id, change.reason.clone())) => Err(got_already()),
            Some(order) => decide(&order.lines, order.total_minor, &order.life, change).map(|after| {
                order.changing = true;
                held.push((*transaction_id, change.order_id, after));
            }),
        };
        votes.push(vote.map_err(|refusal| refusal.with("order_id", change.order_id)));
    }
    life::hold(connection, &held).await?;
    Ok(votes)
}

/// Allotments among these changes that their orders have got already. Their requests tell so too, as long as the coordinator
/// remembers them; here it is told for good.
async fn known_allotments(
    connection: &mut PgConnection,
    changes: &[(Uuid, &Change)],
) -> Result<HashSet<(Uuid, String)>, sqlx::Error> {
    let allotments = changes.iter().filter(|(_, change)| change.operation == Operation::Allot);
    let (order_ids, reasons): (Vec<Uuid>, Vec<&str>) =
        allotments.map(|(_, change)| (change.order_id, change.reason.as_str())).unzip();
    if order_ids.is_empty() {
        return Ok(HashSet::new());
    }
    let known: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT order_id, reason FROM order_event WHERE kind = $3
         AND (order_id, reason) IN (SELECT * FROM unnest($1::uuid[], $2::text[]))",
    )
    .bind(order_ids)
    .bind(reasons)
    .bind(EventKind::Allotted.code())
    .fetch_all(connection)
    .await?;
    Ok(known.into_iter().collect())
}

fn got_already() -> Refusal {
    Refusal::new("ORDER_NOT_WAITING", "the order has got this allotment already")
}

/// Whether a change would be granted as its order stands now.
pub async fn check(pool: &participant::Pool, change: &Change) -> Result<Result<(), Refusal>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let standing = life::look(&mut connection, &[change.order_id]).await?;
    Ok(match standing.get(&change.order_id) {
        None => Err(life::not_found(change.order_id)),
        Some(order) if order.changing => Err(busy("another change of it is under way")),
        Some(order) => decide(&order.lines, order.total_minor, &order.life, change).map(drop),
    })
}

/// Changes take effect, and are written into their orders' histories.
pub async fn apply(connection: &mut PgConnection, changes: &[(Uuid, &Change)]) -> Result<(), sqlx::Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&Change) -> &str| changes.iter().map(|(_, change)| of(change)).collect::<Vec<_>>();
    let lines = changes.iter().map(|(_, change)| return_lines_to(&change.lines)).collect::<Result<Vec<_>, _>>()?;
    let done = sqlx::query(
        "WITH done AS (
            UPDATE order_life SET state = pending_state, version = version + 1, returned = pending_returned,
                refunded_minor = pending_refunded_minor, tracking = pending_tracking,
                allotted_units = coalesce(pending_allotted_units, 0), pending_allotted_units = NULL, pending_id = NULL,
                pending_state = NULL, pending_returned = NULL, pending_refunded_minor = NULL, pending_tracking = NULL
            FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::text[], $5::text[], $6::text[], $7::text[],
                        $8::bigint[], $9::bigint[])
                 AS c (transaction_id, order_id, kind, client_id, request_id, reason, lines, refund_minor, allotted)
            WHERE order_life.order_id = c.order_id AND order_life.pending_id = c.transaction_id
            RETURNING order_life.order_id, version, c.kind, state, c.transaction_id, client_id, request_id, reason,
                      c.lines, refund_minor, allotted
         )
         INSERT INTO order_event (order_id, sequence, kind, state, transaction_id, client_id, request_id, reason, lines,
                                  refund_minor, allotted_units)
         SELECT order_id, version, kind, state, transaction_id, client_id, request_id, reason, lines::jsonb, refund_minor,
                nullif(allotted, 0)
         FROM done",
    )
    .bind(changes.iter().map(|(transaction_id, _)| *transaction_id).collect::<Vec<_>>())
    .bind(changes.iter().map(|(_, change)| change.order_id).collect::<Vec<_>>())
    .bind(changes.iter().map(|(_, change)| change.operation.event().code()).collect::<Vec<_>>())
    .bind(column(|change| &change.client_id))
    .bind(column(|change| &change.request_id))
    .bind(column(|change| &change.reason))
    .bind(lines)
    .bind(changes.iter().map(|(_, change)| change.refund_minor).collect::<Vec<_>>())
    .bind(changes.iter().map(|(_, change)| change.allotted_units).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    all_there(done.rows_affected(), changes.len())
}
