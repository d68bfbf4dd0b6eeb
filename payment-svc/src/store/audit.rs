//! Whether the ledger agrees with itself and with the transactions that have authorised amounts.
use std::collections::BTreeMap;

use participant::PreparedBranch;
use participant::audit::{Check, Violation};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::Authorisation;

/// Checks no-orphan-holds: what is held is what the prepared transactions have authorised.
pub async fn orphan_holds(
    connection: &mut PgConnection,
    prepared: &[PreparedBranch<Authorisation>],
) -> Result<Check, sqlx::Error> {
    let checked_count: i64 = sqlx::query_scalar("SELECT count(*) FROM account").fetch_one(&mut *connection).await?;
    let held: Vec<(String, i64)> =
        sqlx::query_as("SELECT account, held_minor FROM account WHERE held_minor <> 0 ORDER BY account")
            .fetch_all(connection)
            .await?;
    // What is held, and what transactions hold.
    let mut both: BTreeMap<&str, (i128, i128)> = BTreeMap::new();
    for (account, held_minor) in &held {
        both.entry(account).or_default().0 = i128::from(*held_minor);
    }
    for PreparedBranch { branch, .. } in prepared {
        both.entry(&branch.account).or_default().1 += i128::from(branch.amount_minor);
    }
    both.retain(|_, (held, by_transactions)| held != by_transactions);
    let violation = |(account, (held, by_transactions)): (&str, (i128, i128))| {
        let holders = prepared.iter().filter(|branch| branch.branch.account == account);
        let holders: Vec<String> = holders.map(|branch| branch.transaction_id.to_string()).collect();
        Violation {
            // Only one that holds it alone can be named as the one concerned.
            transaction_id: if let [only] = holders.as_slice() { only.clone() } else { String::new() },
            subject: account.to_owned(),
            detail: format!(
                "{held} minor units held, but the {} prepared transactions hold {by_transactions}",
                holders.len()
            ),
        }
    };
    let violations = both.into_iter().map(violation).collect();
    Ok(Check { invariant: "no-orphan-holds", checked_count, violations })
}

/// Checks money-conserved: every booking is between two accounts of one currency, every balance is the sum of its
/// bookings, and all balances of a currency sum to zero. Sums go as text, because they may not fit 64 bits where something
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
    .fetch_all(connection)
    .await?;
    violations.extend(currencies.into_iter().map(|(currency, sum)| Violation {
        subject: currency,
        detail: format!("all balances of this currency sum to {sum} minor units, not to zero"),
        ..Violation::default()
    }));
    Ok(Check { invariant: "money-conserved", checked_count, violations })
}
