//! The ledger: movements are written with what they change, in one local transaction, and never again touched.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use participant::PreparedBranch;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgExecutor, Row as _};
use uuid::Uuid;

use super::holds::Change;
use super::locations::Written;
use super::supply;
use crate::changes;
use crate::domain::{Balance, Claim, Holds, Kind, Marks, Movement, Stock, claimed};

/// What becomes of stock in a batch: movements, in the order in which they happen.
#[derive(Default)]
pub struct Batch<'a> {
    lines: Vec<Line<'a>>,
    /// The sums, by SKU; sorted, so that rows are always locked in one order.
    pub changes: BTreeMap<&'a str, Change>,
}

/// One movement, before it is known what it leaves.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// What happens.
    pub kind: Kind,
    /// To which article.
    pub sku: &'a str,
    /// To how many.
    pub quantity: i64,
    /// For which transaction.
    pub transaction_id: Option<Uuid>,
    /// For which reservation.
    pub reservation_id: Option<Uuid>,
    /// Why.
    pub reason: Option<&'a str>,
}

impl<'a> Batch<'a> {
    /// One kind of movement for branches, each with a reason or none.
    pub fn new(kind: Kind, branches: impl IntoIterator<Item = (&'a PreparedBranch<Holds>, Option<&'a str>)>) -> Self {
        let mut batch = Batch::default();
        batch.extend(kind, branches);
        batch
    }

    /// Adds one kind of movement for branches.
    pub fn extend(
        &mut self,
        kind: Kind,
        branches: impl IntoIterator<Item = (&'a PreparedBranch<Holds>, Option<&'a str>)>,
    ) {
        for (PreparedBranch { transaction_id, branch }, reason) in branches {
            let transaction_id = Some(*transaction_id);
            for (sku, quantity) in branch.iter() {
                self.add(Line { kind, sku, quantity, transaction_id, reservation_id: None, reason });
            }
        }
    }

    /// Holds of branches, each with what it claims of reservations.
    pub fn of_holds(branches: impl IntoIterator<Item = (&'a PreparedBranch<Holds>, &'a [Claim])>) -> Self {
        let mut batch = Batch::default();
        for (PreparedBranch { transaction_id, branch }, claims) in branches {
            let of_reservations = claimed(claims);
            let line = |kind, sku, quantity, reservation_id| Line {
                kind,
                sku,
                quantity,
                transaction_id: Some(*transaction_id),
                reservation_id,
                reason: None,
            };
            for Claim { reservation_id, sku, quantity } in claims {
                batch.add(line(Kind::Claimed, sku, *quantity, Some(*reservation_id)));
            }
            for (sku, quantity) in branch.iter() {
                let quantity = quantity - of_reservations.get(sku).copied().unwrap_or_default();
                if quantity > 0 {
                    batch.add(line(Kind::Held, sku, quantity, None));
                }
            }
        }
        batch
    }

    /// Its movements.
    pub fn lines(&self) -> &[Line<'a>] {
        &self.lines
    }

    /// Its movements with their places in the ledger.
    pub fn with(&self, sequences: Vec<i64>) -> Vec<Written<'a>> {
        self.lines.iter().copied().zip(sequences).collect()
    }

    /// Adds a movement.
    pub fn add(&mut self, line: Line<'a>) {
        let change = self.changes.entry(line.sku).or_default();
        let Change { on_hand, held, reserved, damaged, movements } = *change;
        let before = Balance { on_hand, held, reserved, damaged, ..Balance::default() };
        // 512 branches of at most 2,000 billions each: far from overflowing.
        let after = line.kind.apply(line.quantity, before).unwrap_or(before);
        let Balance { on_hand, held, reserved, damaged, .. } = after;
        *change = Change { on_hand, held, reserved, damaged, movements: movements + 1 };
        self.lines.push(line);
    }
}

/// Writes the movements of a batch that has been carried out, and minds what follows from them; `figures` are what its SKUs
/// are since then.
pub async fn write(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
    figures: &BTreeMap<String, Stock>,
) -> Result<(), sqlx::Error> {
    let sequences = insert(connection, batch, figures).await?;
    if figures.values().all(|stock| !stock.marks.is_any()) {
        return Ok(());
    }
    supply::mind(connection, figures.values(), &batch.with(sequences), None).await.map(drop)
}

/// Writes the movements of a batch; answers their places in the ledgers of their SKUs.
///
/// Their places and balances are told from the end: what the update has answered, less the batch's sums, is where the first
/// of them began. So the update and this insert are all that a batch costs, however many branches name one SKU.
pub async fn insert(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
    figures: &BTreeMap<String, Stock>,
) -> Result<Vec<i64>, sqlx::Error> {
    let Some(first) = batch.lines.first() else { return Ok(Vec::new()) };
    let mut running: BTreeMap<&str, (i64, Balance, DateTime<Utc>)> = BTreeMap::new();
    for (sku, change) in &batch.changes {
        let Stock { balance, version, update_time, .. } = figures.get(*sku).ok_or(sqlx::Error::RowNotFound)?;
        let before = Balance {
            on_hand: balance.on_hand - change.on_hand,
            held: balance.held - change.held,
            reserved: balance.reserved - change.reserved,
            damaged: balance.damaged - change.damaged,
            ..*balance
        };
        running.insert(sku, (version - change.movements, before, *update_time));
    }
    let count = batch.lines.len();
    let (mut sequences, mut times) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut after: Vec<Balance> = Vec::with_capacity(count);
    for line in &batch.lines {
        let (sequence, balance, time) = running.get_mut(line.sku).ok_or(sqlx::Error::RowNotFound)?;
        *sequence += 1;
        *balance = line.kind.apply(line.quantity, *balance).unwrap_or(*balance);
        sequences.push(*sequence);
        after.push(*balance);
        times.push(*time);
    }
    let figures = |figure: fn(&Balance) -> i64| after.iter().map(figure).collect::<Vec<_>>();
    // Most orders are for what is simply on hand, and one kind of movement; they cost no more than that.
    let plain = |(line, after): (&Line<'_>, &Balance)| {
        line.kind == first.kind && line.reservation_id.is_none() && !after.is_more_than_held()
    };
    let is_plain = batch.lines.iter().zip(&after).all(plain);
    let query = sqlx::query(match is_plain {
        true => {
            "INSERT INTO movement (sku, sequence, quantity, on_hand, held, create_time, transaction_id, reason, kind)
             SELECT m.*, $9::smallint
             FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[],
                         $7::uuid[], $8::text[]) AS m"
        }
        false => {
            "INSERT INTO movement (sku, sequence, quantity, on_hand, held, create_time, transaction_id, reason, kind,
                                   reserved, buffer, damaged, quality_control, reservation_id)
             SELECT m.sku, m.sequence, m.quantity, m.on_hand, m.held, m.create_time, m.transaction_id, m.reason, m.kind,
                    nullif(m.reserved, 0), nullif(m.buffer, 0), nullif(m.damaged, 0), nullif(m.quality_control, 0),
                    m.reservation_id
             FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[],
                         $7::uuid[], $8::text[], $9::smallint[], $10::bigint[], $11::bigint[], $12::bigint[],
                         $13::bigint[], $14::uuid[])
                  AS m (sku, sequence, quantity, on_hand, held, create_time, transaction_id, reason, kind,
                        reserved, buffer, damaged, quality_control, reservation_id)"
        }
    })
    .bind(batch.lines.iter().map(|line| line.sku).collect::<Vec<_>>())
    .bind(&sequences)
    .bind(batch.lines.iter().map(|line| line.quantity).collect::<Vec<_>>())
    .bind(figures(|after| after.on_hand))
    .bind(figures(|after| after.held))
    .bind(times)
    .bind(batch.lines.iter().map(|line| line.transaction_id).collect::<Vec<_>>())
    // What is shorter than the others is filled up with NULL; plain lines have reasons all or none.
    .bind(match is_plain && first.reason.is_none() {
        true => Vec::new(),
        false => batch.lines.iter().map(|line| line.reason).collect::<Vec<_>>(),
    });
    let query = match is_plain {
        true => query.bind(code(first.kind)),
        false => query
            .bind(batch.lines.iter().map(|line| code(line.kind)).collect::<Vec<_>>())
            .bind(figures(|after| after.reserved))
            .bind(figures(|after| after.buffer))
            .bind(figures(|after| after.damaged))
            .bind(figures(|after| after.quality_control))
            .bind(batch.lines.iter().map(|line| line.reservation_id).collect::<Vec<_>>()),
    };
    changes::tell(running.iter().map(|(sku, (sequence, ..))| (*sku, *sequence)));
    query.execute(connection).await?;
    Ok(sequences)
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

/// Writes a client's movement, and minds what follows from it; `after` is what the SKU is since then. Answers what it is at
/// the end.
pub async fn write_one(connection: &mut PgConnection, asked: &Asked<'_>, after: Stock) -> Result<Stock, sqlx::Error> {
    write_one_at(connection, asked, after, None).await
}

/// The same, about what is at one location.
pub async fn write_one_at(
    connection: &mut PgConnection,
    asked: &Asked<'_>,
    after: Stock,
    at: Option<&str>,
) -> Result<Stock, sqlx::Error> {
    let Stock { sku, balance, version, update_time, .. } = &after;
    changes::tell(std::iter::once((sku.as_str(), *version)));
    sqlx::query(
        "INSERT INTO movement (sku, sequence, quantity, on_hand, held, create_time, request_id, actor, kind,
                               reserved, buffer, damaged, quality_control)
         VALUES ($1, $2, $3, $4, $5, $6, nullif($7, ''), $8, $9,
                 nullif($10, 0), nullif($11, 0), nullif($12, 0), nullif($13, 0))",
    )
    .bind(sku)
    .bind(version)
    .bind(asked.quantity)
    .bind(balance.on_hand)
    .bind(balance.held)
    .bind(update_time)
    .bind(asked.request_id)
    .bind(asked.client_id)
    .bind(code(asked.kind))
    .bind(balance.reserved)
    .bind(balance.buffer)
    .bind(balance.damaged)
    .bind(balance.quality_control)
    .execute(&mut *connection)
    .await?;
    let mut minded = supply::mind(connection, [&after], &[], at).await?;
    Ok(minded.remove(&after.sku).unwrap_or(after))
}

/// The columns of a movement; they are read by name.
macro_rules! select_movement {
    ($rest:literal) => {
        concat!(
            "SELECT sku, sequence, kind, quantity, on_hand, held, create_time, transaction_id, reason, request_id, actor, ",
            "coalesce(reserved, 0) AS reserved, coalesce(buffer, 0) AS buffer, coalesce(damaged, 0) AS damaged, ",
            "coalesce(quality_control, 0) AS quality_control, reservation_id FROM movement ",
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
            after: Balance {
                on_hand: row.try_get("on_hand")?,
                held: row.try_get("held")?,
                reserved: row.try_get("reserved")?,
                buffer: row.try_get("buffer")?,
                damaged: row.try_get("damaged")?,
                quality_control: row.try_get("quality_control")?,
            },
            create_time: row.try_get("create_time")?,
            transaction_id: row.try_get("transaction_id")?,
            reservation_id: row.try_get("reservation_id")?,
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
    Ok(last.map(|Movement { sku, sequence, after, create_time, .. }| Stock {
        sku,
        balance: after,
        version: sequence,
        update_time: create_time,
        marks: Marks::default(),
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

/// Movements after the places given, at most `limit` of each SKU, in the order of each SKU.
///
/// A movement is written while the SKU's row is locked, so one is never seen before the one before it: what comes after the
/// last that was seen is all that was missed.
pub async fn news(
    executor: impl PgExecutor<'_>,
    seen: &BTreeMap<String, i64>,
    limit: i64,
) -> Result<Vec<Movement>, sqlx::Error> {
    sqlx::query_as(concat!(
        "SELECT m.* FROM unnest($1::text[], $2::bigint[]) AS seen (sku, sequence), LATERAL (",
        select_movement!(
            "WHERE movement.sku = seen.sku AND movement.sequence > seen.sequence ORDER BY sequence LIMIT $3"
        ),
        ") m"
    ))
    .bind(seen.keys().map(String::as_str).collect::<Vec<_>>())
    .bind(seen.values().copied().collect::<Vec<_>>())
    .bind(limit)
    .fetch_all(executor)
    .await
}

/// A kind as it is stored.
pub(super) fn code(kind: Kind) -> i16 {
    match kind {
        Kind::Received => 1,
        Kind::Held => 2,
        Kind::Sold => 3,
        Kind::Released => 4,
        Kind::Adjusted => 5,
        Kind::Counted => 6,
        Kind::Opened => 7,
        Kind::Returned => 8,
        Kind::Damaged => 9,
        Kind::Inspected => 10,
        Kind::Failed => 11,
        Kind::WrittenOff => 12,
        Kind::Buffered => 13,
        Kind::Reserved => 14,
        Kind::Unreserved => 15,
        Kind::Claimed => 16,
        Kind::Unclaimed => 17,
        Kind::TransferredOut => 20,
        Kind::TransferredIn => 21,
        Kind::Cancelled => 40,
        Kind::ReturnedByCustomer => 41,
        Kind::ReturnedDamaged => 42,
        Kind::Allotted => 22,
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
        9 => Kind::Damaged,
        10 => Kind::Inspected,
        11 => Kind::Failed,
        12 => Kind::WrittenOff,
        13 => Kind::Buffered,
        14 => Kind::Reserved,
        15 => Kind::Unreserved,
        16 => Kind::Claimed,
        17 => Kind::Unclaimed,
        20 => Kind::TransferredOut,
        21 => Kind::TransferredIn,
        40 => Kind::Cancelled,
        41 => Kind::ReturnedByCustomer,
        42 => Kind::ReturnedDamaged,
        22 => Kind::Allotted,
        _ => return Err(sqlx::Error::Decode(format!("{code} is no kind of movement").into())),
    })
}
