//! Whether the stock agrees with itself, with its ledger and with the transactions that hold it.
use std::collections::{BTreeMap, HashSet};

use participant::PreparedBranch;
use participant::audit::{Check, Violation};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{backorders, locations, replay, reservations, waitlist};
use crate::domain::{Difference, Holds, sums};

/// Checks no-orphan-holds and no-oversell, by the stock; stock-conserved: that the stock is what its movements come to; and
/// waiters-first: that nothing is for sale that somebody waits for.
pub async fn check(
    connection: &mut PgConnection,
    prepared: &[PreparedBranch<Holds>],
) -> Result<Vec<Check>, sqlx::Error> {
    let checked_count: i64 = sqlx::query_scalar("SELECT count(*) FROM stock").fetch_one(&mut *connection).await?;
    // What is neither held nor wrong can't violate anything: it stays in the database.
    let touched: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "SELECT sku, on_hand, held, coalesce(reserved, 0) FROM stock
         WHERE held <> 0 OR reserved <> 0 OR on_hand < 0 ORDER BY sku",
    )
    .fetch_all(&mut *connection)
    .await?;
    let replayed = replay::all(connection).await?;
    // What is in doubt holds less than it is for where it may be owed some.
    let held_by = match backorders::is_among(prepared) {
        true => backorders::held_of(&mut *connection, prepared).await?,
        false => prepared.to_vec(),
    };
    let misplaced = locations::differing(connection).await?.into_iter();
    let misplaced = misplaced.map(|(subject, detail)| Violation { subject, detail, ..Violation::default() });
    let oversold = touched.iter().filter(|(_, on_hand, held, reserved)| {
        *held < 0 || *reserved < 0 || i128::from(*held) + i128::from(*reserved) > i128::from(*on_hand)
    });
    let oversold = oversold.map(|(sku, on_hand, held, reserved)| Violation {
        subject: sku.clone(),
        detail: match reserved {
            0 => format!("{held} held of {on_hand} on hand"),
            _ => format!("{held} held and {reserved} reserved of {on_hand} on hand"),
        },
        ..Violation::default()
    });
    let held: Vec<(&str, i64)> = touched.iter().map(|(sku, _, held, _)| (sku.as_str(), *held)).collect();
    let orphans = orphans(&held, &held_by).into_iter().chain(of_reservations(connection, prepared).await?);
    let unserved = backorders::unserved(&mut *connection).await?.into_iter();
    let unfair = unserved.chain(waitlist::unfair(connection).await?);
    let unfair = unfair.map(|(subject, detail)| Violation { subject, detail, ..Violation::default() }).collect();
    Ok(vec![
        Check { invariant: "waiters-first", checked_count, violations: unfair },
        Check { invariant: "no-orphan-holds", checked_count, violations: orphans.collect() },
        Check { invariant: "no-oversell", checked_count, violations: oversold.collect() },
        Check {
            invariant: "stock-conserved",
            checked_count,
            violations: replayed.into_iter().map(violation).chain(misplaced).collect(),
        },
    ])
}

fn violation(difference: Difference) -> Violation {
    let transaction_id = difference.movement.and_then(|movement| movement.transaction_id);
    Violation {
        transaction_id: transaction_id.map(|id| id.to_string()).unwrap_or_default(),
        subject: difference.sku,
        detail: difference.detail,
    }
}

/// SKUs of which more or less is reserved than reservations have, and claims of transactions that are in doubt no longer.
async fn of_reservations(
    connection: &mut PgConnection,
    prepared: &[PreparedBranch<Holds>],
) -> Result<Vec<Violation>, sqlx::Error> {
    let differing = reservations::differing(&mut *connection).await?;
    let differing = differing.into_iter().map(|(sku, said, had)| Violation {
        subject: sku,
        detail: format!("{said} reserved, but the reservations have {had}"),
        ..Violation::default()
    });
    let prepared: HashSet<Uuid> = prepared.iter().map(|branch| branch.transaction_id).collect();
    let claimants = reservations::claimants(connection).await?.into_iter();
    let ended = claimants.filter(|transaction_id| !prepared.contains(transaction_id)).map(|transaction_id| Violation {
        transaction_id: transaction_id.to_string(),
        subject: "reservations".to_owned(),
        detail: "has claimed of a reservation, and is not in doubt any more".to_owned(),
    });
    Ok(differing.chain(ended).collect())
}

/// SKUs of which more or less is held than the prepared transactions hold.
fn orphans(touched: &[(&str, i64)], prepared: &[PreparedBranch<Holds>]) -> Vec<Violation> {
    let mut expected = sums(prepared.iter().map(|branch| &*branch.branch));
    let mut differing: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for (sku, held) in touched {
        let by_transactions = expected.remove(*sku).unwrap_or_default();
        if *held != by_transactions {
            differing.insert(sku, (*held, by_transactions));
        }
    }
    differing.extend(expected.into_iter().map(|(sku, by_transactions)| (sku, (0, by_transactions))));
    let violation = |(sku, (held, by_transactions)): (&str, (i64, i64))| {
        let holders = prepared.iter().filter(|branch| branch.branch.iter().any(|(other, _)| other == sku));
        let holders: Vec<String> = holders.map(|branch| branch.transaction_id.to_string()).collect();
        Violation {
            // Only one that holds it alone can be named as the one concerned.
            transaction_id: if let [only] = holders.as_slice() { only.clone() } else { String::new() },
            subject: sku.to_owned(),
            detail: format!("{held} held, but the {} prepared transactions hold {by_transactions}", holders.len()),
        }
    };
    differing.into_iter().map(violation).collect()
}
