//! The waitlist: who waits for a SKU, in the order of arrival.
//!
//! An entry is changed only while the stock's row of its SKU is locked, by whichever process: so the order of arrival is the
//! order of that lock, and whoever frees stock sees all that wait for it.
mod offers;
mod reads;

use std::collections::BTreeMap;

use participant::own_request;
use participant::postgres::conflict;
use sqlx::PgConnection;
use uuid::Uuid;

use super::holds::{Guard, change};
use super::ledger::{self, Batch};
use super::reservations::{Gone, unreserved, wait_briefly};
use super::supply;
use crate::domain::{Denied, Entry, EntryState, Marks};

pub use offers::{end, offer_freed};
pub use reads::{get, list, unfair};

/// What holds where nothing else is set.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// How long an offer stands.
    pub offer_ttl_ms: i64,
    /// How many entries of a customer may wait.
    pub max_waiting: i64,
    /// How many units of a SKU a customer may wait for and have reserved.
    pub max_per_customer: i64,
}

/// A wait that is to begin.
#[derive(Debug, Clone)]
pub struct Joining {
    /// Its id, if it is new.
    pub entry_id: Uuid,
    /// The article.
    pub sku: String,
    /// Who waits.
    pub customer: String,
    /// For how many.
    pub quantity: i64,
    /// How many are taken at least.
    pub min_quantity: i64,
    /// Who asks.
    pub client_id: String,
    /// The client's name for the request; empty if it has none.
    pub request_id: String,
}

/// Begins a wait, once for each request. What is free already is offered at once.
pub async fn join(
    connection: &mut PgConnection,
    joining: &Joining,
    defaults: Defaults,
) -> Result<Result<Entry, Denied>, sqlx::Error> {
    let Joining { entry_id, sku, customer, quantity, min_quantity, client_id, request_id } = joining;
    let parameters = format!("wait for {quantity} of {sku}, at least {min_quantity}, for {customer}");
    match own_request::note(connection, client_id, request_id, &parameters).await? {
        Err(reused) => return Ok(Err(reused.into())),
        Ok(true) => (),
        Ok(false) => {
            let made = "SELECT entry_id FROM waitlist_entry WHERE client_id = $1 AND request_id = $2";
            let made: Option<Uuid> =
                sqlx::query_scalar(made).bind(client_id).bind(request_id).fetch_optional(&mut *connection).await?;
            let gone = || Denied::UnknownEntry { entry_id: request_id.clone() };
            let Some(made) = made else { return Ok(Err(gone())) };
            return Ok(get(connection, made).await?.ok_or_else(gone));
        }
    }
    if !lock(connection, sku).await? {
        return Ok(Err(Denied::UnknownSku { sku: sku.clone() }));
    }
    let (mut waiting, mut units) = (0, 0);
    for (place, wanted) in waits_of(connection, customer).await? {
        waiting += 1;
        units += if place == *sku { wanted } else { 0 };
    }
    if waiting >= defaults.max_waiting {
        return Ok(Err(Denied::WaitsTooOften { customer: customer.clone(), limit: defaults.max_waiting }));
    }
    let Policy { offer_ttl_ms, max_per_customer, reserved } = policy(connection, sku, customer).await?;
    let (has, limit) = (reserved + units, max_per_customer.unwrap_or(defaults.max_per_customer));
    if has + quantity > limit {
        return Ok(Err(Denied::OverLimit { sku: sku.clone(), customer: customer.clone(), reserved: has, limit }));
    }
    sqlx::query(
        "INSERT INTO waitlist_entry (entry_id, sku, customer, quantity, min_quantity, offer_ttl_ms, client_id, request_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, nullif($8, ''))",
    )
    .bind(entry_id)
    .bind(sku)
    .bind(customer)
    .bind(quantity)
    .bind(min_quantity)
    .bind(offer_ttl_ms.unwrap_or(defaults.offer_ttl_ms))
    .bind(client_id)
    .bind(request_id)
    .execute(&mut *connection)
    .await?;
    supply::mark(connection, sku, Marks::WAITED).await?;
    let stock = super::stock::get(&mut *connection, sku).await?.ok_or(sqlx::Error::RowNotFound)?;
    supply::mind(connection, [&stock], &[], None).await?;
    Ok(Ok(get(connection, *entry_id).await?.ok_or(sqlx::Error::RowNotFound)?))
}

/// Locks the stock of a SKU; whether there is any.
async fn lock(connection: &mut PgConnection, sku: &str) -> Result<bool, sqlx::Error> {
    let lock = "SELECT sku FROM stock WHERE sku = $1 FOR NO KEY UPDATE";
    Ok(sqlx::query(lock).bind(sku).fetch_optional(connection).await?.is_some())
}

/// The SKUs that a customer waits for, and how many units each time.
async fn waits_of(connection: &mut PgConnection, customer: &str) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let read = "SELECT sku, quantity - offered FROM waitlist_entry WHERE customer = $1 AND state = 1";
    sqlx::query_as(read).bind(customer).fetch_all(connection).await
}

#[derive(sqlx::FromRow)]
struct Policy {
    offer_ttl_ms: Option<i64>,
    max_per_customer: Option<i64>,
    /// What the customer has reserved of it already.
    reserved: i64,
}

async fn policy(connection: &mut PgConnection, sku: &str, customer: &str) -> Result<Policy, sqlx::Error> {
    sqlx::query_as(
        "SELECT p.offer_ttl_ms, p.max_per_customer,
                (SELECT coalesce(sum(quantity), 0)::bigint FROM reservation_line WHERE customer = $2 AND sku = $1) AS reserved
         FROM (VALUES (1)) AS one LEFT JOIN reservation_policy p ON p.sku = $1",
    )
    .bind(sku)
    .bind(customer)
    .fetch_one(connection)
    .await
}

/// Ends a wait, and gives back what it was offered and has not ordered; one that has ended already stays as it is.
pub async fn leave(connection: &mut PgConnection, entry_id: Uuid) -> Result<Result<Entry, Denied>, sqlx::Error> {
    wait_briefly(connection).await?;
    let unknown = || Denied::UnknownEntry { entry_id: entry_id.to_string() };
    let Some(before) = get(connection, entry_id).await? else { return Ok(Err(unknown())) };
    let gone: Vec<Gone> = sqlx::query_as(
        "WITH gone AS (DELETE FROM reservation WHERE entry_id = $1 RETURNING reservation_id, entry_id)
         DELETE FROM reservation_line USING gone WHERE reservation_line.reservation_id = gone.reservation_id
         RETURNING reservation_line.reservation_id, sku, quantity, entry_id",
    )
    .bind(entry_id)
    .fetch_all(&mut *connection)
    .await?;
    let batch = unreserved(&gone, "LEFT");
    let figures = match batch.changes.is_empty() {
        true => lock(connection, &before.sku).await.map(|_| BTreeMap::new())?,
        false => change(connection, &batch.changes, Guard::Locked).await?,
    };
    let offered = "SELECT offered FROM waitlist_entry WHERE entry_id = $1";
    let offered: Option<i64> = sqlx::query_scalar(offered).bind(entry_id).fetch_optional(&mut *connection).await?;
    if offered != Some(before.offered) {
        // It was offered more before its SKU was locked; that has to go back as well.
        return Err(conflict());
    }
    let state = match before.shown_state() {
        EntryState::Taken => EntryState::Taken,
        _ => EntryState::Left,
    };
    let leave = "UPDATE waitlist_entry SET state = $2, update_time = now() WHERE entry_id = $1 AND state IN (1, 2)";
    sqlx::query(leave).bind(entry_id).bind(state.code()).execute(&mut *connection).await?;
    let waited = "SELECT EXISTS (SELECT FROM waitlist_entry WHERE sku = $1 AND state = 1)";
    if !sqlx::query_scalar::<_, bool>(waited).bind(&before.sku).fetch_one(&mut *connection).await? {
        supply::unmark(connection, &[&before.sku], Marks::WAITED).await?;
    }
    finish(connection, &batch, &figures).await?;
    Ok(get(connection, entry_id).await?.ok_or_else(unknown))
}

async fn finish(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
    figures: &BTreeMap<String, crate::domain::Stock>,
) -> Result<(), sqlx::Error> {
    match figures.is_empty() {
        true => Ok(()),
        false => ledger::write(connection, batch, figures).await,
    }
}

/// Forgets waits that have ended long ago, some at a time.
pub async fn forget(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let forget = "DELETE FROM waitlist_entry WHERE entry_id IN (
            SELECT entry_id FROM waitlist_entry WHERE state > 2 AND update_time < now() - interval '7 days'
            ORDER BY update_time LIMIT 1000 FOR UPDATE SKIP LOCKED)";
    sqlx::query(forget).execute(connection).await.map(drop)
}
