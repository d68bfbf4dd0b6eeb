//! The coordinator's gRPC face.
mod allotments;
mod answers;
mod change;
mod coordinator;
mod execute;
mod history;
mod hybrid;
mod order;
mod overlay;
mod requests;
mod sagas;
mod stuck;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use participant::server::MAX_MESSAGE_BYTES;
use proto::assent::order::v1::allotment_service_server::AllotmentServiceServer;
use proto::assent::order::v1::order_service_server::OrderServiceServer;
use proto::assent::transaction::v1::coordinator_service_server::CoordinatorServiceServer;
use tonic::service::Routes;

use crate::coordinator::Coordinator;

pub use wire::lines as read_lines;

/// Full names of the services, for health.
pub const SERVICES: &[&str] =
    &["assent.order.v1.OrderService", "assent.order.v1.AllotmentService", "assent.transaction.v1.CoordinatorService"];

/// OrderService, which nearly all calls are for.
pub fn order_service(coordinator: &Arc<Coordinator>) -> OrderServiceServer<order::Orders> {
    OrderServiceServer::new(order::Orders::new(coordinator.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// The other services.
pub fn other_services(coordinator: &Arc<Coordinator>) -> Routes {
    let transactions = CoordinatorServiceServer::new(coordinator::Transactions::new(coordinator.clone()))
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let allotments = AllotmentServiceServer::new(allotments::Allotments::new(coordinator.clone()));
    Routes::new(transactions).add_service(allotments)
}
