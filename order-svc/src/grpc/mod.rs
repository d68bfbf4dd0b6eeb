//! The order service's gRPC face.
mod branch;
mod service;
mod wire;

use participant::Context;
use participant::server::MAX_MESSAGE_BYTES;
use proto::assent::order::v1::order_store_service_server::OrderStoreServiceServer;
use tonic::service::Routes;

use crate::resource::Orders;

pub use branch::decode as decode_branch;
pub use service::OrderStore;

/// Full names of the services, for health.
pub const SERVICES: &[&str] = &["assent.order.v1.OrderStoreService"];

/// Adds the services.
pub fn add_services(context: &Context<Orders>, routes: Routes) -> Routes {
    let store = OrderStoreServiceServer::new(OrderStore::new(context.pool.clone()));
    routes.add_service(store.max_encoding_message_size(MAX_MESSAGE_BYTES))
}
