//! What nearly all batches are: one kind of movement of orders, of SKUs that are simply on hand. The sums and the movements are
//! written in one statement, a round trip less.
use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::holds::Change;
use super::ledger::{self, Batch};
use super::stock::{Row, stock};
use crate::changes;
use crate::domain::{Balance, Stock};

/// Changes the SKUs of a batch that is plain as far as is known beforehand, where as much is available. Answers what those
/// that were changed are then, and whether the movements are written: they are if all SKUs were changed and turned out to be plain.
///
/// The place and the balance of a movement are told from the end: what its SKU is now, less what came after it in the batch.
pub async fn carry_out(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
) -> Result<Option<(BTreeMap<String, Stock>, bool)>, sqlx::Error> {
    let Some(columns) = Columns::of(batch) else { return Ok(None) };
    let rows: Vec<Row> = sqlx::query_as(
        "WITH changed AS (
             UPDATE stock SET on_hand = stock.on_hand + c.on_hand, held = stock.held + c.held,
                    version = stock.version + c.movements, update_time = greatest(now(), stock.update_time)
             FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
                  AS c (sku, on_hand, held, movements, before)
             WHERE stock.sku = c.sku
                   AND (c.held <= c.on_hand
                        OR stock.on_hand - stock.held - coalesce(stock.reserved, 0) - coalesce(stock.buffer, 0)
                           >= c.held - c.on_hand)
             RETURNING stock.sku, stock.on_hand, stock.held, stock.version, stock.update_time,
                       coalesce(stock.reserved, 0) AS reserved, coalesce(stock.buffer, 0) AS buffer,
                       coalesce(stock.damaged, 0) AS damaged, coalesce(stock.quality_control, 0) AS quality_control,
                       coalesce(stock.marks, 0) AS marks, c.movements, c.before
         ), written AS (
             INSERT INTO movement (sku, sequence, quantity, on_hand, held, create_time, transaction_id, kind)
             SELECT m.sku, m.version - m.movements + m.place, ($6::bigint[])[m.before + m.place],
                    m.on_hand - ($7::bigint[])[m.before + m.place], m.held - ($8::bigint[])[m.before + m.place],
                    m.update_time, ($9::uuid[])[m.before + m.place], $10::smallint
             FROM (SELECT changed.*, generate_series(1, changed.movements) AS place FROM changed) AS m
             WHERE (SELECT count(*) = cardinality($1::text[])
                           AND bool_and(reserved = 0 AND buffer = 0 AND damaged = 0 AND quality_control = 0 AND marks = 0)
                    FROM changed)
         )
         SELECT sku, on_hand, held, version, update_time, reserved, buffer, damaged, quality_control, marks FROM changed",
    )
    .bind(columns.skus)
    .bind(columns.on_hand)
    .bind(columns.held)
    .bind(columns.movements)
    .bind(columns.before)
    .bind(columns.quantity)
    .bind(columns.on_hand_later)
    .bind(columns.held_later)
    .bind(columns.transaction_id)
    .bind(columns.kind)
    .fetch_all(connection)
    .await?;
    let figures: BTreeMap<String, Stock> =
        rows.into_iter().map(stock).map(|stock| (stock.sku.clone(), stock)).collect();
    let is_plain = |stock: &Stock| !stock.balance.is_more_than_held() && !stock.marks.is_any();
    let is_written = figures.len() == batch.changes.len() && figures.values().all(is_plain);
    if is_written {
        changes::tell(figures.values().map(|stock| (stock.sku.as_str(), stock.version)));
    }
    Ok(Some((figures, is_written)))
}

/// A batch as the statement wants it: a row for each SKU, and one for each movement, in the order of the SKUs.
struct Columns<'a> {
    skus: Vec<&'a str>,
    on_hand: Vec<i64>,
    held: Vec<i64>,
    movements: Vec<i64>,
    /// How many movements of other SKUs come before those of this one.
    before: Vec<i64>,
    quantity: Vec<i64>,
    /// What the movements after it add to what is on hand.
    on_hand_later: Vec<i64>,
    /// What the movements after it add to what is held.
    held_later: Vec<i64>,
    transaction_id: Vec<Uuid>,
    kind: i16,
}

impl<'a> Columns<'a> {
    /// None for a batch that is not plain.
    fn of(batch: &Batch<'a>) -> Option<Self> {
        let first = batch.lines().first()?;
        let mut lines = Vec::with_capacity(batch.lines().len());
        for line in batch.lines() {
            if line.kind != first.kind || line.reservation_id.is_some() || line.reason.is_some() {
                return None;
            }
            lines.push((line.sku, line.quantity, line.transaction_id?));
        }
        if batch.changes.values().any(|change| change.reserved != 0 || change.damaged != 0) {
            return None;
        }
        // Movements of one SKU stay in their order.
        lines.sort_by_key(|(sku, ..)| *sku);
        let skus = batch.changes.len();
        let mut columns = Columns {
            skus: Vec::with_capacity(skus),
            on_hand: Vec::with_capacity(skus),
            held: Vec::with_capacity(skus),
            movements: Vec::with_capacity(skus),
            before: Vec::with_capacity(skus),
            quantity: Vec::with_capacity(lines.len()),
            on_hand_later: Vec::with_capacity(lines.len()),
            held_later: Vec::with_capacity(lines.len()),
            transaction_id: Vec::with_capacity(lines.len()),
            kind: ledger::code(first.kind),
        };
        let mut lines = lines.into_iter().peekable();
        for (sku, Change { on_hand, held, movements, .. }) in &batch.changes {
            columns.skus.push(*sku);
            columns.on_hand.push(*on_hand);
            columns.held.push(*held);
            columns.movements.push(*movements);
            columns.before.push(i64::try_from(columns.quantity.len()).ok()?);
            let mut so_far = Balance::default();
            while let Some((_, quantity, transaction_id)) = lines.next_if(|(of, ..)| of == sku) {
                so_far = first.kind.apply(quantity, so_far)?;
                columns.quantity.push(quantity);
                columns.on_hand_later.push(on_hand - so_far.on_hand);
                columns.held_later.push(held - so_far.held);
                columns.transaction_id.push(transaction_id);
            }
        }
        Some(columns)
    }
}
