//! Authorisations of a batch: held, captured, voided, each with the sums per account.
use std::collections::BTreeMap;

use participant::Refusal;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Authorisation, Funds, decide, internal, sums};

type Sums<'a> = BTreeMap<(&'a str, &'a str), i128>;

/// Holds the amounts of a batch, deciding in its order.
///
/// Most batches find enough everywhere: one guarded update of the sums tells so. The branches of an account that is short
/// of their sum, is not there, or has another currency are decided one by one on the locked row.
pub async fn authorise(
    connection: &mut PgConnection,
    batch: &[&Authorisation],
) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
    let mut open = sums(batch.iter().copied());
    // A sum beyond 64 bits is more than any account has.
    let askable: Sums<'_> =
        open.iter().filter(|(_, sum)| i64::try_from(**sum).is_ok()).map(|(k, v)| (*k, *v)).collect();
    let covered: Vec<(String, String)> = {
        let (accounts, currencies, amounts) = columns(&askable)?;
        sqlx::query_as(
            "UPDATE account SET held_minor = held_minor + s.amount_minor
             FROM unnest($1::text[], $2::text[], $3::bigint[]) AS s (account, currency, amount_minor)
             WHERE account.account = s.account AND account.currency = s.currency
               AND account.balance_minor - account.held_minor >= s.amount_minor
               AND account.account NOT LIKE 'assent:%'
             RETURNING account.account, account.currency",
        )
        .bind(accounts)
        .bind(currencies)
        .bind(amounts)
        .fetch_all(&mut *connection)
        .await?
    };
    for (account, currency) in &covered {
        open.remove(&(account.as_str(), currency.as_str()));
    }
    let mut votes: Vec<Result<(), Refusal>> = batch.iter().map(|_| Ok(())).collect();
    if open.is_empty() {
        return Ok(votes);
    }
    let is_open = |wanted: &Authorisation| open.contains_key(&(wanted.account.as_str(), wanted.currency.as_str()));
    let undecided: Vec<(usize, &Authorisation)> =
        batch.iter().copied().enumerate().filter(|(_, wanted)| is_open(wanted)).collect();
    let wanted: Vec<&Authorisation> = undecided.iter().map(|(_, wanted)| *wanted).collect();
    let locked = lock_funds(connection, &open).await?;
    let funds = locked.iter().map(|(account, funds)| (account.as_str(), funds.clone())).collect();
    for ((place, _), vote) in undecided.iter().zip(decide(&wanted, funds)) {
        if let Some(slot) = votes.get_mut(*place) {
            *slot = vote;
        }
    }
    let granted = undecided.iter().filter(|(place, _)| votes.get(*place).is_some_and(Result::is_ok));
    change_held(connection, &sums(granted.map(|(_, wanted)| *wanted))).await?;
    Ok(votes)
}

/// Captures charges: the held amounts leave the accounts and become revenue, one booking each. An amount of zero is no
/// booking.
pub async fn capture(connection: &mut PgConnection, mut paid: Vec<(Uuid, &Authorisation)>) -> Result<(), sqlx::Error> {
    paid.retain(|(_, charge)| charge.amount_minor != 0);
    if paid.is_empty() {
        return Ok(());
    }
    let payers = sums(paid.iter().map(|(_, charge)| *charge));
    let mut revenues: BTreeMap<&str, i128> = BTreeMap::new();
    for ((_, currency), amount) in &payers {
        *revenues.entry(currency).or_default() += amount;
    }
    let (accounts, currencies, amounts) = columns(&payers)?;
    let revenue_accounts: Vec<String> = revenues.keys().map(|currency| internal::revenue(currency)).collect();
    let revenue_amounts = revenues.values().map(|amount| minor(*amount)).collect::<Result<Vec<_>, _>>()?;
    let captured: i64 = sqlx::query_scalar(
        "WITH payers AS (
            UPDATE account SET balance_minor = balance_minor - s.amount_minor, held_minor = held_minor - s.amount_minor
            FROM unnest($1::text[], $2::text[], $3::bigint[]) AS s (account, currency, amount_minor)
            WHERE account.account = s.account AND account.currency = s.currency
            RETURNING 1
         ), revenue AS (
            INSERT INTO account (account, currency, balance_minor)
            SELECT * FROM unnest($4::text[], $5::text[], $6::bigint[])
            ON CONFLICT (account) DO UPDATE SET balance_minor = account.balance_minor + EXCLUDED.balance_minor
         ), booked AS (
            INSERT INTO booking (booking_id, debit_account, credit_account, amount_minor, kind)
            SELECT booking_id, payer, revenue, amount_minor, 'capture'
            FROM unnest($7::uuid[], $8::text[], $9::text[], $10::bigint[])
                 AS c (booking_id, payer, revenue, amount_minor)
         )
         SELECT count(*) FROM payers",
    )
    .bind(accounts)
    .bind(currencies)
    .bind(amounts)
    .bind(revenue_accounts)
    .bind(revenues.keys().copied().collect::<Vec<_>>())
    .bind(revenue_amounts)
    .bind(paid.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(paid.iter().map(|(_, charge)| charge.account.as_str()).collect::<Vec<_>>())
    .bind(paid.iter().map(|(_, charge)| internal::revenue(&charge.currency)).collect::<Vec<_>>())
    .bind(paid.iter().map(|(_, charge)| charge.amount_minor).collect::<Vec<_>>())
    .fetch_one(connection)
    .await?;
    all_there(captured, payers.len())
}

/// Voids: the held amounts can be spent again.
pub async fn void<'a>(
    connection: &mut PgConnection,
    batch: impl IntoIterator<Item = &'a Authorisation>,
) -> Result<(), sqlx::Error> {
    let mut returned = sums(batch);
    returned.values_mut().for_each(|amount| *amount = -*amount);
    change_held(connection, &returned).await
}

/// Locks accounts and answers what is available in those that exist.
async fn lock_funds(connection: &mut PgConnection, wanted: &Sums<'_>) -> Result<Vec<(String, Funds)>, sqlx::Error> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT account, currency, balance_minor - held_minor FROM account
         WHERE account = ANY($1::text[]) AND account NOT LIKE 'assent:%' ORDER BY account FOR UPDATE",
    )
    .bind(wanted.keys().map(|(account, _)| *account).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let funds = |(account, currency, available): (String, String, i64)| {
        (account, Funds { currency, available_minor: i128::from(available) })
    };
    Ok(rows.into_iter().map(funds).collect())
}

async fn change_held(connection: &mut PgConnection, changes: &Sums<'_>) -> Result<(), sqlx::Error> {
    let mut changes = changes.clone();
    changes.retain(|_, amount| *amount != 0);
    if changes.is_empty() {
        return Ok(());
    }
    let (accounts, currencies, amounts) = columns(&changes)?;
    let done = sqlx::query(
        "UPDATE account SET held_minor = held_minor + s.amount_minor
         FROM unnest($1::text[], $2::text[], $3::bigint[]) AS s (account, currency, amount_minor)
         WHERE account.account = s.account AND account.currency = s.currency",
    )
    .bind(accounts)
    .bind(currencies)
    .bind(amounts)
    .execute(connection)
    .await?;
    all_there(i64::try_from(done.rows_affected()).unwrap_or(i64::MAX), changes.len())
}

type Columns<'a> = (Vec<&'a str>, Vec<&'a str>, Vec<i64>);

fn columns<'a>(sums: &Sums<'a>) -> Result<Columns<'a>, sqlx::Error> {
    let mut columns = Columns::default();
    for ((account, currency), amount) in sums {
        columns.0.push(account);
        columns.1.push(currency);
        columns.2.push(minor(*amount)?);
    }
    Ok(columns)
}

/// What was held fits 64 bits, because an account's balance does.
pub(super) fn minor(amount: i128) -> Result<i64, sqlx::Error> {
    i64::try_from(amount).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// What is authorised exists; otherwise someone has tampered with the table, and nothing may be acknowledged.
pub(super) fn all_there(found: i64, expected: usize) -> Result<(), sqlx::Error> {
    if usize::try_from(found) == Ok(expected) {
        return Ok(());
    }
    tracing::error!(found, expected, "accounts with authorised amounts are missing");
    Err(sqlx::Error::RowNotFound)
}
