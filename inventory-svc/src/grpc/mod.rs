//! The inventory's gRPC face.
mod branch;
mod service;
mod wire;

use participant::Context;
use proto::assent::inventory::v1::inventory_service_server::InventoryServiceServer;
use tonic::service::Routes;

use crate::resource::Inventory;

pub use branch::decode as decode_branch;
pub use service::StockService;

/// Full names of the services, for health.
pub const SERVICES: &[&str] = &["assent.inventory.v1.InventoryService"];

/// Adds the services.
pub fn add_services(context: &Context<Inventory>, routes: Routes) -> Routes {
    routes.add_service(InventoryServiceServer::new(StockService::new(context.pool.clone(), context.resource.strategy.clone())))
}
