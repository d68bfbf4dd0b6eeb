//! Payments' rows: locked in the order of their ids, changed in memory, written back.
use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use participant::{Pool, Refusal};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgExecutor, Row as _};
use uuid::Uuid;

use crate::domain::payment::{payment_in_doubt, unknown_payment};
use crate::domain::{Authorisation, Ended, Entry, Payment};

/// The columns of a payment; they are read by name.
macro_rules! select_payment {
    ($rest:literal) => {
        concat!(
            "SELECT payment_id, account, currency, authorised_minor, captured_minor, refunded_minor, released_minor, ",
            "capturing_minor, refunding_minor, credit_minor, closing_id, ended, expire_time, create_time, ",
            "coalesce(expire_time <= clock_timestamp(), false) AS is_overdue FROM payment ",
            $rest
        )
    };
}
pub(super) use select_payment;

impl FromRow<'_, PgRow> for Payment {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let ended: Option<String> = row.try_get("ended")?;
        Ok(Payment {
            payment_id: row.try_get("payment_id")?,
            account: row.try_get("account")?,
            currency: row.try_get("currency")?,
            authorised_minor: row.try_get("authorised_minor")?,
            captured_minor: row.try_get("captured_minor")?,
            refunded_minor: row.try_get("refunded_minor")?,
            released_minor: row.try_get("released_minor")?,
            capturing_minor: row.try_get("capturing_minor")?,
            refunding_minor: row.try_get("refunding_minor")?,
            credit_minor: row.try_get("credit_minor")?,
            closing_id: row.try_get("closing_id")?,
            ended: ended.as_deref().map(ended_of).transpose()?,
            expire_time: row.try_get("expire_time")?,
            is_overdue: row.try_get("is_overdue")?,
            create_time: row.try_get("create_time")?,
        })
    }
}

fn ended_of(text: &str) -> Result<Ended, sqlx::Error> {
    match text {
        "captured" => Ok(Ended::Captured),
        "voided" => Ok(Ended::Voided),
        "expired" => Ok(Ended::Expired),
        "replaced" => Ok(Ended::Replaced),
        _ => Err(sqlx::Error::Decode(format!("{text:?} is no end of a payment").into())),
    }
}

fn ended_text(ended: Ended) -> &'static str {
    match ended {
        Ended::Captured => "captured",
        Ended::Voided => "voided",
        Ended::Expired => "expired",
        Ended::Replaced => "replaced",
    }
}

/// Payments that are locked, and what they were when they were.
#[derive(Debug, Default)]
pub struct Locked {
    before: Vec<Payment>,
    now: BTreeMap<Uuid, Payment>,
    in_doubt: HashSet<Uuid>,
}

impl Locked {
    /// Those given, locked already.
    pub fn of(before: Vec<Payment>) -> Self {
        let now = before.iter().map(|payment| (payment.payment_id, payment.clone())).collect();
        Locked { before, now, in_doubt: HashSet::new() }
    }

    /// One of them, to change it.
    pub fn get(&mut self, payment_id: Uuid) -> Result<&mut Payment, Refusal> {
        let in_doubt = self.in_doubt.contains(&payment_id);
        self.now.get_mut(&payment_id).ok_or_else(|| match in_doubt {
            true => payment_in_doubt(payment_id),
            false => unknown_payment(payment_id),
        })
    }

    /// One that a promise was given of.
    pub fn promised(&mut self, payment_id: Uuid) -> Result<&mut Payment, sqlx::Error> {
        self.now.get_mut(&payment_id).ok_or_else(|| {
            tracing::error!(%payment_id, "a payment of which something was promised is missing");
            sqlx::Error::RowNotFound
        })
    }

    /// All of them, to change them.
    pub fn all(&mut self) -> impl Iterator<Item = &mut Payment> {
        self.now.values_mut()
    }

    /// Writes back what has changed.
    pub async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Locked { before, now, .. } = self;
        let changed: Vec<&Payment> =
            before.iter().filter_map(|it| now.get(&it.payment_id).filter(|payment| *payment != it)).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let amounts = |of: fn(&Payment) -> i64| changed.iter().map(|payment| of(payment)).collect::<Vec<i64>>();
        sqlx::query(
            "UPDATE payment SET captured_minor = c.captured_minor, refunded_minor = c.refunded_minor,
                 released_minor = c.released_minor, capturing_minor = c.capturing_minor,
                 refunding_minor = c.refunding_minor, credit_minor = c.credit_minor, closing_id = c.closing_id,
                 ended = c.ended
             FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                         $8::uuid[], $9::text[])
                  AS c (payment_id, captured_minor, refunded_minor, released_minor, capturing_minor, refunding_minor,
                        credit_minor, closing_id, ended)
             WHERE payment.payment_id = c.payment_id",
        )
        .bind(changed.iter().map(|payment| payment.payment_id).collect::<Vec<_>>())
        .bind(amounts(|payment| payment.captured_minor))
        .bind(amounts(|payment| payment.refunded_minor))
        .bind(amounts(|payment| payment.released_minor))
        .bind(amounts(|payment| payment.capturing_minor))
        .bind(amounts(|payment| payment.refunding_minor))
        .bind(amounts(|payment| payment.credit_minor))
        .bind(changed.iter().map(|payment| payment.closing_id).collect::<Vec<_>>())
        .bind(changed.iter().map(|payment| payment.ended.map(ended_text)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Locks payments. A charge gets its row here, made of its booking; those that are not decided yet are remembered.
pub async fn lock(
    connection: &mut PgConnection,
    payment_ids: impl IntoIterator<Item = Uuid>,
) -> Result<Locked, sqlx::Error> {
    let ids: Vec<Uuid> = payment_ids.into_iter().collect();
    if ids.is_empty() {
        return Ok(Locked::default());
    }
    sqlx::query(
        "INSERT INTO payment (payment_id, account, currency, authorised_minor, captured_minor, ended, create_time)
         SELECT booking_id, debit_account, currency, amount_minor, amount_minor, 'captured', booking.create_time
         FROM booking JOIN account ON account = debit_account
         WHERE booking_id = ANY($1::uuid[]) AND kind = 'capture' AND payment_id IS NULL
         ORDER BY booking_id ON CONFLICT DO NOTHING",
    )
    .bind(&ids)
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query_as(select_payment!("WHERE payment_id = ANY($1::uuid[]) ORDER BY payment_id FOR UPDATE"));
    let mut locked = Locked::of(rows.bind(&ids).fetch_all(&mut *connection).await?);
    let missing: Vec<Uuid> = ids.into_iter().filter(|id| !locked.now.contains_key(id)).collect();
    if !missing.is_empty() {
        let in_doubt = "SELECT transaction_id FROM unnest($1::uuid[]) AS asked (id)
                  JOIN branch_with_state ON transaction_id = asked.id AND state = 1";
        locked.in_doubt = sqlx::query_scalar(in_doubt).bind(missing).fetch_all(connection).await?.into_iter().collect();
    }
    Ok(locked)
}

/// Which of these transactions have made a payment already.
pub async fn existing(connection: &mut PgConnection, ids: &[Uuid]) -> Result<HashSet<Uuid>, sqlx::Error> {
    let made: Vec<Uuid> = sqlx::query_scalar(
        "SELECT payment_id FROM payment WHERE payment_id = ANY($1::uuid[])
         UNION SELECT booking_id FROM booking WHERE booking_id = ANY($1::uuid[])",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(made.into_iter().collect())
}

/// A payment that is made.
#[derive(Debug, Clone, Copy)]
pub struct NewPayment<'a> {
    /// The transaction that makes it.
    pub payment_id: Uuid,
    /// What is authorised.
    pub authorisation: &'a Authorisation,
    /// Whether it is captured at once.
    pub is_charge: bool,
}

/// Writes payments: authorisations that stand so long from now on, and charges.
pub async fn insert(
    connection: &mut PgConnection,
    new: &[NewPayment<'_>],
    validity_ms: i64,
) -> Result<(), sqlx::Error> {
    if new.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO payment (payment_id, account, currency, authorised_minor, captured_minor, ended, expire_time)
         SELECT payment_id, account, currency, amount_minor, CASE WHEN is_charge THEN amount_minor ELSE 0 END,
                CASE WHEN is_charge THEN 'captured' END,
                CASE WHEN NOT is_charge THEN now() + $6 * interval '1 millisecond' END
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::boolean[])
              AS a (payment_id, account, currency, amount_minor, is_charge)",
    )
    .bind(new.iter().map(|it| it.payment_id).collect::<Vec<_>>())
    .bind(new.iter().map(|it| it.authorisation.account.as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(|it| it.authorisation.currency.as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(|it| it.authorisation.amount_minor).collect::<Vec<_>>())
    .bind(new.iter().map(|it| it.is_charge).collect::<Vec<_>>())
    .bind(validity_ms)
    .execute(connection)
    .await?;
    Ok(())
}

/// Reads a payment with its captures and refunds, oldest first.
pub async fn get(pool: &Pool, payment_id: Uuid) -> Result<Option<(Payment, Vec<Entry>)>, sqlx::Error> {
    let next = payment_id.as_u128().checked_add(1).map_or_else(Uuid::max, Uuid::from_u128);
    let found = list(pool, None, next, 1).await?.pop().filter(|payment| payment.payment_id == payment_id);
    let Some(payment) = found else { return Ok(None) };
    let rows: Vec<(Uuid, i64, String, DateTime<Utc>)> = sqlx::query_as(
        "SELECT booking_id, CASE kind WHEN 'refund' THEN amount_minor ELSE -amount_minor END, kind, create_time
         FROM booking WHERE payment_id = $1 OR (booking_id = $1 AND payment_id IS NULL AND kind = 'capture' AND $2)
         ORDER BY create_time, booking_id",
    )
    .bind(payment_id)
    .bind(payment.expire_time.is_none())
    .fetch_all(pool)
    .await?;
    let entry = |(booking_id, amount_minor, kind, create_time)| Entry { booking_id, amount_minor, kind, create_time };
    Ok(Some((payment, rows.into_iter().map(entry).collect())))
}

/// Reads payments before `before`, newest first: one, those of an account, or all. A charge without a row is read from its
/// booking.
pub async fn list(
    executor: impl PgExecutor<'_>,
    account: Option<&str>,
    before: Uuid,
    limit: usize,
) -> Result<Vec<Payment>, sqlx::Error> {
    sqlx::query_as(
        "(SELECT payment_id, account, currency, authorised_minor, captured_minor, refunded_minor, released_minor,
                 capturing_minor, refunding_minor, credit_minor, closing_id, ended, expire_time, create_time,
                 coalesce(expire_time <= clock_timestamp(), false) AS is_overdue
          FROM payment WHERE payment_id < $2 AND ($1::text IS NULL OR account = $1)
          ORDER BY payment_id DESC LIMIT $3)
         UNION ALL
         (SELECT booking_id, debit_account, currency, amount_minor, amount_minor, 0, 0, 0, 0, 0, NULL, 'captured', NULL,
                 booking.create_time, false
          FROM booking JOIN account ON account = debit_account
          WHERE booking_id < $2 AND ($1::text IS NULL OR debit_account = $1) AND kind = 'capture' AND payment_id IS NULL
            AND NOT EXISTS (SELECT FROM payment WHERE payment.payment_id = booking_id)
          ORDER BY booking_id DESC LIMIT $3)
         ORDER BY payment_id DESC LIMIT $3",
    )
    .bind(account)
    .bind(before)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(executor)
    .await
}
