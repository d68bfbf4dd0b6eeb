//! What is there of a SKU without being sold: the buffer, and what is damaged or in quality control.
use participant::own_request;
use sqlx::PgConnection;

use super::ledger::{self, Asked};
use super::locations;
use super::stock::{get, stock};
use crate::domain::{Denied, Kind, Stock};

/// Units that go from one state to another.
#[derive(Debug, Clone)]
pub struct Move {
    /// The article.
    pub sku: String,
    /// What it is in the ledger, and how many.
    pub kind: Kind,
    /// Negative where they go the other way.
    pub quantity: i64,
    /// At which location, if one is named.
    pub at: Option<String>,
    /// The state that they leave, for a person.
    pub from: &'static str,
    /// Who asks.
    pub client_id: String,
    /// The client's name for the request; empty if it has none.
    pub request_id: String,
}

/// Sets how many of a SKU are not to be sold.
pub async fn set_buffer(
    connection: &mut PgConnection,
    sku: &str,
    buffer: i64,
    client_id: &str,
) -> Result<Result<Stock, Denied>, sqlx::Error> {
    let row = sqlx::query_as(
        "UPDATE stock SET buffer = nullif($2, 0), version = version + 1, update_time = greatest(now(), update_time)
         WHERE sku = $1
         RETURNING sku, on_hand, held, version, update_time, coalesce(reserved, 0), coalesce(buffer, 0),
                   coalesce(damaged, 0), coalesce(quality_control, 0), coalesce(marks, 0)",
    )
    .bind(sku)
    .bind(buffer)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(Err(Denied::UnknownSku { sku: sku.to_owned() })) };
    let after = stock(row);
    let asked = Asked { kind: Kind::Buffered, quantity: buffer, request_id: "", client_id };
    Ok(Ok(ledger::write_one(connection, &asked, after).await?))
}

/// Moves units, once for each request.
pub async fn move_units(connection: &mut PgConnection, asked: &Move) -> Result<Result<Stock, Denied>, sqlx::Error> {
    let Move { sku, kind, quantity, at, from, client_id, request_id } = asked;
    let parameters = format!("move {quantity} of {sku}: {}", kind.name());
    match own_request::note(connection, client_id, request_id, &parameters).await? {
        Err(reused) => return Ok(Err(reused.into())),
        Ok(true) => (),
        Ok(false) => {
            let now = get(connection, sku).await?;
            return Ok(now.ok_or_else(|| Denied::UnknownSku { sku: sku.clone() }));
        }
    }
    let at = at.as_deref();
    let leaves = if matches!(kind, Kind::Damaged | Kind::Inspected) { -quantity } else { 0 };
    if let Some(denied) = locations::before_change(connection, sku, at, leaves).await? {
        return Ok(Err(denied));
    }
    let lock = "SELECT sku FROM stock WHERE sku = $1 FOR NO KEY UPDATE";
    sqlx::query(lock).bind(sku).fetch_optional(&mut *connection).await?;
    let Some(before) = get(&mut *connection, sku).await? else {
        return Ok(Err(Denied::UnknownSku { sku: sku.clone() }));
    };
    let figures = before.balance;
    let there = match kind {
        Kind::Damaged | Kind::Inspected if *quantity >= 0 => figures.on_hand - figures.held - figures.reserved,
        Kind::Inspected => figures.quality_control,
        Kind::Failed if *quantity >= 0 => figures.quality_control,
        _ => figures.damaged,
    };
    let moved = quantity.abs();
    let after = kind.apply(*quantity, figures).filter(|after| moved <= there && after.on_hand <= super::MAX_ON_HAND);
    let Some(after) = after else {
        return Ok(Err(Denied::TooFew { sku: sku.clone(), state: from, there, quantity: moved }));
    };
    let row = sqlx::query_as(
        "UPDATE stock SET on_hand = $2, damaged = nullif($3, 0), quality_control = nullif($4, 0), version = version + 1,
                update_time = greatest(now(), update_time)
         WHERE sku = $1
         RETURNING sku, on_hand, held, version, update_time, coalesce(reserved, 0), coalesce(buffer, 0),
                   coalesce(damaged, 0), coalesce(quality_control, 0), coalesce(marks, 0)",
    )
    .bind(sku)
    .bind(after.on_hand)
    .bind(after.damaged)
    .bind(after.quality_control)
    .fetch_one(&mut *connection)
    .await?;
    let after = stock(row);
    let asked = Asked { kind: *kind, quantity: *quantity, request_id, client_id };
    Ok(Ok(ledger::write_one_at(connection, &asked, after, at).await?))
}
