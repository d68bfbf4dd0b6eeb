//! Orders that may be owed something: their votes, and what the decision makes of them.
use std::collections::{BTreeMap, HashMap, HashSet};

use participant::{PreparedBranch, Refusal};
use sqlx::PgConnection;
use uuid::Uuid;

use super::allotments::{self, Line as Given};
use super::policies;
use crate::domain::{Allowed, Claim, Holds, Kind, Marks, Split, claimed, split};
use crate::store::claims;
use crate::store::holds::{self, Guard, all_there, change};
use crate::store::ledger::{self, Batch, Line};
use crate::store::strategy::Strategy;
use crate::store::supply;

/// Whether any of them allows to be owed something.
pub fn is_among<'a>(branches: impl IntoIterator<Item = &'a PreparedBranch<Holds>>) -> bool {
    branches.into_iter().any(|branch| branch.branch.allowed != Allowed::Nothing)
}

/// Takes the holds of those that allow nothing to be owed in the usual way, and then one by one those of the others: what is
/// there and what is owed are decided on locked rows, whatever the strategy.
pub async fn prepare(
    strategy: &dyn Strategy,
    connection: &mut PgConnection,
    branches: &[PreparedBranch<Holds>],
) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
    if !is_among(branches) {
        return strategy.take(connection, branches).await;
    }
    lock(connection, branches).await?;
    let (owing, plain): (Vec<_>, Vec<_>) =
        branches.iter().cloned().partition(|branch| branch.branch.allowed != Allowed::Nothing);
    let mut votes: HashMap<Uuid, Result<(), Refusal>> = HashMap::new();
    if !plain.is_empty() {
        let taken = strategy.take(&mut *connection, &plain).await?;
        votes.extend(plain.iter().map(|branch| branch.transaction_id).zip(taken));
    }
    for branch in &owing {
        votes.insert(branch.transaction_id, place(connection, branch).await?);
    }
    let vote = |branch: &PreparedBranch<Holds>| votes.remove(&branch.transaction_id).ok_or(sqlx::Error::RowNotFound);
    branches.iter().map(vote).collect()
}

/// Locks all SKUs of a batch in their order, because it touches them in parts.
async fn lock(connection: &mut PgConnection, branches: &[PreparedBranch<Holds>]) -> Result<(), sqlx::Error> {
    let skus: Vec<&str> = branches.iter().flat_map(|branch| branch.branch.iter().map(|(sku, _)| sku)).collect();
    let lock = "SELECT sku FROM stock WHERE sku = ANY($1::text[]) ORDER BY sku FOR NO KEY UPDATE";
    sqlx::query(lock).bind(skus).execute(connection).await.map(drop)
}

async fn place(
    connection: &mut PgConnection,
    branch: &PreparedBranch<Holds>,
) -> Result<Result<(), Refusal>, sqlx::Error> {
    let holds = &*branch.branch;
    let reserved = claims::lock(connection, std::slice::from_ref(branch)).await?;
    let claims = reserved.offer(holds);
    let seen = holds::read(connection, holds).await?;
    let available: BTreeMap<String, i64> = seen.iter().map(|(sku, seen)| (sku.clone(), seen.available)).collect();
    let skus: Vec<&str> = holds.iter().map(|(sku, _)| sku).collect();
    let policies = policies(connection, &skus).await?;
    let split = match split(holds, &claimed(&claims), &available, &policies) {
        Ok(split) => split,
        Err(refusal) => return Ok(Err(refusal)),
    };
    hold(connection, branch, &claims, &split).await?;
    let ordered: BTreeMap<&str, i64> = holds.iter().collect();
    let ordered = split.owed.iter().map(|(sku, ..)| ordered.get(sku.as_str()).copied().unwrap_or_default());
    sqlx::query(
        "INSERT INTO backorder (order_id, whole, sku, ordered, owed, kind)
         SELECT $1, $6, * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::smallint[])",
    )
    .bind(branch.transaction_id)
    .bind(split.owed.iter().map(|(sku, ..)| sku.as_str()).collect::<Vec<_>>())
    .bind(ordered.collect::<Vec<_>>())
    .bind(split.owed.iter().map(|(_, owed, _)| *owed).collect::<Vec<_>>())
    .bind(split.owed.iter().map(|(.., kind)| kind.code()).collect::<Vec<_>>())
    .bind(holds.allowed == Allowed::Whole)
    .execute(connection)
    .await?;
    Ok(Ok(()))
}

async fn hold(
    connection: &mut PgConnection,
    branch: &PreparedBranch<Holds>,
    claims: &[Claim],
    split: &Split,
) -> Result<(), sqlx::Error> {
    let mut batch = Batch::default();
    let line = |kind, sku, quantity, reservation_id| Line {
        kind,
        sku,
        quantity,
        transaction_id: Some(branch.transaction_id),
        reservation_id,
        reason: None,
    };
    for Claim { reservation_id, sku, quantity } in claims {
        batch.add(line(Kind::Claimed, sku, *quantity, Some(*reservation_id)));
    }
    for (sku, quantity) in &split.held {
        batch.add(line(Kind::Held, sku, *quantity, None));
    }
    let figures = change(connection, &batch.changes, Guard::Locked).await?;
    all_there(figures.len(), batch.changes.len())?;
    ledger::write(connection, &batch, &figures).await?;
    claims::write(connection, [(branch, claims)]).await
}

/// What branches that are in doubt hold: what they are for, less what they are owed.
pub async fn held_of(
    connection: &mut PgConnection,
    branches: &[PreparedBranch<Holds>],
) -> Result<Vec<PreparedBranch<Holds>>, sqlx::Error> {
    let owing = branches.iter().filter(|branch| branch.branch.allowed != Allowed::Nothing);
    let owing: Vec<Uuid> = owing.map(|branch| branch.transaction_id).collect();
    let rows: Vec<(Uuid, String, i64)> =
        sqlx::query_as("SELECT order_id, sku, owed FROM backorder WHERE order_id = ANY($1::uuid[]) AND state = 1")
            .bind(owing)
            .fetch_all(connection)
            .await?;
    let owed: HashMap<(Uuid, String), i64> = rows.into_iter().map(|(id, sku, owed)| ((id, sku), owed)).collect();
    let less = |branch: &PreparedBranch<Holds>| match branch.branch.allowed {
        Allowed::Nothing => branch.clone(),
        _ => {
            let owed = |sku: &str| owed.get(&(branch.transaction_id, sku.to_owned())).copied().unwrap_or_default();
            let holds = branch.branch.less(owed);
            PreparedBranch { transaction_id: branch.transaction_id, branch: holds.into() }
        }
    };
    Ok(branches.iter().map(less).collect())
}

/// Holds become sales, and what is owed waits. What such an order has got is its first allotment.
pub async fn commit(connection: &mut PgConnection, branches: &[PreparedBranch<Holds>]) -> Result<(), sqlx::Error> {
    if !is_among(branches) {
        return holds::sell(connection, branches).await;
    }
    lock(connection, branches).await?;
    let held = held_of(connection, branches).await?;
    holds::sell(connection, &held).await?;
    let owing = || held.iter().filter(|branch| branch.branch.allowed != Allowed::Nothing);
    let order_ids: Vec<Uuid> = owing().map(|branch| branch.transaction_id).collect();
    let wait = "UPDATE backorder SET state = 2, update_time = now() WHERE order_id = ANY($1::uuid[]) AND state = 1
                RETURNING order_id, sku, whole";
    let waiting: Vec<(Uuid, String, bool)> = sqlx::query_as(wait).bind(order_ids).fetch_all(&mut *connection).await?;
    // What is given as a whole is not given yet.
    let later: HashSet<(Uuid, &str)> =
        waiting.iter().filter(|(.., whole)| *whole).map(|(order_id, sku, _)| (*order_id, sku.as_str())).collect();
    let given = owing().flat_map(|branch| branch.branch.iter().map(|line| (branch.transaction_id, line)));
    let given = given.filter(|(order_id, (sku, _))| !later.contains(&(*order_id, *sku)));
    let given = given.map(|(order_id, (sku, quantity))| Given { order_id, sku: sku.to_owned(), first: 0, quantity });
    allotments::write(connection, &given.collect::<Vec<_>>()).await?;
    let mut skus: Vec<String> = waiting.into_iter().map(|(_, sku, _)| sku).collect();
    skus.sort();
    skus.dedup();
    for sku in skus {
        supply::mark(connection, &sku, Marks::OWED).await?;
        let stock = crate::store::stock::get(&mut *connection, &sku).await?.ok_or(sqlx::Error::RowNotFound)?;
        // Some may have come since the vote.
        supply::mind(connection, [&stock], &[], None).await?;
    }
    Ok(())
}

/// Holds are given back, and nothing is owed any more.
pub async fn abort(
    connection: &mut PgConnection,
    branches: &[(PreparedBranch<Holds>, Refusal)],
) -> Result<(), sqlx::Error> {
    if !is_among(branches.iter().map(|(branch, _)| branch)) {
        return holds::give_back(connection, branches).await;
    }
    let all: Vec<PreparedBranch<Holds>> = branches.iter().map(|(branch, _)| branch.clone()).collect();
    let held = held_of(connection, &all).await?;
    let forget = "DELETE FROM backorder WHERE order_id = ANY($1::uuid[]) AND state = 1";
    let order_ids: Vec<Uuid> = all.iter().map(|branch| branch.transaction_id).collect();
    sqlx::query(forget).bind(order_ids).execute(&mut *connection).await?;
    let held: Vec<(PreparedBranch<Holds>, Refusal)> =
        held.into_iter().zip(branches).map(|(held, (_, refusal))| (held, refusal.clone())).collect();
    holds::give_back(connection, &held).await
}

/// Orders that are cancelled wait no more. Answers how many of each SKU they had not got: so many can't be put back. The rows
/// of the SKUs are locked here, in their order.
pub async fn cancel(
    connection: &mut PgConnection,
    order_ids: &[Uuid],
) -> Result<HashMap<(Uuid, String), i64>, sqlx::Error> {
    let lock =
        "SELECT sku FROM stock WHERE sku IN (SELECT sku FROM backorder WHERE order_id = ANY($1::uuid[]) AND state = 2)
                ORDER BY sku FOR NO KEY UPDATE";
    sqlx::query(lock).bind(order_ids).execute(&mut *connection).await?;
    let rows: Vec<(Uuid, String, i64)> = sqlx::query_as(
        "UPDATE backorder SET state = 4, update_time = now() WHERE order_id = ANY($1::uuid[]) AND state = 2
         RETURNING order_id, sku, owed",
    )
    .bind(order_ids)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(order_id, sku, owed)| ((order_id, sku), owed)).collect())
}
