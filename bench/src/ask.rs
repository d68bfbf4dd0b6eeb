//! What a client of a closed loop asks for, again and again: an order, or a transaction over any participants.
use std::sync::Arc;

use prost::Message;
use proto::assent::inventory::v1::{InventoryBranch, StockLine};
use proto::assent::transaction::v1::coordinator_service_client::CoordinatorServiceClient;
use proto::assent::transaction::v1::{ExecuteTransactionRequest, TransactionBranch, TransactionMode};
use rand::Rng;
use rand::rngs::StdRng;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::Caller;
use crate::orders::Orders;
use crate::outcome::Outcome;
use crate::shop::Shop;

/// Asks for one thing, and again for another.
pub trait Ask: Clone + Send + 'static {
    /// Asks once; tells what became of it.
    fn ask(&mut self, rng: &mut StdRng) -> impl Future<Output = Outcome> + Send;
}

/// Places orders.
#[derive(Debug, Clone)]
pub struct PlaceOrder {
    orders: Orders,
    shop: Arc<Shop>,
}

impl PlaceOrder {
    /// One that asks over each of these connections.
    pub fn over(connections: &[Orders], shop: &Arc<Shop>) -> Vec<Self> {
        connections.iter().map(|orders| PlaceOrder { orders: orders.clone(), shop: shop.clone() }).collect()
    }
}

impl Ask for PlaceOrder {
    async fn ask(&mut self, rng: &mut StdRng) -> Outcome {
        self.orders.place(&self.shop.order(rng, request_id())).await
    }
}

/// Executes transactions that take one unit of the same article from each of several inventories.
#[derive(Debug, Clone)]
pub struct Execute {
    /// The way to the coordinator.
    pub transactions: CoordinatorServiceClient<Channel>,
    /// Who asks.
    pub caller: Caller,
    /// What there is to take, in each of them.
    pub shop: Arc<Shop>,
    /// The inventories' names at the coordinator.
    pub participants: Arc<[String]>,
}

impl Ask for Execute {
    async fn ask(&mut self, rng: &mut StdRng) -> Outcome {
        let sku = self.shop.skus[rng.random_range(0..self.shop.skus.len())].clone();
        let line = StockLine { sku, quantity: 1 };
        let branch = InventoryBranch { lines: vec![line], ..Default::default() }.encode_to_vec();
        let of = |participant: &String| TransactionBranch {
            participant: participant.clone(),
            branch: branch.clone(),
            ..Default::default()
        };
        let request = ExecuteTransactionRequest {
            request_id: request_id(),
            mode: TransactionMode::Atomic.into(),
            branches: self.participants.iter().map(of).collect(),
            timeout_ms: 0,
        };
        let answer = self.transactions.execute_transaction(self.caller.request(request)).await;
        answer.map_or_else(|status| Outcome::of_status(&status), |_| Outcome::Confirmed)
    }
}

/// Time-ordered, as a shop's order numbers are.
fn request_id() -> String {
    Uuid::now_v7().to_string()
}
