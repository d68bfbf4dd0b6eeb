//! What nearly all batches are: movements of orders, of SKUs that are simply on hand. The sums and the movements are written in one
//! statement, a round trip less.
use std::collections::BTreeMap;

use participant::HoldAll;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, PgConnection, Row as _};
use uuid::Uuid;

use super::holds::Change;
use super::ledger::{self, Batch};
use super::stock::{Row, stock};
use crate::changes;
use crate::domain::{Balance, Stock};

/// Changes stock by [`Columns`] where a condition says that as much is available; returns what its movements need, and more if asked.
macro_rules! change {
    ($available:expr, $returning:literal) => {
        concat!(
            "changed AS (
             UPDATE stock SET on_hand = stock.on_hand + c.on_hand, held = stock.held + c.held,
                    version = stock.version + c.movements, update_time = greatest(now(), stock.update_time)
             FROM (SELECT unnest($1::text[]) AS sku, unnest($2::bigint[]) AS on_hand, unnest($3::bigint[]) AS held,
                          unnest($4::bigint[]) AS movements, unnest($5::bigint[]) AS before) AS c
             WHERE stock.sku = c.sku AND ",
            $available,
            " RETURNING stock.sku, stock.on_hand, stock.held, stock.version, stock.update_time, c.movements, c.before",
            $returning,
            ")"
        )
    };
}

/// Writes the movements of SKUs that were changed: all but the parenthesis at its end, before which a condition may stand.
///
/// The place and the balance of a movement are told from the end: what its SKU is now, less what came after it in the batch.
macro_rules! movements {
    () => {
        "written AS (
             INSERT INTO movement (sku, sequence, quantity, on_hand, held, create_time, transaction_id, kind)
             SELECT m.sku, m.version - m.movements + m.place, ($6::bigint[])[m.before + m.place],
                    m.on_hand - ($7::bigint[])[m.before + m.place], m.held - ($8::bigint[])[m.before + m.place],
                    m.update_time, ($9::uuid[])[m.before + m.place], ($10::smallint[])[m.before + m.place]
             FROM (SELECT changed.*, generate_series(1, changed.movements) AS place FROM changed) AS m"
    };
}

macro_rules! is_plain {
    () => {
        "coalesce(stock.reserved, 0) = 0 AND coalesce(stock.buffer, 0) = 0 AND coalesce(stock.damaged, 0) = 0
         AND coalesce(stock.quality_control, 0) = 0 AND coalesce(stock.marks, 0) = 0"
    };
}

const HOLD_ALL: &str = concat!(
    change!(concat!("(c.held <= c.on_hand OR stock.on_hand - stock.held >= c.held - c.on_hand) AND ", is_plain!()), ""),
    ", ",
    movements!(),
    "),"
);

/// The same for one movement, as is most of what is asked for while there is little to do: half of the plan to make ready.
const HOLD_ONE: &str = concat!(
    "changed AS (
         UPDATE stock SET on_hand = on_hand + $2, held = held + $3, version = version + 1, update_time = greatest(now(), update_time)
         WHERE sku = $1 AND ($3 <= $2 OR on_hand - held >= $3 - $2) AND ",
    is_plain!(),
    " RETURNING sku, on_hand, held, version, update_time
     ), written AS (
         INSERT INTO movement (sku, sequence, quantity, on_hand, held, create_time, transaction_id, kind)
         SELECT sku, version, $4, on_hand, held, update_time, $5, $6 FROM changed
     ),"
);

/// How the SKUs of a batch are changed, and its movements written, if all of it is plain and available; none if it is not plain as far
/// as is known beforehand. A SKU that turns out not to be is not changed, and then nothing remains: so there is less to return, and
/// movements need not ask.
pub fn hold_all(batch: &Batch<'_>) -> Result<Option<HoldAll>, sqlx::Error> {
    let Some(columns) = Columns::of(batch) else { return Ok(None) };
    let (with, is_held, arguments) = match columns.sole() {
        Some(arguments) => (HOLD_ONE, "EXISTS (SELECT FROM changed)", arguments?),
        None => (HOLD_ALL, "(SELECT count(*) FROM changed) = cardinality($1::text[])", columns.arguments()?),
    };
    Ok(Some(HoldAll {
        with,
        is_held,
        rows: "SELECT sku, version FROM changed",
        arguments,
        on_row: |row| {
            let version = row.try_get(1)?;
            changes::tell(std::iter::once((row.try_get(0)?, version)));
            Ok(())
        },
    }))
}

/// Changes the SKUs of a batch that is plain as far as is known beforehand, where as much is available. Answers what those
/// that were changed are then, and whether the movements are written: they are if all SKUs were changed and turned out to be plain.
pub async fn carry_out(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
) -> Result<Option<(BTreeMap<String, Stock>, bool)>, sqlx::Error> {
    let Some(columns) = Columns::of(batch) else { return Ok(None) };
    let change = concat!(
        "WITH ",
        change!(
            "(c.held <= c.on_hand
                        OR stock.on_hand - stock.held - coalesce(stock.reserved, 0) - coalesce(stock.buffer, 0)
                           >= c.held - c.on_hand)",
            ", coalesce(stock.reserved, 0) AS reserved, coalesce(stock.buffer, 0) AS buffer,
                       coalesce(stock.damaged, 0) AS damaged, coalesce(stock.quality_control, 0) AS quality_control,
                       coalesce(stock.marks, 0) AS marks"
        ),
        ", ",
        movements!(),
        " WHERE (SELECT count(*) = cardinality($1::text[])
                        AND bool_and(reserved = 0 AND buffer = 0 AND damaged = 0 AND quality_control = 0 AND marks = 0)
                 FROM changed))
         SELECT sku, on_hand, held, version, update_time, reserved, buffer, damaged, quality_control, marks FROM changed"
    );
    let rows: Vec<Row> = sqlx::query_as_with(change, columns.arguments()?).fetch_all(connection).await?;
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
    kind: Vec<i16>,
}

impl<'a> Columns<'a> {
    /// None for a batch that is not plain.
    fn of(batch: &Batch<'a>) -> Option<Self> {
        let mut lines = Vec::with_capacity(batch.lines().len());
        for line in batch.lines() {
            if line.reservation_id.is_some() || line.reason.is_some() {
                return None;
            }
            lines.push((line.sku, line.kind, line.quantity, line.transaction_id?));
        }
        if lines.is_empty() {
            return None;
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
            kind: Vec::with_capacity(lines.len()),
        };
        let mut lines = lines.into_iter().peekable();
        for (sku, Change { on_hand, held, movements, .. }) in &batch.changes {
            columns.skus.push(*sku);
            columns.on_hand.push(*on_hand);
            columns.held.push(*held);
            columns.movements.push(*movements);
            columns.before.push(i64::try_from(columns.quantity.len()).ok()?);
            let mut so_far = Balance::default();
            while let Some((_, kind, quantity, transaction_id)) = lines.next_if(|(of, ..)| of == sku) {
                so_far = kind.apply(quantity, so_far)?;
                columns.quantity.push(quantity);
                columns.on_hand_later.push(on_hand - so_far.on_hand);
                columns.held_later.push(held - so_far.held);
                columns.transaction_id.push(transaction_id);
                columns.kind.push(ledger::code(kind));
            }
        }
        Some(columns)
    }

    /// As values, if it is one movement.
    fn sole(&self) -> Option<Result<PgArguments, sqlx::Error>> {
        let ([quantity], [transaction_id], [kind]) = (&*self.quantity, &*self.transaction_id, &*self.kind) else {
            return None;
        };
        let ([sku], [on_hand], [held]) = (&*self.skus, &*self.on_hand, &*self.held) else { return None };
        let mut arguments = PgArguments::default();
        let mut add = || {
            arguments.add(*sku)?;
            arguments.add(*on_hand)?;
            arguments.add(*held)?;
            arguments.add(*quantity)?;
            arguments.add(*transaction_id)?;
            arguments.add(*kind)
        };
        Some(add().map_err(sqlx::Error::Encode).map(|()| arguments))
    }

    fn arguments(self) -> Result<PgArguments, sqlx::Error> {
        let mut arguments = PgArguments::default();
        let add = || {
            arguments.add(self.skus)?;
            arguments.add(self.on_hand)?;
            arguments.add(self.held)?;
            arguments.add(self.movements)?;
            arguments.add(self.before)?;
            arguments.add(self.quantity)?;
            arguments.add(self.on_hand_later)?;
            arguments.add(self.held_later)?;
            arguments.add(self.transaction_id)?;
            arguments.add(self.kind)
        };
        add().map_err(sqlx::Error::Encode)?;
        Ok(arguments)
    }
}
