//! Accounts as shops open, fill and read them, one at a time.
use chrono::{DateTime, Utc};
use participant::own_request;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::domain::{Account, Denied, internal};

/// Money that comes into an account, under the client's name for it.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The account.
    pub account: String,
    /// In which currency.
    pub currency: String,
    /// How much, in its minor unit.
    pub amount_minor: i64,
    /// Who asks.
    pub client_id: String,
    /// The client's name for the request; empty if it has none.
    pub request_id: String,
}

type Row = (String, String, i64, i64, DateTime<Utc>);

fn account((account, currency, balance_minor, held_minor, create_time): Row) -> Account {
    Account { account, currency, balance_minor, held_minor, create_time }
}

/// Reads an account.
pub async fn get(executor: impl PgExecutor<'_>, name: &str) -> Result<Option<Account>, sqlx::Error> {
    let row = sqlx::query_as(
        "SELECT account, currency, balance_minor, held_minor, create_time FROM account WHERE account = $1",
    )
    .bind(name)
    .fetch_optional(executor)
    .await?;
    Ok(row.map(account))
}

/// Opens an account with what it begins with, once for each request.
pub async fn open(connection: &mut PgConnection, opening: &Incoming) -> Result<Result<Account, Denied>, sqlx::Error> {
    match note(connection, "open", opening).await? {
        Err(reused) => return Ok(Err(reused.into())),
        Ok(false) => return present(connection, &opening.account).await,
        Ok(true) => (),
    }
    let opened = sqlx::query("INSERT INTO account (account, currency) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(&opening.account)
        .bind(&opening.currency)
        .execute(&mut *connection)
        .await?;
    match (opened.rows_affected(), opening.amount_minor) {
        (0, _) => Ok(Err(Denied::AccountExists { account: opening.account.clone() })),
        (_, 0) => present(connection, &opening.account).await,
        _ => book(connection, opening).await,
    }
}

/// Puts money into an account, once for each request.
pub async fn deposit(
    connection: &mut PgConnection,
    deposit: &Incoming,
) -> Result<Result<Account, Denied>, sqlx::Error> {
    match note(connection, "deposit", deposit).await? {
        Err(reused) => Ok(Err(reused.into())),
        Ok(false) => present(connection, &deposit.account).await,
        Ok(true) => book(connection, deposit).await,
    }
}

async fn note(
    connection: &mut PgConnection,
    verb: &str,
    incoming: &Incoming,
) -> Result<Result<bool, own_request::Reused>, sqlx::Error> {
    let Incoming { account, currency, amount_minor, client_id, request_id } = incoming;
    let parameters = format!("{verb} {account} with {amount_minor} minor units of {currency}");
    own_request::note(connection, client_id, request_id, &parameters).await
}

async fn present(connection: &mut PgConnection, name: &str) -> Result<Result<Account, Denied>, sqlx::Error> {
    Ok(get(connection, name).await?.ok_or_else(|| Denied::UnknownAccount { account: name.to_owned() }))
}

/// Books a deposit: from the external account into this one.
async fn book(connection: &mut PgConnection, incoming: &Incoming) -> Result<Result<Account, Denied>, sqlx::Error> {
    match credit(connection, incoming).await {
        // A balance beyond 64 bits: this one's, or below zero the external one's.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("22003") => Ok(Err(Denied::OutOfRange)),
        credited => credited,
    }
}

async fn credit(connection: &mut PgConnection, incoming: &Incoming) -> Result<Result<Account, Denied>, sqlx::Error> {
    let Incoming { account: name, currency, amount_minor, .. } = incoming;
    let row: Option<Row> = sqlx::query_as(
        "UPDATE account SET balance_minor = balance_minor + $3 WHERE account = $1 AND currency = $2
         RETURNING account, currency, balance_minor, held_minor, create_time",
    )
    .bind(name)
    .bind(currency)
    .bind(amount_minor)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        return Ok(Err(match get(connection, name).await? {
            Some(Account { account, currency: other, .. }) => {
                Denied::CurrencyMismatch { account, currency: other, requested: currency.clone() }
            }
            None => Denied::UnknownAccount { account: name.clone() },
        }));
    };
    // The external account last: all deposits wait for each other there, so nobody may wait for anything after it.
    sqlx::query(
        "WITH booked AS (
            INSERT INTO booking (booking_id, debit_account, credit_account, amount_minor, kind)
            SELECT $1::uuid, $3::text, $2::text, $4::bigint, 'deposit' WHERE $4::bigint > 0
         )
         INSERT INTO account (account, currency, balance_minor) VALUES ($3, $5, -$4)
         ON CONFLICT (account) DO UPDATE SET balance_minor = account.balance_minor + EXCLUDED.balance_minor",
    )
    .bind(Uuid::now_v7())
    .bind(name)
    .bind(internal::external(currency))
    .bind(amount_minor)
    .bind(currency)
    .execute(connection)
    .await?;
    Ok(Ok(account(row)))
}
