//! A shop's view of the system, and an operator's.
use std::time::Duration;

use proto::assent::inventory::v1::inventory_service_client::InventoryServiceClient;
use proto::assent::inventory::v1::{AdjustStockRequest, GetStockRequest, SetStockRequest};
use proto::assent::order::v1::order_service_client::OrderServiceClient;
use proto::assent::order::v1::{
    GetOrderRequest, ListOrdersRequest, ListOrdersResponse, Order, OrderMode, PlaceOrderRequest,
};
use proto::assent::payment::v1::payment_service_client::PaymentServiceClient;
use proto::assent::payment::v1::{GetAccountRequest, OpenAccountRequest};
use proto::assent::transaction::v1::coordinator_service_client::CoordinatorServiceClient;
use proto::assent::transaction::v1::participant_service_client::ParticipantServiceClient;
use proto::assent::transaction::v1::{GetTransactionRequest, GetTransactionResponse};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::answer::Answer;
use crate::basket::{Basket, gbp};
use crate::server::{Server, Service};
use crate::system::System;
use crate::until::until;

const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// Longer than any answer may take: whoever waits so long has found a defect.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How soon a decision must have reached the participants.
const APPLIED_WITHIN: Duration = Duration::from_secs(2);

/// Connections to all services; nothing is connected before it is needed. Clones share them.
#[derive(Clone)]
pub struct Client {
    /// Orders.
    pub orders: OrderServiceClient<Channel>,
    /// Transactions.
    pub transactions: CoordinatorServiceClient<Channel>,
    /// Stock.
    pub stock: InventoryServiceClient<Channel>,
    /// Accounts.
    pub accounts: PaymentServiceClient<Channel>,
    participants: [(Service, Channel); 3],
    mode: OrderMode,
}

impl Client {
    /// A client of this coordinator and the system's participants.
    pub fn new(system: &System, coordinator: &Server) -> Self {
        let channel = |server: &Server| {
            let endpoint = Endpoint::from_shared(server.address()).expect("an address");
            endpoint.connect_timeout(Duration::from_secs(1)).tcp_nodelay(true).connect_lazy()
        };
        let participants = Service::PARTICIPANTS.map(|service| (service, channel(system.server(service))));
        let [(_, inventory), _, (_, payment)] = participants.clone();
        let to_coordinator = channel(coordinator);
        Client {
            orders: OrderServiceClient::new(to_coordinator.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            transactions: CoordinatorServiceClient::new(to_coordinator).max_decoding_message_size(MAX_MESSAGE_BYTES),
            stock: InventoryServiceClient::new(inventory),
            accounts: PaymentServiceClient::new(payment),
            participants,
            mode: OrderMode::Atomic,
        }
    }

    /// The same client, which places its orders as sagas.
    pub fn in_saga_mode(&self) -> Self {
        Client { mode: OrderMode::Saga, ..self.clone() }
    }

    /// Whether it places its orders as sagas.
    pub fn places_sagas(&self) -> bool {
        self.mode == OrderMode::Saga
    }

    /// The protocol's face of a participant.
    pub fn participant(&self, service: Service) -> ParticipantServiceClient<Channel> {
        let (_, channel) = self.participants.iter().find(|(of, _)| *of == service).expect("a participant");
        ParticipantServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Places an order.
    pub async fn place(&self, request_id: &str, basket: &Basket) -> Answer {
        self.place_request(PlaceOrderRequest { mode: self.mode.into(), ..basket.request(request_id) }).await
    }

    /// Places an order, given as a request.
    pub async fn place_request(&self, request: PlaceOrderRequest) -> Answer {
        Answer::of(self.orders.clone().place_order(timed(request)).await)
    }

    /// Reads an order.
    pub async fn order(&self, order_id: &str) -> Result<Order, Status> {
        let request = GetOrderRequest { order_id: order_id.to_owned() };
        let answer = self.orders.clone().get_order(timed(request)).await?;
        Ok(answer.into_inner().order.expect("an order"))
    }

    /// One page of orders.
    pub async fn list(&self, request: ListOrdersRequest) -> Result<ListOrdersResponse, Status> {
        Ok(self.orders.clone().list_orders(timed(request)).await?.into_inner())
    }

    /// A transaction at all places.
    pub async fn transaction(&self, transaction_id: &str) -> Result<GetTransactionResponse, Status> {
        let request = GetTransactionRequest { transaction_id: transaction_id.to_owned() };
        Ok(self.transactions.clone().get_transaction(timed(request)).await?.into_inner())
    }

    /// Sets what is on hand of a SKU.
    pub async fn set_stock(&self, sku: &str, on_hand: i64) {
        let request = SetStockRequest { sku: sku.to_owned(), on_hand, ..Default::default() };
        self.stock.clone().set_stock(timed(request)).await.unwrap();
    }

    /// Adds to what is on hand of a SKU.
    pub async fn adjust_stock(&self, sku: &str, delta: i64, request_id: &str) -> Result<i64, Status> {
        let request =
            AdjustStockRequest { sku: sku.to_owned(), delta, request_id: request_id.to_owned(), ..Default::default() };
        Ok(self.stock.clone().adjust_stock(timed(request)).await?.into_inner().item.expect("an item").on_hand)
    }

    /// Waits until so many of a SKU are on hand and none is held, because commits and aborts follow the answer.
    pub async fn stock_becomes(&self, sku: &str, on_hand: i64) {
        let request = || GetStockRequest { sku: sku.to_owned(), read_time: None, ..Default::default() };
        until(&format!("{on_hand} of {sku} on hand and none held"), APPLIED_WITHIN, async || {
            let item =
                self.stock.clone().get_stock(timed(request())).await.unwrap().into_inner().item.expect("an item");
            (item.on_hand, item.held) == (on_hand, 0)
        })
        .await;
    }

    /// Opens an account with so many pence.
    pub async fn open_account(&self, account: &str, balance_minor: i64) {
        let request = OpenAccountRequest {
            account: account.to_owned(),
            opening_balance: Some(gbp(balance_minor)),
            request_id: format!("open-{account}"),
        };
        self.accounts.clone().open_account(timed(request)).await.unwrap();
    }

    /// Waits until so many pence are in an account and none is held.
    pub async fn balance_becomes(&self, account: &str, balance_minor: i64) {
        self.balance_becomes_within(account, balance_minor, APPLIED_WITHIN).await;
    }

    /// The same, where it may take longer.
    pub async fn balance_becomes_within(&self, account: &str, balance_minor: i64, within: Duration) {
        let request = || GetAccountRequest { account: account.to_owned() };
        until(&format!("{balance_minor} in {account} and nothing held"), within, async || {
            let read = self.accounts.clone().get_account(timed(request())).await.unwrap().into_inner();
            let account = read.account.expect("an account");
            (account.balance, account.held) == (Some(gbp(balance_minor)), Some(gbp(0)))
        })
        .await;
    }
}

/// A request with a deadline.
pub fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    request
}
