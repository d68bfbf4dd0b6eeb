//! `assent stock watch`: what happens to SKUs, as it happens.
use proto::assent::inventory::v1 as wire;
use proto::assent::inventory::v1::watch_stock_response::Event;
use serde::Serialize;
use tonic::Request;

use super::StockView;
use super::history::MovementView;
use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::output::Output;

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Item(StockView),
    Movement(MovementView),
}

/// Runs the verb, until it is interrupted or the service ends.
pub async fn run(
    services: &Services,
    skus: Vec<String>,
    after_sequence: Option<i64>,
    output: Output,
) -> Result<(), Failure> {
    let watched = skus.into_iter().map(|sku| wire::WatchedStock { sku, after_sequence }).collect();
    // No deadline: it goes on.
    let request = Request::new(wire::WatchStockRequest { watched });
    let read = |status: tonic::Status| Failure::of_status(&status, Call::Read);
    let mut events = services.stock().await?.watch_stock(request).await.map_err(read)?.into_inner();
    while let Some(response) = events.message().await.map_err(read)? {
        let (told, text) = match response.event {
            Some(Event::Item(item)) => {
                let text =
                    format!("{} at {}: {} on hand, {} available", item.sku, item.version, item.on_hand, item.available);
                (Told::Item(item.into()), text)
            }
            Some(Event::Movement(movement)) => {
                let view = MovementView::from(movement);
                (Told::Movement(view.clone()), view.line())
            }
            None => continue,
        };
        output.print_line(&told, &text)?;
    }
    Err(Failure::new("the inventory has ended the stream").hint("go on with --after, the last sequence that was seen"))
}
