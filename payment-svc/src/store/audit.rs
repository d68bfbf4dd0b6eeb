//! Whether the ledger agrees with itself and with the transactions that have authorised amounts.
use std::collections::BTreeMap;

use participant::PreparedBranch;
use participant::audit::{Check, Violation};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::Branch;

/// Checks no-orphan-holds: what is held is what the prepared transactions and the authorisations that stand hold, and what
/// is promised of payments is what prepared transactions have been promised.
pub async fn orphan_holds(
    connection: &mut PgConnection,
    prepared: &[PreparedBranch<Branch>],
) -> Result<Check, sqlx::Error> {
    let checked_count: i64 = sqlx::query_scalar("SELECT count(*) FROM account").fetch_one(&mut *connection).await?;
    let held: Vec<(String, i64)> =
        sqlx::query_as("SELECT account, held_minor FROM account WHERE held_minor <> 0 ORDER BY account")
            .fetch_all(&mut *connection)
            .await?;
    // What counts towards an authorisation in doubt is in that one's amount.
    let standing: Vec<(String, i64)> = sqlx::query_as(
        "SELECT account, sum(authorised_minor - captured_minor - released_minor - credit_minor)::bigint FROM payment
         WHERE ended IS NULL OR capturing_minor <> 0 OR credit_minor <> 0 GROUP BY account ORDER BY account",
    )
    .fetch_all(&mut *connection)
    .await?;
    // What is held, what transactions hold, and what stands.
    let mut all: BTreeMap<&str, (i128, i128, i128)> = BTreeMap::new();
    for (account, held_minor) in &held {
        all.entry(account).or_default().0 = i128::from(*held_minor);
    }
    let holders = || prepared.iter().filter_map(|branch| Some((branch.transaction_id, branch.branch.authorisation()?)));
    for (_, authorisation) in holders() {
        all.entry(&authorisation.account).or_default().1 += i128::from(authorisation.amount_minor);
    }
    for (account, standing_minor) in &standing {
        all.entry(account).or_default().2 = i128::from(*standing_minor);
    }
    all.retain(|_, (held, by_transactions, standing)| *held != *by_transactions + *standing);
    let violation = |(account, (held, by_transactions, standing)): (&str, (i128, i128, i128))| {
        let holders: Vec<String> =
            holders().filter(|(_, it)| it.account == account).map(|(id, _)| id.to_string()).collect();
        let mut detail =
            format!("{held} minor units held, but the {} prepared transactions hold {by_transactions}", holders.len());
        if standing != 0 {
            detail.push_str(&format!(", and the authorisations that stand {standing}"));
        }
        Violation {
            // Only one that holds it alone can be named as the one concerned.
            transaction_id: if let [only] = holders.as_slice() { only.clone() } else { String::new() },
            subject: account.to_owned(),
            detail,
        }
    };
    let mut violations: Vec<Violation> = all.into_iter().map(violation).collect();
    violations.extend(orphan_promises(connection, prepared).await?);
    Ok(Check { invariant: "no-orphan-holds", checked_count, violations })
}

/// Promises of payments that are not those of the prepared transactions.
pub async fn orphan_promises(
    connection: &mut PgConnection,
    prepared: &[PreparedBranch<Branch>],
) -> Result<Vec<Violation>, sqlx::Error> {
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Promised {
        capturing_minor: i64,
        refunding_minor: i64,
        closing_id: Option<Uuid>,
    }
    let rows: Vec<(Uuid, i64, i64, Option<Uuid>)> = sqlx::query_as(
        "SELECT payment_id, capturing_minor, refunding_minor, closing_id FROM payment
         WHERE capturing_minor <> 0 OR refunding_minor <> 0 OR closing_id IS NOT NULL",
    )
    .fetch_all(connection)
    .await?;
    let mut both: BTreeMap<Uuid, (Promised, Promised)> = BTreeMap::new();
    for (payment_id, capturing_minor, refunding_minor, closing_id) in rows {
        both.entry(payment_id).or_default().0 = Promised { capturing_minor, refunding_minor, closing_id };
    }
    for PreparedBranch { transaction_id, branch } in prepared {
        let Some(payment_id) = branch.payment_id() else { continue };
        let wanted = &mut both.entry(payment_id).or_default().1;
        let mut is_last = true;
        match &**branch {
            Branch::Capture { part, is_final } => {
                wanted.capturing_minor += part.amount_minor;
                is_last = *is_final;
            }
            Branch::Refund(part) => {
                wanted.refunding_minor += part.amount_minor;
                is_last = false;
            }
            Branch::Charge(_) | Branch::Authorise { .. } | Branch::Void { .. } => (),
        }
        if is_last {
            wanted.closing_id = Some(*transaction_id);
        }
    }
    both.retain(|_, (promised, wanted)| promised != wanted);
    let violation = |(payment_id, (promised, wanted)): (Uuid, (Promised, Promised))| Violation {
        transaction_id: promised.closing_id.or(wanted.closing_id).map(|id| id.to_string()).unwrap_or_default(),
        subject: payment_id.to_string(),
        detail: format!("of this payment {promised:?}, but the prepared transactions say {wanted:?}"),
    };
    Ok(both.into_iter().map(violation).collect())
}

/// Payments whose figures are not the sums of their bookings, and refunds of none.
async fn wrong_payments(connection: &mut PgConnection) -> Result<Vec<Violation>, sqlx::Error> {
    let rows: Vec<(Uuid, String, String, String, String)> = sqlx::query_as(
        "SELECT payment_id, coalesce(captured, 0)::text, coalesce(refunded, 0)::text, coalesce(p.captured_minor, 0)::text,
                coalesce(p.refunded_minor, 0)::text
         FROM payment p FULL JOIN (
             SELECT coalesce(payment_id, booking_id) AS payment_id,
                    sum(amount_minor) FILTER (WHERE kind = 'capture') AS captured,
                    sum(amount_minor) FILTER (WHERE kind = 'refund') AS refunded
             FROM booking WHERE payment_id IS NOT NULL OR booking_id IN (SELECT payment_id FROM payment WHERE expire_time IS NULL)
             GROUP BY 1
         ) b USING (payment_id)
         WHERE (coalesce(captured, 0), coalesce(refunded, 0))
               IS DISTINCT FROM (coalesce(p.captured_minor, 0)::numeric, coalesce(p.refunded_minor, 0)::numeric)
            OR coalesce(p.refunded_minor, 0) > coalesce(p.captured_minor, 0)
         ORDER BY payment_id LIMIT 100",
    )
    .fetch_all(connection)
    .await?;
    let violation = |(payment_id, captured, refunded, says_captured, says_refunded): (Uuid, _, _, _, _)| Violation {
        subject: payment_id.to_string(),
        detail: format!(
            "this payment says {says_captured} minor units captured and {says_refunded} refunded, but its bookings sum to \
             {captured} and {refunded}"
        ),
        ..Violation::default()
    };
    Ok(rows
        .into_iter()
        .map(|(id, c, r, sc, sr): (Uuid, String, String, String, String)| violation((id, c, r, sc, sr)))
        .collect())
}

/// Checks money-conserved: every booking is between two accounts of one currency, every balance is the sum of its
/// bookings, what a payment says was captured and refunded is what was booked, and all balances of a currency sum to zero. Sums go as text, because they may not fit 64 bits where something
/// is wrong.
pub async fn money_conserved(connection: &mut PgConnection) -> Result<Check, sqlx::Error> {
    let checked_count: i64 = sqlx::query_scalar("SELECT count(*) FROM booking").fetch_one(&mut *connection).await?;
    let mut violations = Vec::new();
    let bookings: Vec<(Uuid, String, String)> = sqlx::query_as(
        "SELECT booking_id, debit_account, credit_account FROM booking
         LEFT JOIN account d ON d.account = debit_account LEFT JOIN account c ON c.account = credit_account
         WHERE d.currency IS DISTINCT FROM c.currency OR d.currency IS NULL ORDER BY booking_id LIMIT 100",
    )
    .fetch_all(&mut *connection)
    .await?;
    violations.extend(bookings.into_iter().map(|(booking_id, debit, credit)| Violation {
        transaction_id: booking_id.to_string(),
        subject: booking_id.to_string(),
        detail: format!("this booking from {debit} to {credit} is not between two accounts of one currency"),
    }));
    let balances: Vec<(String, i64, String)> = sqlx::query_as(
        "SELECT account, balance_minor, coalesce(booked, 0)::text
         FROM account LEFT JOIN (
             SELECT side.account, sum(side.change_minor) AS booked
             FROM booking, LATERAL (VALUES (debit_account, -amount_minor), (credit_account, amount_minor))
                  AS side (account, change_minor)
             GROUP BY side.account
         ) e USING (account)
         WHERE balance_minor <> coalesce(booked, 0) ORDER BY account LIMIT 100",
    )
    .fetch_all(&mut *connection)
    .await?;
    violations.extend(balances.into_iter().map(|(account, balance, booked)| Violation {
        subject: account,
        detail: format!("the balance is {balance} minor units, but the bookings sum to {booked}"),
        ..Violation::default()
    }));
    let currencies: Vec<(String, String)> = sqlx::query_as(
        "SELECT currency, sum(balance_minor)::text FROM account GROUP BY currency HAVING sum(balance_minor) <> 0 ORDER BY currency",
    )
    .fetch_all(&mut *connection)
    .await?;
    violations.extend(currencies.into_iter().map(|(currency, sum)| Violation {
        subject: currency,
        detail: format!("all balances of this currency sum to {sum} minor units, not to zero"),
        ..Violation::default()
    }));
    violations.extend(wrong_payments(connection).await?);
    Ok(Check { invariant: "money-conserved", checked_count, violations })
}
