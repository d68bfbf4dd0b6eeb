//! An OrderService that answers as a test says.
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

use crate::Caller;
use crate::orders::Orders;

/// Takes a while for each order; the script says what is answered to which of them.
pub struct Scripted {
    script: fn(usize) -> Result<(), Status>,
    takes: Duration,
    asked: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    request_ids: Mutex<Vec<String>>,
    client_ids: Mutex<BTreeSet<String>>,
}

impl Scripted {
    pub fn new(script: fn(usize) -> Result<(), Status>) -> Self {
        Scripted {
            script,
            takes: Duration::ZERO,
            asked: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            request_ids: Mutex::default(),
            client_ids: Mutex::default(),
        }
    }

    pub fn taking(self, takes: Duration) -> Self {
        Scripted { takes, ..self }
    }

    /// Serves it on a free port; two connections to it.
    pub async fn serve(self) -> (Arc<Self>, Vec<Orders>) {
        let (scripted, address) = self.listen().await;
        let mut connections = Vec::new();
        for _ in 0..2 {
            connections.push(Orders::connect(&address, &caller()).await.unwrap());
        }
        (scripted, connections)
    }

    /// Serves it on a free port; its address.
    pub async fn listen(self) -> (Arc<Self>, String) {
        let scripted = Arc::new(self);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder().add_service(OrderServiceServer::from_arc(scripted.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (scripted, address)
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub fn most_under_way(&self) -> usize {
        self.most_under_way.load(Ordering::SeqCst)
    }

    pub fn request_ids(&self) -> Vec<String> {
        self.request_ids.lock().unwrap().clone()
    }

    pub fn client_ids(&self) -> BTreeSet<String> {
        self.client_ids.lock().unwrap().clone()
    }
}

pub fn caller() -> Caller {
    Caller { client_id: "bench".parse().unwrap(), timeout: Duration::from_secs(20) }
}

pub fn refused(reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "assent", HashMap::new());
    Status::with_error_details(Code::FailedPrecondition, "no", details)
}

pub fn overloaded() -> Status {
    let details = ErrorDetails::with_error_info("OVERLOADED", "assent", HashMap::new());
    Status::with_error_details(Code::ResourceExhausted, "later", details)
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
