//! A closed loop against an OrderService that answers as the test says.
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::assent::order::v1::order_service_server::{OrderService, OrderServiceServer};
use proto::assent::order::v1::{
    GetOrderRequest, GetOrderResponse, ListOrdersRequest, ListOrdersResponse, PlaceOrderRequest, PlaceOrderResponse,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::*;
use crate::shop::{Plan, Workload};

/// Takes a while for each order; the script says what is answered to which of them.
struct Scripted {
    script: fn(usize) -> Result<(), Status>,
    takes: Duration,
    asked: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    request_ids: Mutex<Vec<String>>,
    client_ids: Mutex<BTreeSet<String>>,
}

#[tonic::async_trait]
impl OrderService for Scripted {
    async fn place_order(&self, request: Request<PlaceOrderRequest>) -> Result<Response<PlaceOrderResponse>, Status> {
        let client_id = request.metadata().get("assent-client-id").and_then(|value| value.to_str().ok());
        self.client_ids.lock().unwrap().insert(client_id.unwrap_or_default().to_owned());
        self.request_ids.lock().unwrap().push(request.into_inner().request_id);
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        (self.script)(self.asked.fetch_add(1, Ordering::SeqCst)).map(|()| Response::new(PlaceOrderResponse::default()))
    }

    async fn get_order(&self, _: Request<GetOrderRequest>) -> Result<Response<GetOrderResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_orders(&self, _: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Runs the loop against `script`.
async fn played(script: fn(usize) -> Result<(), Status>, takes_ms: u64, settings: Settings) -> (Seen, Arc<Scripted>) {
    let scripted = Arc::new(Scripted {
        script,
        takes: Duration::from_millis(takes_ms),
        asked: AtomicUsize::new(0),
        under_way: AtomicUsize::new(0),
        most_under_way: AtomicUsize::new(0),
        request_ids: Mutex::default(),
        client_ids: Mutex::default(),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(OrderServiceServer::from_arc(scripted.clone()));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let mut connections = Vec::new();
    for _ in 0..2 {
        connections.push(OrderServiceClient::connect(address.clone()).await.unwrap());
    }
    let caller = Caller { client_id: "bench".parse().unwrap(), timeout: Duration::from_secs(5) };
    let plan = Plan { run: "r".to_owned(), workload: Workload::Uniform, skus: 10, accounts: 2, lines: 1 };
    let shop = Arc::new(Shop::new(&plan).unwrap());
    let (seen, _) = run(&connections, &caller, &shop, settings, &Watch::default()).await;
    (seen, scripted)
}

fn settings(clients: usize, warm_up_ms: u64, measured_ms: u64) -> Settings {
    Settings { clients, warm_up: Duration::from_millis(warm_up_ms), measured: Duration::from_millis(measured_ms) }
}

fn refused(reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "assent", HashMap::new());
    Status::with_error_details(Code::FailedPrecondition, "no", details)
}

#[tokio::test]
async fn every_client_waits_for_its_answer_and_only_the_measured_time_counts() {
    let (seen, scripted) = played(|_| Ok(()), 10, settings(8, 200, 300)).await;
    assert_eq!(scripted.most_under_way.load(Ordering::SeqCst), 8, "all clients at once, and none more than once");
    let asked = scripted.request_ids.lock().unwrap().clone();
    assert_eq!(asked.iter().collect::<BTreeSet<_>>().len(), asked.len(), "every order has a request id of its own");
    assert_eq!(*scripted.client_ids.lock().unwrap(), BTreeSet::from(["bench".to_owned()]));
    let confirmed = seen.counts.confirmed;
    assert_eq!(seen.counts, Counts { confirmed, ..Counts::default() });
    let asked = u64::try_from(asked.len()).unwrap();
    // At least one round of the warm-up is left out; in 300 ms no client can have more than 30 answers of 10 ms each.
    assert!(0 < confirmed && confirmed + 8 <= asked && confirmed <= 8 * 30, "{confirmed} of {asked}");
    let latency = seen.confirmed.summary().unwrap();
    assert_eq!(latency.count, confirmed);
    assert!(latency.p50_us >= 10_000, "{latency:?}");
    assert_eq!(seen.refused.summary(), None);
}

#[tokio::test]
async fn answers_are_told_apart_from_the_lack_of_one() {
    let script = |number| match number % 4 {
        0 => Ok(()),
        1 => Err(refused("OUT_OF_STOCK")),
        2 => Err(Status::aborted("timed out")),
        _ => Err(Status::unavailable("lost")),
    };
    let (seen, _) = played(script, 0, settings(2, 0, 300)).await;
    let Counts { confirmed, refused, aborted, unknown, failed } = seen.counts;
    assert!(confirmed > 0 && aborted["Aborted"] > 0 && unknown["Unavailable"] > 0 && failed.is_empty());
    assert_eq!(seen.confirmed.summary().unwrap().count, confirmed);
    assert_eq!(seen.refused.summary().unwrap().count, refused["OUT_OF_STOCK"], "a doubt has no latency");
}

#[tokio::test]
async fn a_system_that_is_down_is_not_hammered() {
    let (seen, scripted) = played(|_| Err(Status::unavailable("down")), 0, settings(1, 0, 200)).await;
    let asked = scripted.asked.load(Ordering::SeqCst);
    assert!((1..=11).contains(&asked), "{asked} calls in 200 ms"); // 20 ms between two of them
    assert_eq!(seen.counts.confirmed, 0);
}
