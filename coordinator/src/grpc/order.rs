//! OrderService: places orders, and reads them as decided.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use participant::server::MAX_MESSAGE_BYTES;
use participant::transaction::read_id;
use participant::{caller, crash_point, status};
use prost_types::Timestamp;
use proto::assent::order::v1 as api;
use proto::assent::order::v1::order_service_server::OrderService;
use proto::assent::order::v1::order_store_service_client::OrderStoreServiceClient;
use proto::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::codegen::BoxStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use super::answers::{ids_of, not_accepted, turned_away};
use super::{change, history, hybrid, overlay, requests, wire};
use crate::admission::Known;
use crate::content::{Content, Hybrid};
use crate::coordinator::Coordinator;
use crate::domain::{Invalid, Order};
use crate::owner::{self, Answer};
use crate::saga;

/// How long a read may take.
pub(super) const READ_TIMEOUT: Duration = Duration::from_millis(3000);

/// OrderService; clones share all of it.
#[derive(Clone)]
pub struct Orders {
    coordinator: Arc<Coordinator>,
    store: Option<OrderStoreServiceClient<Channel>>,
    watchers: Arc<Semaphore>,
}

/// An order to place.
struct Placed {
    order: Arc<Order>,
    mode: api::OrderMode,
    request: owner::Request,
}

impl Orders {
    /// The service of this coordinator.
    pub fn new(coordinator: Arc<Coordinator>) -> Self {
        let store = coordinator.participants.get("order").map(|order| {
            OrderStoreServiceClient::new(order.channel())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES)
        });
        Orders { coordinator, store, watchers: Arc::new(Semaphore::new(history::MAX_WATCHERS)) }
    }

    /// The coordinator.
    pub(super) fn coordinator(&self) -> &Arc<Coordinator> {
        &self.coordinator
    }

    /// An order as decided.
    pub(super) async fn read(&self, order_id: Uuid) -> Result<api::Order, Status> {
        match self.stored(order_id).await? {
            (Some(order), pending) => overlay::resolve(&self.coordinator, order, pending).await,
            (None, _) => overlay::without_row(&self.coordinator, order_id).await,
        }
    }

    /// An order as the order service has it, if it has, with the change of it that is in doubt.
    pub(super) async fn stored(
        &self,
        order_id: Uuid,
    ) -> Result<(Option<api::Order>, Option<api::PendingChange>), Status> {
        let mut read = Request::new(api::ReadOrderRequest { order_id: order_id.to_string() });
        read.set_timeout(READ_TIMEOUT);
        match self.store()?.read_order(read).await {
            Ok(response) => {
                let api::ReadOrderResponse { order, pending_change, changed_order_id } = response.into_inner();
                if changed_order_id.is_empty() {
                    return Ok((order, pending_change));
                }
                let message =
                    format!("{order_id} is no order, but the transaction that changed order {changed_order_id}");
                let ids = ids_of(Some(order_id), None, "");
                Err(status::error(Code::NotFound, "ORDER_NOT_FOUND", message, &ids))
            }
            Err(status) if status.code() == Code::NotFound => Ok((None, None)),
            Err(status) => Err(wire::from_store(status)),
        }
    }

    /// A place among those who watch.
    pub(super) fn watcher(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.watchers.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{} orders are watched already; come again later", history::MAX_WATCHERS);
            status::exhausted("TOO_MANY_WATCHERS", message, &BTreeMap::new(), Duration::from_secs(1))
        })
    }

    /// Lets a call of PlaceOrder in, and checks it.
    fn check(&self, request: Request<api::PlaceOrderRequest>) -> Result<Placed, Status> {
        crash_point::pass("place.received");
        let client_id = caller::client_id(&request)?;
        let is_retry = request.metadata().contains_key("grpc-previous-rpc-attempts");
        let api::PlaceOrderRequest {
            request_id,
            account,
            lines,
            timeout_ms,
            mode,
            reservation_ids,
            shipping,
            allow_backorder,
        } = request.into_inner();
        // Before anything is done for it: what is turned away must cost as little as can be.
        let known = Known { client_id: &client_id, request_id: &request_id, is_retry };
        let admitted = self.coordinator.admission.admit(known, &self.coordinator.active);
        let admitted = admitted.map_err(|overloaded| turned_away(&overloaded, &request_id))?;
        let mode = api::OrderMode::try_from(mode)
            .map_err(|_| status::invalid("mode", format!("{mode} is no mode of an order")))?;
        let order = Order::new(account, wire::lines(lines)?)?.of_reservations(&reservation_ids)?;
        let order = Arc::new(order.allowing(wire::allowed(allow_backorder, mode)?));
        hybrid::check(&self.coordinator, mode, &shipping)?;
        let content = match mode {
            api::OrderMode::Hybrid => Content::Hybrid(Arc::new(Hybrid { order: order.clone(), shipping })),
            _ => Content::Order(order.clone()),
        };
        let timeout = timeout(timeout_ms, self.coordinator.args.transaction_timeout_ms)?;
        let request_id = match request_id.is_empty() {
            true => Uuid::now_v7().to_string(),
            false => request_id,
        };
        limits::check_request_id(&request_id).map_err(|wrong| status::invalid("request_id", wrong))?;
        let request =
            owner::Request { client_id, request_id, content, timeout, deadline_unix_ms: None, is_retry, admitted };
        Ok(Placed { order, mode, request })
    }

    pub(super) fn store(&self) -> Result<OrderStoreServiceClient<Channel>, Status> {
        self.store.clone().ok_or_else(|| wire::unreachable("no participant is called \"order\"; see --participants"))
    }
}

#[tonic::async_trait]
impl OrderService for Orders {
    async fn place_order(
        &self,
        request: Request<api::PlaceOrderRequest>,
    ) -> Result<Response<api::PlaceOrderResponse>, Status> {
        let Placed { order, mode, request } = self.check(request)?;
        let request_id = request.request_id.clone();
        // Thousands of calls wait at a time: what waits is kept small, and what is rarely asked for is not part of it.
        let answer = match mode {
            api::OrderMode::Atomic | api::OrderMode::Unspecified => owner::place(&self.coordinator, request).await,
            api::OrderMode::Saga => Box::pin(saga::place(&self.coordinator, request)).await,
            api::OrderMode::Hybrid => {
                let answer =
                    async { hybrid::answer(self, saga::place(&self.coordinator, request).await, &request_id).await };
                return Box::pin(answer).await.map(Response::new);
            }
        };
        match answer {
            Answer::Accepted { order_id, create_time } => Ok(Response::new(api::PlaceOrderResponse {
                order: Some(wire::confirmed(order_id, &order, request_id, create_time)),
                transaction_id: order_id.to_string(),
            })),
            answer => Err(not_accepted(answer, &request_id)),
        }
    }

    async fn get_order(
        &self,
        request: Request<api::GetOrderRequest>,
    ) -> Result<Response<api::GetOrderResponse>, Status> {
        let order_id = read_id("order_id", &request.get_ref().order_id)?;
        Ok(Response::new(api::GetOrderResponse { order: Some(self.read(order_id).await?) }))
    }

    async fn list_orders(
        &self,
        request: Request<api::ListOrdersRequest>,
    ) -> Result<Response<api::ListOrdersResponse>, Status> {
        let api::ListOrdersRequest { page_size, page_token, state, account } = request.into_inner();
        let wanted = api::OrderState::try_from(state)
            .map_err(|_| status::invalid("state", format!("{state} is no state of an order")))?;
        let mut store = self.store()?;
        if !matches!(wanted, api::OrderState::Unspecified | api::OrderState::Pending) {
            // The store filters by what it has applied, so what is decided must be applied first.
            overlay::settle(&self.coordinator, &store, &account).await?;
        }
        let mut read = Request::new(api::ReadOrdersRequest { page_size, page_token, state, account, changing: false });
        read.set_timeout(READ_TIMEOUT);
        let page = store.read_orders(read).await.map_err(wire::from_store)?.into_inner();
        let mut orders = overlay::resolve_all(&self.coordinator, page.orders, page.pending_changes).await?;
        if wanted != api::OrderState::Unspecified {
            orders.retain(|order| order.state() == wanted);
        }
        Ok(Response::new(api::ListOrdersResponse { orders, next_page_token: page.next_page_token }))
    }

    async fn cancel_order(
        &self,
        request: Request<api::CancelOrderRequest>,
    ) -> Result<Response<api::CancelOrderResponse>, Status> {
        let (call, change) = requests::cancel(request)?;
        let (order, transaction_id) = change::carry_out(self, call, change).await?;
        Ok(Response::new(api::CancelOrderResponse { order, transaction_id }))
    }

    async fn ship_order(
        &self,
        request: Request<api::ShipOrderRequest>,
    ) -> Result<Response<api::ShipOrderResponse>, Status> {
        let (call, change) = requests::ship(request)?;
        let (order, transaction_id) = change::carry_out(self, call, change).await?;
        Ok(Response::new(api::ShipOrderResponse { order, transaction_id }))
    }

    async fn return_order(
        &self,
        request: Request<api::ReturnOrderRequest>,
    ) -> Result<Response<api::ReturnOrderResponse>, Status> {
        let (call, change) = requests::bring_back(request)?;
        let (order, transaction_id) = change::carry_out(self, call, change).await?;
        Ok(Response::new(api::ReturnOrderResponse { order, transaction_id }))
    }

    async fn refund_order(
        &self,
        request: Request<api::RefundOrderRequest>,
    ) -> Result<Response<api::RefundOrderResponse>, Status> {
        let (call, change) = requests::refund(request)?;
        let (order, transaction_id) = change::carry_out(self, call, change).await?;
        Ok(Response::new(api::RefundOrderResponse { order, transaction_id }))
    }

    async fn list_order_events(
        &self,
        request: Request<api::ListOrderEventsRequest>,
    ) -> Result<Response<api::ListOrderEventsResponse>, Status> {
        history::list(self, request.into_inner()).await.map(Response::new)
    }

    async fn watch_order(
        &self,
        request: Request<api::WatchOrderRequest>,
    ) -> Result<Response<BoxStream<api::WatchOrderResponse>>, Status> {
        let told = history::watch(self, request.into_inner()).await?;
        Ok(Response::new(Box::pin(told)))
    }
}

/// The time until a transaction is given up.
pub(super) fn timeout(timeout_ms: i32, default_ms: u32) -> Result<Duration, Invalid> {
    match timeout_ms {
        0 => Ok(Duration::from_millis(u64::from(default_ms))),
        100..=60_000 => Ok(Duration::from_millis(timeout_ms.unsigned_abs().into())),
        other => Err(Invalid::new("timeout_ms", format!("must be 0 or from 100 to 60000, not {other}"))),
    }
}

/// A time on the wire.
pub fn timestamp(time: chrono::DateTime<chrono::Utc>) -> Timestamp {
    // Nanoseconds of a second always fit.
    Timestamp { seconds: time.timestamp(), nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default() }
}
