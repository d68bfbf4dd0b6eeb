//! The inventory's gRPC face.
mod again;
mod backorders;
mod branch;
mod feed;
mod locations;
mod read;
mod reservations;
mod service;
mod waitlist;
mod watch;
mod wire;

use std::sync::Arc;

use participant::Context;
use proto::assent::inventory::v1::backorder_service_server::BackorderServiceServer;
use proto::assent::inventory::v1::inventory_service_server::InventoryServiceServer;
use proto::assent::inventory::v1::location_service_server::LocationServiceServer;
use proto::assent::inventory::v1::reservation_service_server::ReservationServiceServer;
use proto::assent::inventory::v1::waitlist_service_server::WaitlistServiceServer;
use tonic::service::Routes;

use crate::reads::Reads;
use crate::resource::Inventory;

pub use backorders::Backorders;
pub use branch::decode as decode_branch;
pub use locations::Locations;
pub use reservations::Reservations;
pub use service::StockService;
pub use waitlist::Waitlist;
pub use wire::reason;

/// Full names of the services, for health.
pub const SERVICES: &[&str] = &[
    "assent.inventory.v1.InventoryService",
    "assent.inventory.v1.ReservationService",
    "assent.inventory.v1.WaitlistService",
    "assent.inventory.v1.LocationService",
    "assent.inventory.v1.BackorderService",
];

/// Adds the services.
pub fn add_services(context: &Context<Inventory>, routes: Routes) -> Routes {
    let Inventory { strategy, reservations, waitlist, feed, reads, .. } = &*context.resource;
    let reads = Arc::new(Reads::with(context.pool.clone(), reads.clone()));
    let stock =
        StockService::new(context.pool.clone(), strategy.clone()).with_feed(feed.clone()).with_reads(reads.clone());
    let backorders = Backorders::new(context.pool.clone()).with_reads(reads);
    let reservations = Reservations::new(context.pool.clone(), *reservations);
    let waitlist = Waitlist::new(context.pool.clone(), *waitlist);
    routes
        .add_service(InventoryServiceServer::new(stock))
        .add_service(ReservationServiceServer::new(reservations))
        .add_service(WaitlistServiceServer::new(waitlist))
        .add_service(LocationServiceServer::new(Locations::new(context.pool.clone())))
        .add_service(BackorderServiceServer::new(backorders))
}
