//! Refunds: what a saga's step has captured goes back to the account, one booking each.
use std::collections::BTreeMap;

use participant::{Refusal, StepBranch};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Authorisation, internal, sums};

/// Refunds what the steps have captured. An amount of zero is no booking.
pub async fn refund(
    connection: &mut PgConnection,
    steps: &[(StepBranch<Authorisation>, Refusal)],
) -> Result<(), sqlx::Error> {
    let paid = steps.iter().map(|(step, _)| &*step.branch).filter(|branch| branch.amount_minor != 0);
    let paid: Vec<&Authorisation> = paid.collect();
    if paid.is_empty() {
        return Ok(());
    }
    let payers = sums(paid.iter().copied());
    let mut revenues: BTreeMap<&str, i128> = BTreeMap::new();
    for ((_, currency), amount) in &payers {
        *revenues.entry(currency).or_default() += amount;
    }
    let minor = |amount: &i128| i64::try_from(*amount).map_err(|error| sqlx::Error::Encode(error.into()));
    // The customers' accounts in the order of their names, then the revenue's: as a capture does.
    let found = change(connection, payers.keys().map(|(account, _)| (*account).to_owned()), payers.values().map(minor));
    let found = found.await?;
    let taken = revenues.values().map(|amount| minor(&-*amount));
    let taken = change(connection, revenues.keys().map(|currency| internal::revenue(currency)), taken).await?;
    if (found, taken) != (payers.len(), revenues.len()) {
        tracing::error!(found, taken, "accounts of what was captured are missing");
        return Err(sqlx::Error::RowNotFound);
    }
    sqlx::query(
        "INSERT INTO booking (booking_id, debit_account, credit_account, amount_minor, kind)
         SELECT booking_id, revenue, payer, amount_minor, 'refund'
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[]) AS r (booking_id, revenue, payer, amount_minor)",
    )
    .bind(paid.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
    .bind(paid.iter().map(|branch| internal::revenue(&branch.currency)).collect::<Vec<_>>())
    .bind(paid.iter().map(|branch| branch.account.as_str()).collect::<Vec<_>>())
    .bind(paid.iter().map(|branch| branch.amount_minor).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn change(
    connection: &mut PgConnection,
    accounts: impl Iterator<Item = String>,
    amounts: impl Iterator<Item = Result<i64, sqlx::Error>>,
) -> Result<usize, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE account SET balance_minor = balance_minor + s.amount_minor
         FROM unnest($1::text[], $2::bigint[]) AS s (account, amount_minor) WHERE account.account = s.account",
    )
    .bind(accounts.collect::<Vec<_>>())
    .bind(amounts.collect::<Result<Vec<_>, _>>()?)
    .execute(connection)
    .await?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or_default())
}
