//! `assent stock get` and `threshold`: a SKU with what a product page says of it.
use proto::assent::inventory::v1 as wire;
use serde::Serialize;

use super::{StockView, columns, no_item};
use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::output::{Output, table, time};

#[derive(Debug, Serialize)]
struct ReadingView {
    #[serde(flatten)]
    stock: StockView,
    /// "in_stock", "low_stock", "out_of_stock", "preorder" or "backorder".
    status: String,
    low_stock_threshold: i64,
    as_of: Option<String>,
}

/// Shows one SKU.
pub async fn get(services: &Services, sku: String, min_version: i64, output: Output) -> Result<(), Failure> {
    let request = services.request(wire::GetStockRequest { sku, read_time: None, min_version });
    let answer = services.stock().await?.get_stock(request).await;
    let answer = answer.map_err(|status| Failure::of_status(&status, Call::Read))?.into_inner();
    let status = answer.status().as_str_name().trim_start_matches("STOCK_STATUS_").to_lowercase();
    let view = ReadingView {
        stock: answer.item.ok_or_else(no_item)?.into(),
        status,
        low_stock_threshold: answer.low_stock_threshold,
        as_of: time(answer.as_of.as_ref()),
    };
    output.print(&view, page)
}

fn page(view: &ReadingView) -> String {
    let columns = columns(std::slice::from_ref(&view.stock));
    let mut row: Vec<String> = vec![view.stock.sku.clone()];
    row.extend(columns.iter().map(|(_, figure)| figure(&view.stock).to_string()));
    row.extend([view.status.replace('_', " "), view.stock.version.to_string(), view.as_of.clone().unwrap_or_default()]);
    let mut headers: Vec<&str> = vec!["sku"];
    headers.extend(columns.iter().map(|(name, _)| *name));
    let right: Vec<usize> = (1..headers.len()).chain([headers.len() + 1]).collect();
    headers.extend(["status", "version", "as of"]);
    table(&headers, &right, vec![row])
}

/// Sets at how many a SKU is low, and shows it.
pub async fn set_threshold(services: &Services, sku: String, threshold: i64, output: Output) -> Result<(), Failure> {
    let request = services.request(wire::SetLowStockThresholdRequest { sku: sku.clone(), threshold });
    let set = services.stock().await?.set_low_stock_threshold(request).await;
    set.map_err(|status| Failure::of_status(&status, Call::Write))?;
    get(services, sku, 0, output).await
}
