//! What a batch does to accounts, summed: held amounts, balances, and the bookings that say why.
use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::holds::{all_there, minor};
use crate::domain::{Effect, internal};

/// What a batch does to accounts.
#[derive(Debug, Default)]
pub struct Book {
    /// Of customers: what balance and held amount change by, and the currency.
    accounts: BTreeMap<String, (i128, i128)>,
    /// By currency.
    revenues: BTreeMap<String, i128>,
    bookings: Vec<Booking>,
}

#[derive(Debug)]
struct Booking {
    booking_id: Uuid,
    debit: String,
    credit: String,
    amount_minor: i64,
    kind: &'static str,
    payment_id: Option<Uuid>,
}

impl Book {
    /// Adds what a branch or step has done to an account. `booking_id` names the booking, if it has moved money, and
    /// `payment_id` the payment that it is of, unless it makes that itself.
    pub fn add(&mut self, account: &str, currency: &str, effect: Effect, booking_id: Uuid, payment_id: Option<Uuid>) {
        let Effect { held_minor, paid_minor, .. } = effect;
        if (held_minor, paid_minor) == (0, 0) {
            return;
        }
        let (balance, held) = self.accounts.entry(account.to_owned()).or_default();
        *balance -= i128::from(paid_minor);
        *held += i128::from(held_minor);
        if paid_minor == 0 {
            return;
        }
        *self.revenues.entry(currency.to_owned()).or_default() += i128::from(paid_minor);
        let (account, revenue) = (account.to_owned(), internal::revenue(currency));
        let (debit, credit, kind) =
            if paid_minor > 0 { (account, revenue, "capture") } else { (revenue, account, "refund") };
        let amount_minor = paid_minor.saturating_abs();
        self.bookings.push(Booking { booking_id, debit, credit, amount_minor, kind, payment_id });
    }

    /// Writes it: customers' accounts in the order of their names, then the revenue's, then the bookings.
    pub async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Book { mut accounts, revenues, bookings } = self;
        accounts.retain(|_, change| *change != (0, 0));
        if !accounts.is_empty() {
            let minors = |of: fn(&(i128, i128)) -> i128| {
                accounts.values().map(|change| minor(of(change))).collect::<Result<Vec<_>, _>>()
            };
            let changed = sqlx::query(
                "WITH locked AS (
                    SELECT account FROM account WHERE account = ANY($1::text[]) ORDER BY account FOR UPDATE
                 )
                 UPDATE account SET balance_minor = account.balance_minor + c.balance_minor,
                     held_minor = account.held_minor + c.held_minor
                 FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS c (account, balance_minor, held_minor)
                      JOIN locked USING (account)
                 WHERE account.account = c.account",
            )
            .bind(accounts.keys().map(String::as_str).collect::<Vec<_>>())
            .bind(minors(|(balance, _)| *balance)?)
            .bind(minors(|(_, held)| *held)?)
            .execute(&mut *connection)
            .await?;
            all_there(i64::try_from(changed.rows_affected()).unwrap_or(i64::MAX), accounts.len())?;
        }
        if bookings.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "WITH revenue AS (
                INSERT INTO account (account, currency, balance_minor)
                SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
                ON CONFLICT (account) DO UPDATE SET balance_minor = account.balance_minor + EXCLUDED.balance_minor
             )
             INSERT INTO booking (booking_id, debit_account, credit_account, amount_minor, kind, payment_id)
             SELECT * FROM unnest($4::uuid[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::uuid[])",
        )
        .bind(revenues.keys().map(|currency| internal::revenue(currency)).collect::<Vec<_>>())
        .bind(revenues.keys().map(String::as_str).collect::<Vec<_>>())
        .bind(revenues.values().map(|amount| minor(*amount)).collect::<Result<Vec<_>, _>>()?)
        .bind(bookings.iter().map(|booking| booking.booking_id).collect::<Vec<_>>())
        .bind(bookings.iter().map(|booking| booking.debit.as_str()).collect::<Vec<_>>())
        .bind(bookings.iter().map(|booking| booking.credit.as_str()).collect::<Vec<_>>())
        .bind(bookings.iter().map(|booking| booking.amount_minor).collect::<Vec<_>>())
        .bind(bookings.iter().map(|booking| booking.kind).collect::<Vec<_>>())
        .bind(bookings.iter().map(|booking| booking.payment_id).collect::<Vec<_>>())
        .execute(connection)
        .await?;
        Ok(())
    }
}
