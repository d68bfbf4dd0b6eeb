//! Authorisations of a batch: held, captured, voided, each with the sums per account.
use std::collections::{BTreeMap, BTreeSet};

use participant::columns::{Columns, Rows};
use participant::{HoldAll, Refusal};
use sqlx::error::BoxDynError;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, PgConnection};
use uuid::Uuid;

use crate::domain::{Authorisation, Funds, decide, internal, sums};

type Sums<'a> = BTreeMap<(&'a str, &'a str), i128>;

macro_rules! authorise {
    () => {
        "UPDATE account SET held_minor = held_minor + s.amount_minor
         FROM (SELECT unnest($1::text[]) AS account, unnest($2::text[]) AS currency, unnest($3::bigint[]) AS amount_minor) AS s
         WHERE account.account = s.account AND account.currency = s.currency
           AND account.balance_minor - account.held_minor >= s.amount_minor
           AND account.account NOT LIKE 'assent:%'
         RETURNING account.account, account.currency"
    };
}

/// Adds captures to the revenue, and books each: the arguments of [`Revenue::add_to`], after three others.
macro_rules! book {
    () => {
        "revenue AS (
            INSERT INTO account (account, currency, balance_minor)
            SELECT unnest($4::text[]), unnest($5::text[]), unnest($6::bigint[])
            ON CONFLICT (account) DO UPDATE SET balance_minor = account.balance_minor + EXCLUDED.balance_minor
         ), booked AS (
            INSERT INTO booking (booking_id, debit_account, credit_account, amount_minor, kind)
            SELECT unnest($7::uuid[]), unnest($8::text[]), unnest($9::text[]), unnest($10::bigint[]), 'capture'
         )"
    };
}

static AUTHORISED: Rows = Rows::new(concat!("held AS (", authorise!(), "),"));

/// How the amounts of a batch are held if there is enough everywhere, and charges that were held are captured; none if it can't be
/// asked.
pub fn authorise_all(
    batch: &[&Authorisation],
    mut charges: Vec<(Uuid, &Authorisation)>,
) -> Result<Option<HoldAll>, sqlx::Error> {
    charges.retain(|(_, charge)| charge.amount_minor != 0);
    let wanted = sums(batch.iter().copied());
    // A sum beyond 64 bits is more than any account has.
    let Ok((accounts, currencies, amounts)) = columns(&wanted) else { return Ok(None) };
    if charges.is_empty() {
        let mut columns = Columns::of(accounts.len());
        let add = || {
            columns.add(accounts)?;
            columns.add(currencies)?;
            columns.add(amounts)
        };
        add().map_err(sqlx::Error::Encode)?;
        let are_held = if columns.is_one() { "EXISTS (SELECT FROM held)" } else { ARE_HELD };
        return Ok(Some(HoldAll::silent(AUTHORISED.text(&columns), are_held, columns.into_arguments())));
    }
    let mut arguments = PgArguments::default();
    let payers = sums(charges.iter().map(|(_, charge)| *charge));
    let accounts: BTreeSet<(&str, &str)> = wanted.keys().chain(payers.keys()).copied().collect();
    let amount = |of: &Sums<'_>, account: &(&str, &str)| of.get(account).map(|amount| minor(*amount)).transpose();
    let wanted = accounts.iter().map(|account| amount(&wanted, account)).collect::<Result<Vec<_>, _>>()?;
    let captured = accounts.iter().map(|account| amount(&payers, account)).collect::<Result<Vec<_>, _>>()?;
    let revenue = Revenue::of(&payers)?;
    let add = || {
        arguments.add(accounts.iter().map(|(account, _)| *account).collect::<Vec<_>>())?;
        arguments.add(accounts.iter().map(|(_, currency)| *currency).collect::<Vec<_>>())?;
        arguments.add(wanted)?;
        revenue.add_to(&mut arguments, &charges)?;
        arguments.add(captured)
    };
    add().map_err(sqlx::Error::Encode)?;
    let with = concat!(
        "held AS (
             UPDATE account SET balance_minor = balance_minor - coalesce(s.captured_minor, 0),
                    held_minor = held_minor + coalesce(s.wanted_minor, 0) - coalesce(s.captured_minor, 0)
             FROM (SELECT unnest($1::text[]) AS account, unnest($2::text[]) AS currency, unnest($3::bigint[]) AS wanted_minor,
                          unnest($11::bigint[]) AS captured_minor) AS s
             WHERE account.account = s.account AND account.currency = s.currency
               AND (s.wanted_minor IS NULL OR account.balance_minor - account.held_minor >= s.wanted_minor
                                              AND account.account NOT LIKE 'assent:%')
             RETURNING 1
         ),",
        book!(),
        ","
    );
    Ok(Some(HoldAll::silent(with, ARE_HELD, arguments)))
}

/// Whether all accounts of [`authorise_all`] were changed.
const ARE_HELD: &str = "(SELECT count(*) FROM held) = cardinality($1::text[])";

/// What captures add to the revenue of their currencies.
struct Revenue<'a> {
    accounts: Vec<String>,
    currencies: Vec<&'a str>,
    amounts: Vec<i64>,
}

impl<'a> Revenue<'a> {
    fn of(payers: &Sums<'a>) -> Result<Self, sqlx::Error> {
        let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
        for ((_, currency), amount) in payers {
            *sums.entry(currency).or_default() += amount;
        }
        Ok(Revenue {
            accounts: sums.keys().map(|currency| internal::revenue(currency)).collect(),
            currencies: sums.keys().copied().collect(),
            amounts: sums.values().map(|amount| minor(*amount)).collect::<Result<_, _>>()?,
        })
    }

    fn add_to(self, arguments: &mut PgArguments, charges: &[(Uuid, &Authorisation)]) -> Result<(), BoxDynError> {
        arguments.add(self.accounts)?;
        arguments.add(self.currencies)?;
        arguments.add(self.amounts)?;
        arguments.add(charges.iter().map(|(id, _)| *id).collect::<Vec<_>>())?;
        arguments.add(charges.iter().map(|(_, charge)| charge.account.as_str()).collect::<Vec<_>>())?;
        arguments.add(charges.iter().map(|(_, charge)| internal::revenue(&charge.currency)).collect::<Vec<_>>())?;
        arguments.add(charges.iter().map(|(_, charge)| charge.amount_minor).collect::<Vec<_>>())
    }
}

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
        sqlx::query_as(authorise!()).bind(accounts).bind(currencies).bind(amounts).fetch_all(&mut *connection).await?
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
    let (accounts, currencies, amounts) = columns(&payers)?;
    let revenue = Revenue::of(&payers)?;
    let mut arguments = PgArguments::default();
    let add = || {
        arguments.add(accounts)?;
        arguments.add(currencies)?;
        arguments.add(amounts)?;
        revenue.add_to(&mut arguments, &paid)
    };
    add().map_err(sqlx::Error::Encode)?;
    let capture = concat!(
        "WITH payers AS (
            UPDATE account SET balance_minor = balance_minor - s.amount_minor, held_minor = held_minor - s.amount_minor
            FROM unnest($1::text[], $2::text[], $3::bigint[]) AS s (account, currency, amount_minor)
            WHERE account.account = s.account AND account.currency = s.currency
            RETURNING 1
         ), ",
        book!(),
        " SELECT count(*) FROM payers"
    );
    let captured: i64 = sqlx::query_scalar_with(capture, arguments).fetch_one(connection).await?;
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

type Listed<'a> = (Vec<&'a str>, Vec<&'a str>, Vec<i64>);

fn columns<'a>(sums: &Sums<'a>) -> Result<Listed<'a>, sqlx::Error> {
    let mut columns = Listed::default();
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
