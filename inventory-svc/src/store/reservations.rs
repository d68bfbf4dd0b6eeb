//! Reservations: made, extended, released, and gone when they have run out.
//!
//! Such a write touches several SKUs, and so does a batch, in parts: they could wait in a circle. So a reservation waits for a
//! lock only for a moment, lets go of all it has and tries again; a batch is never kept waiting longer than that.
use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use participant::{Pool, own_request};
use sqlx::{Connection, PgConnection, PgExecutor};
use uuid::Uuid;

use super::holds::{Guard, all_there, change};
use super::ledger::{self, Batch, Line};
use super::waitlist;
use crate::domain::{Denied, EntryState, Kind, Reservation, out_of_stock, unknown_sku};

/// What a cart is to keep.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its id, if it is new.
    pub reservation_id: Uuid,
    /// Whose cart it is.
    pub customer: String,
    /// So many of each SKU, each once.
    pub lines: BTreeMap<String, i64>,
    /// For how long; none: as the SKUs' policies say, the shortest.
    pub ttl_ms: Option<i64>,
    /// Who asks.
    pub client_id: String,
    /// The client's name for the request; empty if it has none.
    pub request_id: String,
}

/// What holds for SKUs that have no policy of their own.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// For how long a SKU is reserved.
    pub ttl_ms: i64,
    /// How many of a SKU a customer may have reserved.
    pub max_per_customer: i64,
}

/// Waits for locks only so long, in this local transaction.
pub async fn wait_briefly(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SET LOCAL lock_timeout = '50ms'").execute(connection).await.map(drop)
}

/// Makes a reservation, once for each request.
pub async fn reserve(
    connection: &mut PgConnection,
    wanted: &Wanted,
    defaults: Defaults,
) -> Result<Result<Reservation, Denied>, sqlx::Error> {
    let Wanted { reservation_id, customer, lines, ttl_ms, client_id, request_id } = wanted;
    let parameters = format!("reserve {lines:?} for {customer}");
    match own_request::note(connection, client_id, request_id, &parameters).await? {
        Err(reused) => return Ok(Err(reused.into())),
        Ok(true) => (),
        Ok(false) => {
            let made = "SELECT reservation_id FROM reservation WHERE client_id = $1 AND request_id = $2";
            let made: Option<Uuid> =
                sqlx::query_scalar(made).bind(client_id).bind(request_id).fetch_optional(&mut *connection).await?;
            let gone = || Denied::UnknownReservation { reservation_id: request_id.clone() };
            let Some(made) = made else { return Ok(Err(gone())) };
            return Ok(get(connection, made).await?.ok_or_else(gone));
        }
    }
    wait_briefly(connection).await?;
    let mut batch = Batch::default();
    for (sku, quantity) in lines {
        batch.add(line(Kind::Reserved, sku, *quantity, *reservation_id, None));
    }
    let figures = change(connection, &batch.changes, Guard::Available).await?;
    if let Some((sku, quantity)) = lines.iter().find(|(sku, _)| !figures.contains_key(*sku)) {
        let there = super::stock::get(connection, sku).await?;
        return Ok(Err(Denied::Refused(match there {
            Some(stock) => out_of_stock(sku, *quantity, stock.balance.available().max(0)),
            None => unknown_sku(sku),
        })));
    }
    let policies = policies(connection, lines.keys()).await?;
    // The rows of the stock are locked: nobody else reserves of these SKUs meanwhile.
    for (sku, reserved) in reserved_by(connection, customer, lines.keys()).await? {
        let limit = policies.get(&sku).and_then(|policy| policy.1).unwrap_or(defaults.max_per_customer);
        if reserved + lines.get(&sku).copied().unwrap_or_default() > limit {
            return Ok(Err(Denied::OverLimit { sku, customer: customer.clone(), reserved, limit }));
        }
    }
    let of_sku = |sku: &String| policies.get(sku).and_then(|policy| policy.0).unwrap_or(defaults.ttl_ms);
    let ttl_ms = ttl_ms.or_else(|| lines.keys().map(of_sku).min()).unwrap_or(defaults.ttl_ms);
    ledger::write(connection, &batch, &figures).await?;
    let expire_time: DateTime<Utc> = sqlx::query_scalar(
        "INSERT INTO reservation (reservation_id, customer, expire_time, client_id, request_id)
         VALUES ($1, $2, now() + $3 * interval '1 millisecond', $4, nullif($5, '')) RETURNING expire_time",
    )
    .bind(reservation_id)
    .bind(customer)
    .bind(ttl_ms)
    .bind(client_id)
    .bind(request_id)
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO reservation_line (reservation_id, customer, sku, quantity)
         SELECT $1, $2, sku, quantity FROM unnest($3::text[], $4::bigint[]) AS l (sku, quantity)",
    )
    .bind(reservation_id)
    .bind(customer)
    .bind(lines.keys().map(String::as_str).collect::<Vec<_>>())
    .bind(lines.values().copied().collect::<Vec<_>>())
    .execute(connection)
    .await?;
    let lines = lines.iter().map(|(sku, quantity)| (sku.clone(), *quantity)).collect();
    let customer = customer.clone();
    Ok(Ok(Reservation { reservation_id: *reservation_id, customer, lines, expire_time }))
}

/// How long SKUs are reserved and how many a customer may have, where that was set.
async fn policies(
    connection: &mut PgConnection,
    skus: impl Iterator<Item = &String>,
) -> Result<BTreeMap<String, (Option<i64>, Option<i64>)>, sqlx::Error> {
    let read = "SELECT sku, ttl_ms, max_per_customer FROM reservation_policy WHERE sku = ANY($1::text[])";
    let rows: Vec<(String, Option<i64>, Option<i64>)> =
        sqlx::query_as(read).bind(skus.map(String::as_str).collect::<Vec<_>>()).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(sku, ttl_ms, limit)| (sku, (ttl_ms, limit))).collect())
}

/// What a customer has reserved of each SKU already.
async fn reserved_by(
    connection: &mut PgConnection,
    customer: &str,
    skus: impl Iterator<Item = &String>,
) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT wanted.sku, coalesce(sum(l.quantity), 0)::bigint FROM unnest($2::text[]) AS wanted (sku)
         LEFT JOIN reservation_line l ON l.customer = $1 AND l.sku = wanted.sku GROUP BY wanted.sku",
    )
    .bind(customer)
    .bind(skus.map(String::as_str).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
}

/// Reads a reservation.
pub async fn get(connection: &mut PgConnection, reservation_id: Uuid) -> Result<Option<Reservation>, sqlx::Error> {
    let read = "SELECT customer, expire_time FROM reservation WHERE reservation_id = $1";
    let read: Option<(String, DateTime<Utc>)> =
        sqlx::query_as(read).bind(reservation_id).fetch_optional(&mut *connection).await?;
    let Some((customer, expire_time)) = read else { return Ok(None) };
    let lines = "SELECT sku, quantity FROM reservation_line WHERE reservation_id = $1 ORDER BY sku";
    let lines = sqlx::query_as(lines).bind(reservation_id).fetch_all(connection).await?;
    Ok(Some(Reservation { reservation_id, customer, lines, expire_time }))
}

/// Has a reservation run out so long from now.
pub async fn extend(
    connection: &mut PgConnection,
    reservation_id: Uuid,
    ttl_ms: i64,
) -> Result<Result<Reservation, Denied>, sqlx::Error> {
    let extend = "UPDATE reservation
        SET expire_time = CASE WHEN entry_id IS NULL THEN now() + $2 * interval '1 millisecond' ELSE expire_time END
        WHERE reservation_id = $1 RETURNING entry_id IS NOT NULL";
    let is_offer: Option<bool> =
        sqlx::query_scalar(extend).bind(reservation_id).bind(ttl_ms).fetch_optional(&mut *connection).await?;
    if is_offer == Some(true) {
        return Ok(Err(Denied::OfferIsTimed { reservation_id: reservation_id.to_string() }));
    }
    let extended = get(connection, reservation_id).await?;
    Ok(extended.ok_or_else(|| Denied::UnknownReservation { reservation_id: reservation_id.to_string() }))
}

/// Ends a reservation before its time; one that is gone already is as it should be.
pub async fn release(connection: &mut PgConnection, reservation_id: Uuid) -> Result<Result<(), Denied>, sqlx::Error> {
    wait_briefly(connection).await?;
    let gone: Vec<Gone> = sqlx::query_as(
        "WITH gone AS (DELETE FROM reservation WHERE reservation_id = $1 RETURNING reservation_id, entry_id)
         DELETE FROM reservation_line USING gone WHERE reservation_line.reservation_id = gone.reservation_id
         RETURNING reservation_line.reservation_id, sku, quantity, entry_id",
    )
    .bind(reservation_id)
    .fetch_all(&mut *connection)
    .await?;
    free(connection, &gone, "RELEASED", EntryState::Left).await?;
    Ok(Ok(()))
}

/// A line of a reservation that has ended, and what it had left.
#[derive(Debug, sqlx::FromRow)]
pub struct Gone {
    /// The reservation.
    pub reservation_id: Uuid,
    /// The article.
    pub sku: String,
    /// How many.
    pub quantity: i64,
    /// Whose offer it was, if it was one.
    pub entry_id: Option<Uuid>,
}

/// The movements that give back what reservations had left.
pub fn unreserved<'a>(gone: &'a [Gone], reason: &'static str) -> Batch<'a> {
    let mut batch = Batch::default();
    for Gone { reservation_id, sku, quantity, .. } in gone.iter().filter(|gone| gone.quantity > 0) {
        batch.add(line(Kind::Unreserved, sku, *quantity, *reservation_id, Some(reason)));
    }
    batch
}

/// Gives back what reservations had left. A wait whose offer it was ends so, before the units are offered to the next.
async fn free(
    connection: &mut PgConnection,
    gone: &[Gone],
    reason: &'static str,
    ends: EntryState,
) -> Result<(), sqlx::Error> {
    let batch = unreserved(gone, reason);
    let figures = change(connection, &batch.changes, Guard::Locked).await?;
    all_there(figures.len(), batch.changes.len())?;
    waitlist::end(connection, gone, ends).await?;
    ledger::write(connection, &batch, &figures).await
}

fn line<'a>(kind: Kind, sku: &'a str, quantity: i64, reservation_id: Uuid, reason: Option<&'a str>) -> Line<'a> {
    Line { kind, sku, quantity, transaction_id: None, reservation_id: Some(reservation_id), reason }
}

/// How many reservations end in one local transaction.
const AT_ONCE: i64 = 1_000;

/// Ends reservations that have run out, some at a time; how many. What another process is at, or an order, is left to it or to
/// the next round.
pub async fn expire(pool: &Pool) -> Result<i64, sqlx::Error> {
    let expired = pool.run(async |connection: &mut PgConnection| {
        let mut local = connection.begin().await?;
        wait_briefly(&mut local).await?;
        let due: Vec<Uuid> = sqlx::query_scalar(
            "SELECT reservation_id FROM reservation WHERE expire_time <= clock_timestamp()
             ORDER BY expire_time LIMIT $1 FOR UPDATE SKIP LOCKED",
        )
        .bind(AT_ONCE)
        .fetch_all(&mut *local)
        .await?;
        if due.is_empty() {
            local.rollback().await?;
            return Ok(0);
        }
        let gone: Vec<Gone> = sqlx::query_as(
            "WITH gone AS (DELETE FROM reservation WHERE reservation_id = ANY($1::uuid[]) RETURNING reservation_id, entry_id)
             DELETE FROM reservation_line USING gone WHERE reservation_line.reservation_id = gone.reservation_id
             RETURNING reservation_line.reservation_id, sku, quantity, entry_id",
        )
        .bind(&due)
        .fetch_all(&mut *local)
        .await?;
        free(&mut local, &gone, "EXPIRED", EntryState::Lapsed).await?;
        local.commit().await?;
        Ok(i64::try_from(due.len()).unwrap_or(AT_ONCE))
    });
    expired.await
}

/// How often is looked for what has run out.
const INTERVAL: Duration = Duration::from_millis(100);

/// At how many looks waits that ended long ago are forgotten.
const FORGETS_EVERY: u64 = 600;

/// Ends reservations as they run out, forever. Whatever dies meanwhile leaves them to the next look.
pub async fn expire_all(pool: Pool) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0_u64.. {
        ticks.tick().await;
        if number.is_multiple_of(FORGETS_EVERY) {
            let forgotten = pool.run(async |connection: &mut PgConnection| waitlist::forget(connection).await).await;
            if let Err(error) = forgotten {
                tracing::debug!(%error, "waits that ended long ago can't be forgotten now; looking again later");
            }
        }
        loop {
            match expire(&pool).await {
                Ok(AT_ONCE) => (),
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(%error, "reservations that have run out can't be ended now; looking again");
                    break;
                }
            }
        }
    }
}

/// Sets how a SKU is reserved; none of it: as others are.
pub async fn set_policy(
    executor: impl PgExecutor<'_>,
    sku: &str,
    ttl_ms: Option<i64>,
    max_per_customer: Option<i64>,
    offer_ttl_ms: Option<i64>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO reservation_policy (sku, ttl_ms, max_per_customer, offer_ttl_ms) VALUES ($1, $2, $3, $4)
         ON CONFLICT (sku) DO UPDATE SET ttl_ms = $2, max_per_customer = $3, offer_ttl_ms = $4",
    )
    .bind(sku)
    .bind(ttl_ms)
    .bind(max_per_customer)
    .bind(offer_ttl_ms)
    .execute(executor)
    .await
    .map(drop)
}

/// SKUs of which more or less is reserved than the reservations have: the stock's figure, and theirs.
pub async fn differing(connection: &mut PgConnection) -> Result<Vec<(String, i64, i64)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT sku, coalesce(s.reserved, 0), coalesce(l.quantity, 0)::bigint
         FROM (SELECT sku, reserved FROM stock WHERE reserved IS NOT NULL) s
         FULL JOIN (SELECT sku, sum(quantity) AS quantity FROM reservation_line WHERE quantity > 0 GROUP BY sku) l
              USING (sku)
         WHERE coalesce(s.reserved, 0) <> coalesce(l.quantity, 0) ORDER BY sku",
    )
    .fetch_all(connection)
    .await
}

/// Transactions that have claimed of reservations.
pub async fn claimants(connection: &mut PgConnection) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar("SELECT DISTINCT transaction_id FROM reservation_claim ORDER BY transaction_id")
        .fetch_all(connection)
        .await
}
