//! WatchStock: what SKUs are, then what happens to them.
//!
//! Each watcher looks into the ledger for what comes after the last movement that it has passed on, and only when its client
//! has room for it. So a slow client falls behind by itself: nothing is kept for it, and nobody waits for it. What is told is
//! durable: a sequence never comes back as another movement.
use std::collections::BTreeMap;
use std::time::Duration;

use participant::{Pool, status};
use proto::assent::inventory::v1 as api;
use proto::assent::inventory::v1::watch_stock_response::Event;
use proto::limits::{self, MAX_WATCHED};
use sqlx::PgConnection;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::wire;
use crate::store::{durable, ledger, stock};

/// How often is looked for news.
const INTERVAL: Duration = Duration::from_millis(100);
/// Movements of a SKU that are read at a time.
const AT_ONCE: i64 = 100;
/// Events that wait for a client.
const ROOM: usize = 16;

/// What a client gets.
pub type Events = ReceiverStream<Result<api::WatchStockResponse, Status>>;

/// What is to be followed: each SKU, and the last movement that is known of it.
pub fn read(request: api::WatchStockRequest) -> Result<BTreeMap<String, Option<i64>>, Status> {
    let count = request.watched.len();
    if !(1..=MAX_WATCHED).contains(&count) {
        return Err(status::invalid("watched", format!("must be 1 to {MAX_WATCHED}, not {count}")));
    }
    let mut watched = BTreeMap::new();
    for (place, api::WatchedStock { sku, after_sequence }) in request.watched.into_iter().enumerate() {
        let wrong = |field: &str, what: String| status::invalid(format!("watched[{place}].{field}"), what);
        limits::check_sku(&sku).map_err(|what| wrong("sku", what))?;
        if after_sequence.is_some_and(|sequence| sequence < 0) {
            return Err(wrong("after_sequence", "must be zero or more".to_owned()));
        }
        if watched.insert(sku, after_sequence).is_some() {
            return Err(wrong("sku", "is named twice".to_owned()));
        }
    }
    Ok(watched)
}

/// Follows, until the client goes away or the database can't be read.
pub fn follow(pool: Pool, watched: BTreeMap<String, Option<i64>>, permit: OwnedSemaphorePermit) -> Events {
    let (sender, events) = mpsc::channel(ROOM);
    tokio::spawn(async move {
        let _permit = permit;
        tokio::select! {
            () = sender.closed() => (),
            ended = pass_on(&pool, watched, &sender) => {
                if let Err(error) = ended {
                    let _ = sender.send(Err(status::database(&error))).await;
                }
            }
        }
    });
    ReceiverStream::new(events)
}

async fn pass_on(
    pool: &Pool,
    watched: BTreeMap<String, Option<i64>>,
    sender: &mpsc::Sender<Result<api::WatchStockResponse, Status>>,
) -> Result<(), sqlx::Error> {
    // A client that has gone ends this from outside.
    let send = async |event| drop(sender.send(Ok(api::WatchStockResponse { event: Some(event) })).await);
    let mut seen = BTreeMap::new();
    for (sku, after) in watched {
        let mut last = after.unwrap_or_default();
        if after.is_none() {
            let read =
                async |connection: &mut PgConnection| Ok(stock::get(connection, &sku).await?.into_iter().collect());
            for item in durable::read(pool, read).await? {
                last = item.version;
                send(Event::Item(wire::item(item))).await;
            }
        }
        seen.insert(sku, last);
    }
    loop {
        let mut more = false;
        let read = async |connection: &mut PgConnection| ledger::news(connection, &seen, AT_ONCE).await;
        for movement in durable::read(pool, read).await? {
            more = true;
            seen.insert(movement.sku.clone(), movement.sequence);
            send(Event::Movement(wire::movement(movement))).await;
        }
        if !more {
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
