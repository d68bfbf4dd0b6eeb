//! `assent order watch`: what happens to an order, as it happens.
use proto::assent::order::v1 as wire;
use proto::assent::order::v1::watch_order_response::Told as What;
use serde::Serialize;
use tonic::Request;

use super::OrderView;
use super::history::EventView;
use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::output::Output;

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Order(Box<OrderView>),
    Event(Box<EventView>),
}

/// Runs the verb, until it is interrupted, the service ends, or nothing can happen any more.
pub async fn run(
    services: &Services,
    order_id: String,
    after_sequence: Option<i64>,
    output: Output,
) -> Result<(), Failure> {
    // No deadline: it goes on.
    let request = Request::new(wire::WatchOrderRequest { order_id, after_sequence });
    let read = |status: tonic::Status| Failure::of_status(&status, Call::Read);
    let mut told = services.orders().await?.watch_order(request).await.map_err(read)?.into_inner();
    let mut is_over = false;
    while let Some(response) = told.message().await.map_err(read)? {
        let (what, text) = match response.told {
            Some(What::Order(order)) => {
                is_over = order.state() == wire::OrderState::Refused;
                let view = OrderView::from(order);
                let text = format!("{} at {}: {}", view.order_id, view.version, view.state);
                (Told::Order(Box::new(view)), text)
            }
            Some(What::Event(event)) => {
                is_over = event.kind() == wire::OrderEventKind::Refused;
                let view = EventView::from(event);
                (Told::Event(Box::new(view.clone())), view.line())
            }
            None => continue,
        };
        output.print_line(&what, &text)?;
    }
    match is_over {
        true => Ok(()),
        false => Err(Failure::new("the coordinator has ended the stream")
            .hint("go on with --after, the last sequence that was seen")),
    }
}
