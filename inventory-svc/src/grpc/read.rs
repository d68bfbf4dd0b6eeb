//! GetStock and BatchGetStock.
use std::collections::HashMap;
use std::time::SystemTime;

use participant::{Pool, status};
use proto::assent::inventory::v1 as api;
use proto::limits::{self, MAX_READ};
use tonic::Status;

use super::wire;
use crate::domain::{self, Denied, Reading};
use crate::reads::Reads;
use crate::store::ledger;

/// Reads one SKU, as it is or as it was.
pub async fn one(pool: &Pool, reads: &Reads, request: api::GetStockRequest) -> Result<api::GetStockResponse, Status> {
    let api::GetStockRequest { sku, read_time, min_version } = request;
    limits::check_sku(&sku).map_err(|wrong| status::invalid("sku", wrong))?;
    check_version("min_version", min_version)?;
    if let Some(read_time) = read_time {
        if min_version > 0 {
            return Err(status::invalid("min_version", "can't be asked for together with read_time"));
        }
        let time = wire::time("read_time", read_time)?;
        let found = ledger::at(pool, &sku, time).await.map_err(|error| status::database(&error))?;
        let item = Some(wire::item(found.ok_or(Denied::UnknownSku { sku })?));
        return Ok(api::GetStockResponse { item, as_of: Some(read_time), ..Default::default() });
    }
    let mut found = reads.read(&HashMap::from([(sku.clone(), min_version)])).await?;
    let reading = found.remove(&sku).ok_or(Denied::UnknownSku { sku })?;
    Ok(api::GetStockResponse {
        item: Some(wire::item(reading.stock.clone())),
        as_of: Some(SystemTime::from(reading.as_of).into()),
        status: shown(&reading).into(),
        low_stock_threshold: reading.low_at,
    })
}

/// Reads what is shown of many SKUs.
pub async fn many(reads: &Reads, request: api::BatchGetStockRequest) -> Result<api::BatchGetStockResponse, Status> {
    let is_full = request.view() == api::StockView::Full;
    let count = request.wanted.len();
    if !(1..=MAX_READ).contains(&count) {
        return Err(status::invalid("wanted", format!("must be 1 to {MAX_READ}, not {count}")));
    }
    let mut wanted = HashMap::with_capacity(count);
    for (place, api::WantedStock { sku, min_version }) in request.wanted.iter().enumerate() {
        limits::check_sku(sku).map_err(|wrong| status::invalid(format!("wanted[{place}].sku"), wrong))?;
        check_version(&format!("wanted[{place}].min_version"), *min_version)?;
        if wanted.insert(sku.clone(), *min_version).is_some() {
            return Err(status::invalid(format!("wanted[{place}].sku"), "is named twice"));
        }
    }
    let found = reads.read(&wanted).await?;
    let mut response = api::BatchGetStockResponse::default();
    for api::WantedStock { sku, .. } in request.wanted {
        match found.get(&sku) {
            Some(reading) => response.readings.push(api::StockReading {
                version: reading.stock.version,
                as_of: Some(SystemTime::from(reading.as_of).into()),
                status: shown(reading).into(),
                available: is_full.then(|| reading.stock.balance.available().max(0)),
                sku,
            }),
            None => response.unknown_skus.push(sku),
        }
    }
    Ok(response)
}

fn check_version(field: &str, version: i64) -> Result<(), Status> {
    match version >= 0 {
        true => Ok(()),
        false => Err(status::invalid(field, "must be zero or more")),
    }
}

fn shown(reading: &Reading) -> api::StockStatus {
    match reading.status() {
        domain::Status::InStock => api::StockStatus::InStock,
        domain::Status::LowStock => api::StockStatus::LowStock,
        domain::Status::OutOfStock => api::StockStatus::OutOfStock,
        domain::Status::Preorder => api::StockStatus::Preorder,
        domain::Status::Backorder => api::StockStatus::Backorder,
    }
}
