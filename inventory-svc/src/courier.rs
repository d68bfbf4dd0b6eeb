//! The courier: tells coordinators what orders have got, until its price is captured. What is told stands in the database, so
//! whatever dies meanwhile leaves it to the next round, of whichever process; telling twice does nothing twice.
use std::time::Duration;

use futures::{StreamExt, stream};
use participant::Pool;
use proto::assent::order::v1 as api;
use proto::assent::order::v1::allotment_service_client::AllotmentServiceClient;
use sqlx::PgConnection;
use tokio::time::MissedTickBehavior;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::store::backorders::{self, Allotment};

/// How often is looked for news.
const INTERVAL: Duration = Duration::from_millis(200);
/// Allotments of one round, at most, and told at one time.
const AT_ONCE: usize = 16;
/// Longer than a transaction may take by default.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Tells coordinators, forever.
pub async fn deliver_all(pool: Pool, coordinators: Vec<String>) {
    let channel = |address: String| {
        let endpoint = Endpoint::from_shared(address).ok()?.connect_timeout(Duration::from_secs(1)).tcp_nodelay(true);
        Some(AllotmentServiceClient::new(endpoint.connect_lazy()))
    };
    let mut coordinators: Vec<AllotmentServiceClient<Channel>> =
        coordinators.into_iter().filter(|address| !address.is_empty()).filter_map(channel).collect();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !coordinators.is_empty() {
        ticks.tick().await;
        loop {
            let due = pool.run(async |connection: &mut PgConnection| {
                backorders::due(connection, i64::try_from(AT_ONCE).unwrap_or(1)).await
            });
            let Ok(due) = due.await.inspect_err(|error| tracing::debug!(%error, "allotments can't be read now")) else {
                break;
            };
            let count = due.len();
            let coordinator = coordinators.first().cloned();
            let told = stream::iter(due).for_each_concurrent(AT_ONCE, |allotment| {
                let (pool, coordinator) = (pool.clone(), coordinator.clone());
                async move {
                    if let Some(coordinator) = coordinator {
                        deliver(&pool, coordinator, allotment).await;
                    }
                }
            });
            told.await;
            if count < AT_ONCE {
                break;
            }
        }
        // One that is down is not asked first forever.
        coordinators.rotate_left(1);
    }
}

async fn deliver(pool: &Pool, mut coordinator: AllotmentServiceClient<Channel>, allotment: Allotment) {
    let line = |(sku, first, quantity): &(String, i64, i64)| api::AllottedLine {
        sku: sku.clone(),
        first: *first,
        quantity: *quantity,
    };
    let mut request = Request::new(api::SettleAllotmentRequest {
        allotment_id: allotment.allotment_id.to_string(),
        order_id: allotment.order_id.to_string(),
        lines: allotment.lines.iter().map(line).collect(),
        attempt: allotment.attempt,
    });
    request.set_timeout(TIMEOUT);
    let told = tokio::time::timeout(TIMEOUT, coordinator.settle_allotment(request)).await;
    let told = told.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
    let noted = match told {
        Ok(_) => backorders::settled(pool, allotment.allotment_id).await,
        Err(status) if reason(&status) == "ORDER_NOT_WAITING" => {
            tracing::info!(order_id = %allotment.order_id, "an order that has got goods waits for none any more");
            backorders::settled(pool, allotment.allotment_id).await
        }
        Err(status) => {
            let refused = matches!(status.code(), Code::FailedPrecondition | Code::Aborted);
            let why = format!("{} {}", reason(&status), status.message());
            tracing::debug!(order_id = %allotment.order_id, %why, "the price of goods can't be captured now");
            backorders::failed(pool, &allotment, refused, &why).await
        }
    };
    if let Err(error) = noted {
        tracing::debug!(%error, "what became of an allotment can't be noted; it is told again");
    }
}

fn reason(status: &Status) -> String {
    crate::grpc::reason(status)
}
