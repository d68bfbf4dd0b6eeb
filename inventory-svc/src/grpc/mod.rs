//! The inventory's gRPC face.
mod branch;
mod reservations;
mod service;
mod watch;
mod wire;

use participant::Context;
use proto::assent::inventory::v1::inventory_service_server::InventoryServiceServer;
use proto::assent::inventory::v1::reservation_service_server::ReservationServiceServer;
use tonic::service::Routes;

use crate::resource::Inventory;

pub use branch::decode as decode_branch;
pub use reservations::Reservations;
pub use service::StockService;

/// Full names of the services, for health.
pub const SERVICES: &[&str] = &["assent.inventory.v1.InventoryService", "assent.inventory.v1.ReservationService"];

/// Adds the services.
pub fn add_services(context: &Context<Inventory>, routes: Routes) -> Routes {
    let Inventory { strategy, reservations, .. } = &*context.resource;
    let stock = StockService::new(context.pool.clone(), strategy.clone());
    let reservations = Reservations::new(context.pool.clone(), *reservations);
    routes.add_service(InventoryServiceServer::new(stock)).add_service(ReservationServiceServer::new(reservations))
}
