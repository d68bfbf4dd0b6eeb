//! `assent stock`: what is on hand, held and available, what was, and how it came about.
mod feed;
mod history;
mod locations;
pub mod point;
mod policy;
mod shown;
mod state;
mod verify;
mod watch;

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use proto::assent::inventory::v1 as wire;
use serde::Serialize;
use uuid::Uuid;

use crate::client::Services;
use crate::failure::{Call, Exit, Failure};
use crate::output::{Output, table, time};
use state::State;

/// Stock per SKU
#[derive(Debug, Subcommand)]
pub enum Stock {
    /// Set what is on hand; creates the SKU if it is new
    Set {
        /// The article
        sku: String,
        /// How many are on hand
        quantity: i64,
        /// At this location; the others keep what they have
        #[arg(long, value_name = "NAME", default_value = "")]
        location: String,
    },
    /// Add to what is on hand, or take from it
    #[command(allow_negative_numbers = true, visible_alias = "add")]
    Adjust {
        /// The article
        sku: String,
        /// How many come (positive) or go (negative)
        delta: i64,
        /// At this location; from then on the SKU is kept in several
        #[arg(long, value_name = "NAME", default_value = "")]
        location: String,
        /// Names the request, so that it can be repeated; made up if not given
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
    /// Keep some of a SKU back: on hand, but not sold
    Buffer {
        /// The article
        sku: String,
        /// How many are kept back; 0: none
        quantity: i64,
    },
    /// Move units from one state to another
    Move {
        /// The article
        sku: String,
        /// How many
        quantity: i64,
        /// Where they are
        #[arg(long)]
        from: State,
        /// Where they go
        #[arg(long)]
        to: State,
        /// Names the request, so that it can be repeated; made up if not given
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
    /// Move units of a SKU from one location to another
    Transfer {
        /// The article
        sku: String,
        /// How many
        quantity: i64,
        /// Where they are
        #[arg(long, value_name = "NAME")]
        from: String,
        /// Where they go
        #[arg(long, value_name = "NAME")]
        to: String,
        /// Names the request, so that it can be repeated; made up if not given
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
    /// List the locations, in the order in which orders are served from them
    Locations,
    /// Add a location, or change its priority
    Location {
        /// Its name
        location: String,
        /// Orders are served from the lowest first
        #[arg(long, value_name = "N", default_value_t = 100)]
        priority: i32,
    },
    /// Show which location ships what of an order
    Allocation {
        /// The order
        order_id: String,
    },
    /// Set or show what may be ordered of a SKU beyond what is there
    Policy(policy::Policy),
    /// Show one SKU
    /// Show one SKU, and what a product page says of it
    Get {
        /// The article
        sku: String,
        /// At this version or a later one
        #[arg(long, value_name = "VERSION", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
        min_version: i64,
        /// Show what it has where, instead
        #[arg(long)]
        locations: bool,
    },
    /// Set at how many a SKU is low; 0: never
    Threshold {
        /// The article
        sku: String,
        /// How many are left
        quantity: i64,
    },
    /// List the SKUs
    Ls {
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// List what happened to one SKU, newest first
    History {
        /// The article
        sku: String,
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Follow SKUs: what they are, then each movement, one a line; Ctrl-C ends it
    Watch {
        /// The articles
        #[arg(required = true)]
        skus: Vec<String>,
        /// Go on after this movement, instead of beginning with what the SKU is; for one article
        #[arg(long, value_name = "SEQ")]
        after: Option<i64>,
    },
    /// Show how far the movements were passed on to NATS JetStream; exit code 1 if they can't be
    Feed,
    /// Show one SKU as it was
    At {
        /// The article
        sku: String,
        /// When: 2026-11-24T15:32:39Z, or so long ago: -90s, -10m, -2h, -3d
        #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = point::parse)]
        time: DateTime<Utc>,
    },
    /// Replay the ledger of every SKU and compare it with the stock; exit code 1 if anything differs
    Rebuild {
        /// Only compare: nothing is changed
        #[arg(long, required = true)]
        verify: bool,
    },
}

#[derive(Debug, Serialize)]
struct StockView {
    sku: String,
    on_hand: i64,
    held: i64,
    reserved: i64,
    buffer: i64,
    available: i64,
    damaged: i64,
    quality_control: i64,
    version: i64,
    update_time: Option<String>,
}

impl From<wire::StockItem> for StockView {
    fn from(item: wire::StockItem) -> Self {
        let update_time = time(item.update_time.as_ref());
        let wire::StockItem { sku, on_hand, held, reserved, buffer, available, version, .. } = item;
        let wire::StockItem { damaged, quality_control, .. } = item;
        StockView { sku, on_hand, held, reserved, buffer, available, damaged, quality_control, version, update_time }
    }
}

#[derive(Debug, Serialize)]
struct StockList {
    items: Vec<StockView>,
}

impl Stock {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let mut client = services.stock().await?;
        let item = match self {
            Stock::Set { sku, quantity, location } => {
                let request = services.request(wire::SetStockRequest { sku, on_hand: quantity, location });
                let answer = client.set_stock(request).await.map_err(|status| Failure::of_status(&status, Call::Write));
                answer?.into_inner().item
            }
            Stock::Adjust { sku, delta, location, request_id } => {
                let request_id = request_id.unwrap_or_else(|| Uuid::new_v4().to_string());
                let request = services.request(wire::AdjustStockRequest {
                    sku,
                    delta,
                    request_id: request_id.clone(),
                    location,
                    ..Default::default()
                });
                let answer = client.adjust_stock(request).await.map_err(|status| unsure(&status, &request_id));
                answer?.into_inner().item
            }
            Stock::Buffer { sku, quantity } => {
                let request = services.request(wire::SetBufferRequest { sku, buffer: quantity });
                let answer = client.set_buffer(request).await;
                answer.map_err(|status| Failure::of_status(&status, Call::Write))?.into_inner().item
            }
            Stock::Move { sku, quantity, from, to, request_id } => {
                let request_id = request_id.unwrap_or_else(|| Uuid::new_v4().to_string());
                let (from, to) = (wire::StockState::from(from).into(), wire::StockState::from(to).into());
                let request = services.request(wire::MoveStockRequest {
                    sku,
                    from,
                    to,
                    quantity,
                    request_id: request_id.clone(),
                    location: String::new(),
                });
                let answer = client.move_stock(request).await.map_err(|status| unsure(&status, &request_id));
                answer?.into_inner().item
            }
            Stock::Transfer { sku, quantity, from, to, request_id } => {
                return locations::transfer(services, (sku, quantity), (from, to), request_id, output).await;
            }
            Stock::Policy(policy) => return policy.run(services, output).await,
            Stock::Locations => return locations::list(services, None, output).await,
            Stock::Location { location, priority } => {
                return locations::list(services, Some((location, priority)), output).await;
            }
            Stock::Allocation { order_id } => return locations::allocation(services, order_id, output).await,
            Stock::Get { sku, locations: true, .. } => return locations::get(services, sku, output).await,
            Stock::Get { sku, min_version, .. } => return shown::get(services, sku, min_version, output).await,
            Stock::Threshold { sku, quantity } => return shown::set_threshold(services, sku, quantity, output).await,
            Stock::At { sku, time } => {
                let read_time = Some(SystemTime::from(time).into());
                let request = services.request(wire::GetStockRequest { sku, read_time, ..Default::default() });
                let answer = client.get_stock(request).await.map_err(|status| {
                    let failure = Failure::of_status(&status, Call::Read);
                    match failure.reason.as_deref() {
                        Some("UNKNOWN_SKU") => failure.hint("its history may begin later"),
                        _ => failure,
                    }
                });
                let view = StockView::from(answer?.into_inner().item.ok_or_else(no_item)?);
                return output.print(&view, stock_at_table);
            }
            Stock::History { sku, limit } => return history::run(services, sku, limit, output).await,
            Stock::Watch { skus, after } => return watch::run(services, skus, after, output).await,
            Stock::Feed => return feed::run(services, output).await,
            Stock::Rebuild { .. } => return verify::run(services, output).await,
            Stock::Ls { limit } => return list(services, limit, output).await,
        };
        let item = item.ok_or_else(no_item)?;
        output.print(&StockView::from(item), |view| stock_table(std::slice::from_ref(view)))
    }
}

/// A failure, with what to do where it is not known whether it happened.
pub fn unsure(status: &tonic::Status, request_id: &str) -> Failure {
    let failure = Failure::of_status(status, Call::Write);
    match failure.exit {
        Exit::Unknown => failure.hint(format!("it may have happened: repeat it with --request-id {request_id}")),
        _ => failure,
    }
}

fn no_item() -> Failure {
    Failure::new("the inventory answered without the stock")
}

async fn list(services: &Services, limit: u32, output: Output) -> Result<(), Failure> {
    let mut client = services.stock().await?;
    let mut items: Vec<StockView> = Vec::new();
    let mut page_token = String::new();
    loop {
        let left = (limit as usize).saturating_sub(items.len()).min(1_000);
        let request =
            services.request(wire::ListStockRequest { page_size: i32::try_from(left).unwrap_or(1_000), page_token });
        let page = client.list_stock(request).await.map_err(|status| Failure::of_status(&status, Call::Read))?;
        let page = page.into_inner();
        items.extend(page.items.into_iter().map(StockView::from));
        page_token = page.next_page_token;
        if page_token.is_empty() || items.len() >= limit as usize {
            break;
        }
    }
    output.print(&StockList { items }, |list| stock_table(&list.items))
}

type Column = (&'static str, fn(&StockView) -> i64);

/// The figures that are shown: what few SKUs have only where one of these has it.
fn columns(items: &[StockView]) -> Vec<Column> {
    let all: [(Column, bool); 7] = [
        (("on hand", |item| item.on_hand), true),
        (("held", |item| item.held), true),
        (("reserved", |item| item.reserved), false),
        (("buffer", |item| item.buffer), false),
        (("available", |item| item.available), true),
        (("damaged", |item| item.damaged), false),
        (("quality control", |item| item.quality_control), false),
    ];
    let shown = |((_, figure), always): &(Column, bool)| *always || items.iter().any(|item| figure(item) != 0);
    all.into_iter().filter(shown).map(|(column, _)| column).collect()
}

fn stock_table(items: &[StockView]) -> String {
    let columns = columns(items);
    let row = |item: &StockView| {
        std::iter::once(item.sku.clone()).chain(columns.iter().map(|(_, figure)| figure(item).to_string())).collect()
    };
    let headers: Vec<&str> = std::iter::once("sku").chain(columns.iter().map(|(name, _)| *name)).collect();
    let right: Vec<usize> = (1..headers.len()).collect();
    table(&headers, &right, items.iter().map(row).collect())
}

fn stock_at_table(item: &StockView) -> String {
    let columns = columns(std::slice::from_ref(item));
    let mut row: Vec<String> = vec![item.sku.clone()];
    row.extend(columns.iter().map(|(_, figure)| figure(item).to_string()));
    row.extend([item.version.to_string(), item.update_time.clone().unwrap_or_default()]);
    let mut headers: Vec<&str> = vec!["sku"];
    headers.extend(columns.iter().map(|(name, _)| *name));
    headers.extend(["version", "since"]);
    let right: Vec<usize> = (1..headers.len() - 1).collect();
    table(&headers, &right, vec![row])
}
