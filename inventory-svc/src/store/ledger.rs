//! The ledger: movements are written with what they change, in one local transaction, and never again touched.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use participant::PreparedBranch;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgExecutor, Row as _};
use uuid::Uuid;

use super::holds::Change;
use crate::domain::{Balance, Holds, Kind, Movement, Stock};

/// What becomes of the holds of a batch: one movement for each branch and SKU, in the order of the branches.
pub struct Batch<'a> {
    kind: Kind,
    lines: Vec<Line<'a>>,
    /// The sums, by SKU; sorted, so that rows are always locked in one order.
    pub changes: BTreeMap<&'a str, Change>,
}

struct Line<'a> {
    sku: &'a str,
    quantity: i64,
    transaction_id: Uuid,
    reason: Option<&'a str>,
}

impl<'a> Batch<'a> {
    /// A batch of branches, each with a reason or none.
    pub fn new(kind: Kind, branches: impl IntoIterator<Item = (&'a PreparedBranch<Holds>, Option<&'a str>)>) -> Self {
        let mut batch = Batch { kind, lines: Vec::new(), changes: BTreeMap::new() };
        for (PreparedBranch { transaction_id, branch }, reason) in branches {
            for (sku, quantity) in branch.iter() {
                batch.lines.push(Line { sku, quantity, transaction_id: *transaction_id, reason });
                let change = batch.changes.entry(sku).or_default();
                let before = Balance { on_hand: change.on_hand, held: change.held };
                // 512 branches of at most 2,000 billions each: far from overflowing.
                let Balance { on_hand, held } = kind.apply(quantity, before).unwrap_or(before);
                *change = Change { on_hand, held, movements: change.movements + 1 };
            }
        }
        batch
    }
}

/// Writes the movements of a batch that has been carried out; `figures` are what its SKUs are since then.
///
/// Their places and balances are told from the end: what the update has answered, less the batch's sums, is where the first
/// of them began. So the update and this insert are all that a batch costs, however many branches name one SKU.
pub async fn write(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
    figures: &BTreeMap<String, Stock>,
) -> Result<(), sqlx::Error> {
    if batch.lines.is_empty() {
        return Ok(());
    }
    let mut running: BTreeMap<&str, (i64, Balance, DateTime<Utc>)> = BTreeMap::new();
    for (sku, change) in &batch.changes {
        let Stock { on_hand, held, version, update_time, .. } = figures.get(*sku).ok_or(sqlx::Error::RowNotFound)?;
        let before = Balance { on_hand: on_hand - change.on_hand, held: held - change.held };
        running.insert(sku, (version - change.movements, before, *update_time));
    }
    let count = batch.lines.len();
    let (mut sequences, mut times) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let (mut on_hand, mut held) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for line in &batch.lines {
        let (sequence, balance, time) = running.get_mut(line.sku).ok_or(sqlx::Error::RowNotFound)?;
        *sequence += 1;
        *balance = batch.kind.apply(line.quantity, *balance).unwrap_or(*balance);
        sequences.push(*sequence);
        on_hand.push(balance.on_hand);
        held.push(balance.held);
        times.push(*time);
    }
    sqlx::query(
        "INSERT INTO movement (sku, sequence, quantity, on_hand, held, create_time, transaction_id, reason, kind)
         SELECT m.*, $9::smallint
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::uuid[],
                     $8::text[]) AS m",
    )
    .bind(batch.lines.iter().map(|line| line.sku).collect::<Vec<_>>())
    .bind(sequences)
    .bind(batch.lines.iter().map(|line| line.quantity).collect::<Vec<_>>())
    .bind(on_hand)
    .bind(held)
    .bind(times)
    .bind(batch.lines.iter().map(|line| line.transaction_id).collect::<Vec<_>>())
    // What is shorter than the others is filled up with NULL.
    .bind(batch.lines.iter().map_while(|line| line.reason).collect::<Vec<_>>())
    .bind(code(batch.kind))
    .execute(connection)
    .await?;
    Ok(())
}

/// A movement that a client has asked for.
pub struct Asked<'a> {
    /// What happened.
    pub kind: Kind,
    /// To how many.
    pub quantity: i64,
    /// The client's name for its request; empty if it has none.
    pub request_id: &'a str,
    /// Which client.
    pub client_id: &'a str,
}

/// Writes a client's movement; `after` is what the SKU is since then.
pub async fn write_one(connection: &mut PgConnection, asked: &Asked<'_>, after: &Stock) -> Result<(), sqlx::Error> {
    let Stock { sku, on_hand, held, version, update_time } = after;
    sqlx::query(
        "INSERT INTO movement (sku, sequence, quantity, on_hand, held, create_time, request_id, actor, kind)
         VALUES ($1, $2, $3, $4, $5, $6, nullif($7, ''), $8, $9)",
    )
    .bind(sku)
    .bind(version)
    .bind(asked.quantity)
    .bind(on_hand)
    .bind(held)
    .bind(update_time)
    .bind(asked.request_id)
    .bind(asked.client_id)
    .bind(code(asked.kind))
    .execute(connection)
    .await?;
    Ok(())
}

/// The columns of a movement; they are read by name.
macro_rules! select_movement {
    ($rest:literal) => {
        concat!(
            "SELECT sku, sequence, kind, quantity, on_hand, held, create_time, transaction_id, reason, request_id, actor ",
            "FROM movement ",
            $rest
        )
    };
}

impl FromRow<'_, PgRow> for Movement {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Movement {
            sku: row.try_get("sku")?,
            sequence: row.try_get("sequence")?,
            kind: kind(row.try_get("kind")?)?,
            quantity: row.try_get("quantity")?,
            after: Balance { on_hand: row.try_get("on_hand")?, held: row.try_get("held")? },
            create_time: row.try_get("create_time")?,
            transaction_id: row.try_get("transaction_id")?,
            reason: row.try_get("reason")?,
            request_id: row.try_get("request_id")?,
            actor: row.try_get("actor")?,
        })
    }
}

/// Lists a SKU's movements before the place `before`, newest first, at most `limit`.
pub async fn list(
    executor: impl PgExecutor<'_>,
    sku: &str,
    before: i64,
    limit: usize,
) -> Result<Vec<Movement>, sqlx::Error> {
    sqlx::query_as(select_movement!("WHERE sku = $1 AND sequence < $2 ORDER BY sequence DESC LIMIT $3"))
        .bind(sku)
        .bind(before)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(executor)
        .await
}

/// What a SKU was at a time: what the last movement until then left. It is looked for from the newest back.
pub async fn at(executor: impl PgExecutor<'_>, sku: &str, time: DateTime<Utc>) -> Result<Option<Stock>, sqlx::Error> {
    let last: Option<Movement> =
        sqlx::query_as(select_movement!("WHERE sku = $1 AND create_time <= $2 ORDER BY sequence DESC LIMIT 1"))
            .bind(sku)
            .bind(time)
            .fetch_optional(executor)
            .await?;
    Ok(last.map(|Movement { sku, sequence, after: Balance { on_hand, held }, create_time, .. }| Stock {
        sku,
        on_hand,
        held,
        version: sequence,
        update_time: create_time,
    }))
}

/// Movements after a place in the ledger, of SKUs up to `last_sku`, in the order of the ledger, at most `limit`.
pub async fn after(
    connection: &mut PgConnection,
    (sku, sequence): (&str, i64),
    last_sku: &str,
    limit: i64,
) -> Result<Vec<Movement>, sqlx::Error> {
    sqlx::query_as(select_movement!("WHERE (sku, sequence) > ($1, $2) AND sku <= $3 ORDER BY sku, sequence LIMIT $4"))
        .bind(sku)
        .bind(sequence)
        .bind(last_sku)
        .bind(limit)
        .fetch_all(connection)
        .await
}

/// A kind as it is stored.
fn code(kind: Kind) -> i16 {
    match kind {
        Kind::Received => 1,
        Kind::Held => 2,
        Kind::Sold => 3,
        Kind::Released => 4,
        Kind::Adjusted => 5,
        Kind::Counted => 6,
        Kind::Opened => 7,
        Kind::Returned => 8,
    }
}

fn kind(code: i16) -> Result<Kind, sqlx::Error> {
    Ok(match code {
        1 => Kind::Received,
        2 => Kind::Held,
        3 => Kind::Sold,
        4 => Kind::Released,
        5 => Kind::Adjusted,
        6 => Kind::Counted,
        7 => Kind::Opened,
        8 => Kind::Returned,
        _ => return Err(sqlx::Error::Decode(format!("{code} is no kind of movement").into())),
    })
}
