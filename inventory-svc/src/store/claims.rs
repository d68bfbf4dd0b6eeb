//! What orders claim of reservations. An order that names none costs nothing here.
use std::collections::{BTreeMap, HashMap};

use participant::PreparedBranch;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Claim, Holds, Reserved};

/// What the reservations of branches have left, locked until the end of the local transaction. One that has run out is
/// good as long as it is still there: nobody else has got its units yet.
pub async fn lock(connection: &mut PgConnection, branches: &[PreparedBranch<Holds>]) -> Result<Reserved, sqlx::Error> {
    let named: Vec<Uuid> = branches.iter().flat_map(|branch| branch.branch.reservation_ids.iter().copied()).collect();
    if named.is_empty() {
        return Ok(Reserved::default());
    }
    let lines: Vec<(Uuid, String, i64)> = sqlx::query_as(
        "SELECT reservation_id, sku, quantity FROM reservation_line WHERE reservation_id = ANY($1::uuid[])
         ORDER BY reservation_id, sku FOR UPDATE",
    )
    .bind(named)
    .fetch_all(connection)
    .await?;
    Ok(Reserved::new(lines))
}

/// Writes down what branches have claimed, and takes it from the reservations.
pub async fn write<'a>(
    connection: &mut PgConnection,
    claimed: impl IntoIterator<Item = (&'a PreparedBranch<Holds>, &'a [Claim])>,
) -> Result<(), sqlx::Error> {
    let (mut transaction_ids, mut all) = (Vec::new(), Vec::new());
    for (branch, claims) in claimed {
        transaction_ids.extend(claims.iter().map(|_| branch.transaction_id));
        all.extend(claims);
    }
    if all.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "WITH claimed AS (
            INSERT INTO reservation_claim (transaction_id, reservation_id, sku, quantity)
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[])
            RETURNING reservation_id, sku, quantity
         ), sums AS (SELECT reservation_id, sku, sum(quantity)::bigint AS quantity FROM claimed GROUP BY 1, 2)
         UPDATE reservation_line SET quantity = reservation_line.quantity - sums.quantity FROM sums
         WHERE reservation_line.reservation_id = sums.reservation_id AND reservation_line.sku = sums.sku",
    )
    .bind(transaction_ids)
    .bind(all.iter().map(|claim| claim.reservation_id).collect::<Vec<_>>())
    .bind(all.iter().map(|claim| claim.sku.as_str()).collect::<Vec<_>>())
    .bind(all.iter().map(|claim| claim.quantity).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets what branches had claimed: it is sold.
pub async fn forget(connection: &mut PgConnection, branches: &[PreparedBranch<Holds>]) -> Result<(), sqlx::Error> {
    let claimants = claimants(branches);
    if !claimants.is_empty() {
        let forget = "DELETE FROM reservation_claim WHERE transaction_id = ANY($1::uuid[])";
        sqlx::query(forget).bind(claimants).execute(connection).await?;
    }
    Ok(())
}

/// Gives back what branches had claimed to the reservations that are still there; answers what these got, by transaction.
pub async fn give_back<'a>(
    connection: &mut PgConnection,
    branches: impl IntoIterator<Item = &'a PreparedBranch<Holds>>,
) -> Result<HashMap<Uuid, Vec<Claim>>, sqlx::Error> {
    let claimants = claimants(branches);
    if claimants.is_empty() {
        return Ok(HashMap::new());
    }
    let claims: Vec<(Uuid, Uuid, String, i64)> = sqlx::query_as(
        "DELETE FROM reservation_claim WHERE transaction_id = ANY($1::uuid[])
         RETURNING transaction_id, reservation_id, sku, quantity",
    )
    .bind(claimants)
    .fetch_all(&mut *connection)
    .await?;
    let mut sums: BTreeMap<(Uuid, &str), i64> = BTreeMap::new();
    for (_, reservation_id, sku, quantity) in &claims {
        *sums.entry((*reservation_id, sku)).or_default() += quantity;
    }
    let alive: Vec<(Uuid, String)> = sqlx::query_as(
        "UPDATE reservation_line SET quantity = reservation_line.quantity + r.quantity
         FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS r (reservation_id, sku, quantity)
         WHERE reservation_line.reservation_id = r.reservation_id AND reservation_line.sku = r.sku
         RETURNING reservation_line.reservation_id, reservation_line.sku",
    )
    .bind(sums.keys().map(|(reservation_id, _)| *reservation_id).collect::<Vec<_>>())
    .bind(sums.keys().map(|(_, sku)| *sku).collect::<Vec<_>>())
    .bind(sums.values().copied().collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut returned: HashMap<Uuid, Vec<Claim>> = HashMap::new();
    for (transaction_id, reservation_id, sku, quantity) in claims {
        if alive.iter().any(|(alive, of)| *alive == reservation_id && *of == sku) {
            returned.entry(transaction_id).or_default().push(Claim { reservation_id, sku, quantity });
        }
    }
    Ok(returned)
}

fn claimants<'a>(branches: impl IntoIterator<Item = &'a PreparedBranch<Holds>>) -> Vec<Uuid> {
    let claimants = branches.into_iter().filter(|branch| !branch.branch.reservation_ids.is_empty());
    claimants.map(|branch| branch.transaction_id).collect()
}
