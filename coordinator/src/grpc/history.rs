//! What happened to an order, as a list and as it happens.
//!
//! A watcher looks for what comes after the last event that it has passed on, and only when its client has room for it: a slow
//! client falls behind by itself, and nothing is kept for it.
use std::time::Duration;

use participant::transaction::read_id;
use participant::{paging, status};
use proto::assent::order::v1 as api;
use proto::assent::order::v1::watch_order_response::Told as What;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};
use uuid::Uuid;

use super::order::Orders;
use super::wire;

/// How long a list waits for what is decided to be applied.
const APPLIED_WITHIN: Duration = Duration::from_millis(1000);
/// Orders that are watched at one time.
pub const MAX_WATCHERS: usize = 1_000;
/// How often is looked for news.
const INTERVAL: Duration = Duration::from_millis(100);
/// Events that are read at a time.
const AT_ONCE: i32 = 100;
/// What waits for a client.
const ROOM: usize = 16;
const READ_TIMEOUT: Duration = Duration::from_millis(3000);

/// What a watcher gets.
pub type Told = ReceiverStream<Result<api::WatchOrderResponse, Status>>;

/// Lists events.
pub async fn list(
    orders: &Orders,
    request: api::ListOrderEventsRequest,
) -> Result<api::ListOrderEventsResponse, Status> {
    let order_id = read_id("order_id", &request.order_id)?;
    let page_size = paging::page_size(request.page_size)?;
    let name = order_id.to_string();
    let list = ["order events", name.as_str()];
    let after = match paging::position(&request.page_token, &list)? {
        None => 0,
        Some(position) => {
            position.parse().map_err(|_| status::invalid("page_token", "is none that this service gave out"))?
        }
    };
    applied(orders, order_id).await?;
    // One more than fits the page tells whether there is another one.
    let limit = i32::try_from(page_size).unwrap_or(i32::MAX);
    let read = events(orders, order_id, after, limit.min(paging::MAX_PAGE_SIZE - 1) + 1).await?;
    let page_size = page_size.min(usize::try_from(paging::MAX_PAGE_SIZE - 1).unwrap_or(page_size));
    let (events, next_page_token) = paging::cut(read, page_size, &list, |last| last.sequence.to_string());
    Ok(api::ListOrderEventsResponse { events, next_page_token })
}

/// Waits, for a moment, until the order service has applied what the order is read as, so that the history is not behind an
/// answer. A service that is down keeps it from that; the history is then as the service has it.
async fn applied(orders: &Orders, order_id: Uuid) -> Result<(), Status> {
    let version = orders.read(order_id).await?.version;
    let deadline = Instant::now() + APPLIED_WITHIN;
    while Instant::now() < deadline {
        let (stored, _) = orders.stored(order_id).await?;
        if stored.is_none_or(|order| order.version >= version) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn events(orders: &Orders, order_id: Uuid, after: i64, limit: i32) -> Result<Vec<api::OrderEvent>, Status> {
    let order_id = order_id.to_string();
    let mut request = Request::new(api::ReadOrderEventsRequest { order_id, after_sequence: after, page_size: limit });
    request.set_timeout(READ_TIMEOUT);
    let read = orders.store()?.read_order_events(request).await.map_err(wire::from_store)?;
    Ok(read.into_inner().events)
}

/// Watches an order.
pub async fn watch(orders: &Orders, request: api::WatchOrderRequest) -> Result<Told, Status> {
    let order_id = read_id("order_id", &request.order_id)?;
    if request.after_sequence.is_some_and(|sequence| sequence < 0) {
        return Err(status::invalid("after_sequence", "must be zero or more"));
    }
    let permit = orders.watcher()?;
    let order = orders.read(order_id).await?;
    let (sender, told) = mpsc::channel(ROOM);
    let orders = orders.clone();
    tokio::spawn(async move {
        let _permit = permit;
        tokio::select! {
            () = sender.closed() => (),
            ended = pass_on(&orders, order, order_id, request.after_sequence, &sender) => {
                if let Err(status) = ended {
                    let _ = sender.send(Err(status)).await;
                }
            }
        }
    });
    Ok(ReceiverStream::new(told))
}

async fn pass_on(
    orders: &Orders,
    order: api::Order,
    order_id: Uuid,
    after: Option<i64>,
    sender: &mpsc::Sender<Result<api::WatchOrderResponse, Status>>,
) -> Result<(), Status> {
    // A client that has gone ends this from outside.
    let send = async |told| drop(sender.send(Ok(api::WatchOrderResponse { told: Some(told) })).await);
    let mut last = after.unwrap_or(order.version);
    // A refusal that the order service knows nothing of has no history there.
    let mut is_over = after.is_none() && order.state() == api::OrderState::Refused;
    if after.is_none() {
        send(What::Order(order)).await;
    }
    while !is_over {
        let news = match events(orders, order_id, last, AT_ONCE).await {
            Ok(news) => news,
            Err(status) if status.code() == tonic::Code::NotFound => {
                // It may not be written down yet; or it never will be, if it was refused before.
                is_over = orders.read(order_id).await?.state() == api::OrderState::Refused;
                Vec::new()
            }
            Err(status) => return Err(status),
        };
        let is_quiet = news.is_empty();
        for event in news {
            last = event.sequence;
            is_over = event.kind() == api::OrderEventKind::Refused;
            send(What::Event(event)).await;
        }
        if is_quiet && !is_over {
            tokio::time::sleep(INTERVAL).await;
        }
    }
    Ok(())
}
