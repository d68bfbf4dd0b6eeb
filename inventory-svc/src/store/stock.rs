//! Stock as shops see and change it, one SKU at a time.
use chrono::{DateTime, Utc};
use participant::own_request;
use sqlx::{PgConnection, PgExecutor};

use super::ledger::{self, Asked};
use super::locations;
use crate::domain::{Balance, Denied, Kind, MAX_ON_HAND, Marks, Stock};

/// A change by so many, under the client's name for it.
#[derive(Debug, Clone)]
pub struct Adjustment {
    /// The article.
    pub sku: String,
    /// What comes (positive) or goes (negative).
    pub delta: i64,
    /// At which location, if one is named.
    pub at: Option<String>,
    /// Who asks.
    pub client_id: String,
    /// The client's name for the request; empty if it has none.
    pub request_id: String,
    /// Whether it was found by counting.
    pub counted: bool,
}

/// A row as it is read; see [`stock`].
pub type Row = (String, i64, i64, i64, DateTime<Utc>, i64, i64, i64, i64, i32);

/// A row as it is read.
pub fn stock(row: Row) -> Stock {
    let (sku, on_hand, held, version, update_time, reserved, buffer, damaged, quality_control, marks) = row;
    let balance = Balance { on_hand, held, reserved, buffer, damaged, quality_control };
    Stock { sku, balance, version, update_time, marks: Marks::of_bits(marks) }
}

/// The columns of a row, in its order.
macro_rules! with_columns {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " sku, on_hand, held, version, update_time, coalesce(reserved, 0), coalesce(buffer, 0), coalesce(damaged, 0), ",
            "coalesce(quality_control, 0), coalesce(marks, 0) ",
            $after
        )
    };
}

/// Reads one SKU.
pub async fn get(executor: impl PgExecutor<'_>, sku: &str) -> Result<Option<Stock>, sqlx::Error> {
    let row =
        sqlx::query_as(with_columns!("SELECT", "FROM stock WHERE sku = $1")).bind(sku).fetch_optional(executor).await?;
    Ok(row.map(stock))
}

/// Lists SKUs after `after`, at most `limit`.
pub async fn list(executor: impl PgExecutor<'_>, after: &str, limit: usize) -> Result<Vec<Stock>, sqlx::Error> {
    let rows = sqlx::query_as(with_columns!("SELECT", "FROM stock WHERE sku > $1 ORDER BY sku LIMIT $2"))
        .bind(after)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(executor)
        .await?;
    Ok(rows.into_iter().map(stock).collect())
}

/// Sets what is on hand of a SKU, new or not, because a client has counted it.
pub async fn set(
    connection: &mut PgConnection,
    sku: &str,
    on_hand: i64,
    client_id: &str,
    at: Option<&str>,
) -> Result<Result<Stock, Denied>, sqlx::Error> {
    let on_hand = match at {
        None => on_hand,
        Some(at) => match locations::before_count(connection, sku, at, on_hand).await? {
            Ok(on_hand) => on_hand,
            Err(denied) => return Ok(Err(denied)),
        },
    };
    let row = sqlx::query_as(with_columns!(
        "INSERT INTO stock (sku, on_hand) VALUES ($1, $2)
         ON CONFLICT (sku) DO UPDATE
            SET on_hand = EXCLUDED.on_hand, version = stock.version + 1, update_time = greatest(now(), stock.update_time)
            WHERE stock.held + coalesce(stock.reserved, 0) <= EXCLUDED.on_hand
         RETURNING",
        ""
    ))
    .bind(sku)
    .bind(on_hand)
    .fetch_optional(&mut *connection)
    .await?;
    match row {
        Some(row) => {
            let counted = Asked { kind: Kind::Counted, quantity: on_hand, request_id: "", client_id };
            let stock = locations::after(connection, stock(row), at).await?;
            Ok(Ok(ledger::write_one_at(connection, &counted, stock, at).await?))
        }
        None => {
            let held = get(connection, sku).await?.map(|stock| stock.balance.held + stock.balance.reserved);
            let held = held.unwrap_or_default();
            Ok(Err(Denied::BelowHeld { sku: sku.to_owned(), held, on_hand }))
        }
    }
}

/// Counts a change of a SKU that leaves its figures as they are, for the movement that says what it was.
pub async fn touch(connection: &mut PgConnection, sku: &str) -> Result<Stock, sqlx::Error> {
    let row = sqlx::query_as(with_columns!(
        "UPDATE stock SET version = version + 1, update_time = greatest(now(), update_time) WHERE sku = $1 RETURNING",
        ""
    ))
    .bind(sku)
    .fetch_one(connection)
    .await?;
    Ok(stock(row))
}

/// Adds to or takes from what is on hand, once for each request.
pub async fn adjust(
    connection: &mut PgConnection,
    adjustment: &Adjustment,
) -> Result<Result<Stock, Denied>, sqlx::Error> {
    let Adjustment { sku, delta, at, client_id, request_id, counted } = adjustment;
    let parameters = match at {
        None => format!("adjust {sku} by {delta}"),
        Some(at) => format!("adjust {sku} at {at} by {delta}"),
    };
    match own_request::note(connection, client_id, request_id, &parameters).await? {
        Err(reused) => return Ok(Err(reused.into())),
        Ok(true) => (),
        Ok(false) => {
            let now = get(connection, sku).await?;
            return Ok(now.ok_or_else(|| Denied::UnknownSku { sku: sku.clone() }));
        }
    }
    let at = at.as_deref();
    if let Some(denied) = locations::before_change(connection, sku, at, *delta).await? {
        return Ok(Err(denied));
    }
    let changed = change(connection, sku, *delta).await?;
    let stock = match changed {
        Ok(stock) => stock,
        Err(denied) => return Ok(Err(denied)),
    };
    let kind = if *delta > 0 && !counted { Kind::Received } else { Kind::Adjusted };
    let asked = Asked { kind, quantity: *delta, request_id, client_id };
    let stock = locations::after(connection, stock, at).await?;
    Ok(Ok(ledger::write_one_at(connection, &asked, stock, at).await?))
}

/// Adds to or takes from what is on hand, if the result is one that may be.
async fn change(connection: &mut PgConnection, sku: &str, delta: i64) -> Result<Result<Stock, Denied>, sqlx::Error> {
    if let Some(stock) = add(connection, sku, delta).await? {
        return Ok(Ok(stock));
    }
    match get(&mut *connection, sku).await? {
        Some(Stock { balance: Balance { on_hand, held, reserved, .. }, .. }) => {
            let (sku, on_hand) = (sku.to_owned(), on_hand + delta);
            Ok(Err(match delta < 0 {
                true => Denied::BelowHeld { sku, held: held + reserved, on_hand },
                false => Denied::TooMany { sku, on_hand },
            }))
        }
        None if delta < 0 => Ok(Err(Denied::UnknownSku { sku: sku.to_owned() })),
        None => insert_or_add(connection, sku, delta).await,
    }
}

/// Changes a SKU that exists, if the result is one that may be.
async fn add(connection: &mut PgConnection, sku: &str, delta: i64) -> Result<Option<Stock>, sqlx::Error> {
    let row = sqlx::query_as(with_columns!(
        "UPDATE stock SET on_hand = on_hand + $2, version = version + 1, update_time = greatest(now(), stock.update_time)
         WHERE sku = $1 AND on_hand + $2 BETWEEN held + coalesce(reserved, 0) AND $3
         RETURNING",
        ""
    ))
    .bind(sku)
    .bind(delta)
    .bind(MAX_ON_HAND)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(stock))
}

/// Begins a SKU with so many, or adds them where someone else has begun it meanwhile.
async fn insert_or_add(
    connection: &mut PgConnection,
    sku: &str,
    delta: i64,
) -> Result<Result<Stock, Denied>, sqlx::Error> {
    let row = sqlx::query_as(with_columns!(
        "INSERT INTO stock (sku, on_hand) VALUES ($1, $2)
         ON CONFLICT (sku) DO UPDATE
            SET on_hand = stock.on_hand + EXCLUDED.on_hand, version = stock.version + 1, update_time = greatest(now(), stock.update_time)
            WHERE stock.on_hand + EXCLUDED.on_hand <= $3
         RETURNING",
        ""
    ))
    .bind(sku)
    .bind(delta)
    .bind(MAX_ON_HAND)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(stock).ok_or_else(|| Denied::TooMany { sku: sku.to_owned(), on_hand: MAX_ON_HAND + delta }))
}
