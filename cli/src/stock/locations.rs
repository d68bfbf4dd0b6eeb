//! `assent stock transfer`, `locations`, `location` and `allocation`: where units are, and which location ships what.
use proto::assent::inventory::v1 as wire;
use serde::Serialize;
use uuid::Uuid;

use super::unsure;
use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::output::{Output, table};

#[derive(Debug, Serialize)]
struct ShelfView {
    location: String,
    on_hand: i64,
    held: i64,
}

#[derive(Debug, Serialize)]
struct Shelves {
    sku: String,
    locations: Vec<ShelfView>,
}

#[derive(Debug, Serialize)]
struct LocationView {
    location: String,
    priority: i32,
}

#[derive(Debug, Serialize)]
struct LocationList {
    locations: Vec<LocationView>,
}

#[derive(Debug, Serialize)]
struct PartView {
    sku: String,
    location: String,
    quantity: i64,
    shipped: bool,
    returned_quantity: i64,
}

#[derive(Debug, Serialize)]
struct Allocation {
    order_id: String,
    parts: Vec<PartView>,
}

fn read(status: tonic::Status) -> Failure {
    Failure::of_status(&status, Call::Read)
}

fn print(sku: String, shelves: Vec<wire::LocationStock>, output: Output) -> Result<(), Failure> {
    let view = |wire::LocationStock { location, on_hand, held }| ShelfView { location, on_hand, held };
    let shelves = Shelves { sku, locations: shelves.into_iter().map(view).collect() };
    output.print(&shelves, |shelves| {
        let row = |shelf: &ShelfView| vec![shelf.location.clone(), shelf.on_hand.to_string(), shelf.held.to_string()];
        table(&["location", "on hand", "held"], &[1, 2], shelves.locations.iter().map(row).collect())
    })
}

/// What a SKU has where.
pub async fn get(services: &Services, sku: String, output: Output) -> Result<(), Failure> {
    let request = services.request(wire::GetLocationStockRequest { sku: sku.clone() });
    let found = services.locations().await?.get_location_stock(request).await.map_err(read)?;
    print(sku, found.into_inner().locations, output)
}

/// Moves units from one location to another.
pub async fn transfer(
    services: &Services,
    (sku, quantity): (String, i64),
    (from, to): (String, String),
    request_id: Option<String>,
    output: Output,
) -> Result<(), Failure> {
    let request_id = request_id.unwrap_or_else(|| Uuid::new_v4().to_string());
    let asked = wire::TransferStockRequest { sku: sku.clone(), quantity, from, to, request_id: request_id.clone() };
    let moved = services.locations().await?.transfer_stock(services.request(asked)).await;
    print(sku, moved.map_err(|status| unsure(&status, &request_id))?.into_inner().locations, output)
}

/// Lists the locations, or sets the priority of one first.
pub async fn list(services: &Services, set: Option<(String, i32)>, output: Output) -> Result<(), Failure> {
    let mut client = services.locations().await?;
    if let Some((location, priority)) = set {
        let request = services.request(wire::SetLocationRequest { location, priority });
        client.set_location(request).await.map_err(|status| Failure::of_status(&status, Call::Write))?;
    }
    let listed = client.list_locations(services.request(wire::ListLocationsRequest {})).await.map_err(read)?;
    let view = |wire::Location { location, priority }| LocationView { location, priority };
    let list = LocationList { locations: listed.into_inner().locations.into_iter().map(view).collect() };
    output.print(&list, |list| {
        let row = |one: &LocationView| vec![one.location.clone(), one.priority.to_string()];
        table(&["location", "priority"], &[1], list.locations.iter().map(row).collect())
    })
}

/// Which location ships what of an order.
pub async fn allocation(services: &Services, order_id: String, output: Output) -> Result<(), Failure> {
    let request = services.request(wire::GetAllocationRequest { order_id: order_id.clone() });
    let found = services.locations().await?.get_allocation(request).await.map_err(read)?.into_inner();
    let view = |part: wire::AllocationPart| PartView {
        sku: part.sku,
        location: part.location,
        quantity: part.quantity,
        shipped: part.shipped,
        returned_quantity: part.returned_quantity,
    };
    let allocation = Allocation { order_id, parts: found.parts.into_iter().map(view).collect() };
    output.print(&allocation, |allocation| {
        let row = |part: &PartView| {
            let shipped = if part.shipped { "yes" } else { "in doubt" };
            vec![
                part.sku.clone(),
                part.location.clone(),
                part.quantity.to_string(),
                shipped.to_owned(),
                part.returned_quantity.to_string(),
            ]
        };
        table(&["sku", "location", "quantity", "sold", "returned"], &[2, 4], allocation.parts.iter().map(row).collect())
    })
}
