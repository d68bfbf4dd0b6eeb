//! `assent backorder`: what orders are owed.
use clap::Subcommand;
use proto::assent::inventory::v1 as wire;
use serde::Serialize;

use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::output::{Output, table, time};

/// What orders are owed
#[derive(Debug, Subcommand)]
pub enum Backorder {
    /// Show what an order is or was owed
    Show {
        /// The order
        order_id: String,
    },
    /// List the orders that wait for a SKU, in the order of placement
    Ls {
        /// The article
        sku: String,
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1_000))]
        limit: i32,
    },
}

#[derive(Debug, Serialize)]
struct OwedView {
    order_id: String,
    sku: String,
    kind: &'static str,
    ordered: i64,
    owed: i64,
    state: &'static str,
    available_time: Option<String>,
}

#[derive(Debug, Serialize)]
struct OwedList {
    backorders: Vec<OwedView>,
}

impl Backorder {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let mut client = services.backorders().await?;
        let read = |status: tonic::Status| Failure::of_status(&status, Call::Read);
        let found = match self {
            Backorder::Show { order_id } => {
                let request = services.request(wire::GetBackorderRequest { order_id });
                client.get_backorder(request).await.map_err(read)?.into_inner().backorders
            }
            Backorder::Ls { sku, limit } => {
                let asked = wire::ListBackordersRequest { sku, page_size: limit, page_token: String::new() };
                client.list_backorders(services.request(asked)).await.map_err(read)?.into_inner().backorders
            }
        };
        let view = |owed: wire::Backorder| OwedView {
            kind: owed.kind().as_str_name().trim_start_matches("SUPPLY_KIND_"),
            state: owed.state().as_str_name().trim_start_matches("BACKORDER_STATE_"),
            available_time: time(owed.available_time.as_ref()),
            order_id: owed.order_id,
            sku: owed.sku,
            ordered: owed.ordered,
            owed: owed.owed,
        };
        let list = OwedList { backorders: found.into_iter().map(view).collect() };
        output.print(&list, |list| {
            let row = |owed: &OwedView| {
                vec![
                    owed.order_id.clone(),
                    owed.sku.clone(),
                    owed.kind.to_owned(),
                    owed.ordered.to_string(),
                    owed.owed.to_string(),
                    owed.state.to_owned(),
                    owed.available_time.clone().unwrap_or_default(),
                ]
            };
            let headers = ["order", "sku", "kind", "ordered", "owed", "state", "available"];
            table(&headers, &[3, 4], list.backorders.iter().map(row).collect())
        })
    }
}
