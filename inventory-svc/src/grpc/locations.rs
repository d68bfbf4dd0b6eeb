//! LocationService: where the units of a SKU are.
use participant::transaction::read_id;
use participant::{Pool, caller, own_write, status};
use proto::assent::inventory::v1 as api;
use proto::assent::inventory::v1::location_service_server::LocationService;
use proto::limits;
use sqlx::PgConnection;
use tonic::{Request, Response, Status};

use crate::domain::{Denied, Part, Shelf, check_range};
use crate::store::locations::{self, Transfer};

/// The least preferred location.
const MAX_PRIORITY: i32 = 1_000_000;

/// LocationService.
pub struct Locations {
    pool: Pool,
}

impl Locations {
    /// The service on a database.
    pub fn new(pool: Pool) -> Self {
        Locations { pool }
    }
}

/// A location's name in a field that may be empty.
pub fn named(field: &str, location: String) -> Result<Option<String>, Status> {
    if location.is_empty() {
        return Ok(None);
    }
    limits::check_account(&location).map_err(|wrong| status::invalid(field, wrong))?;
    Ok(Some(location))
}

fn required(field: &str, location: String) -> Result<String, Status> {
    limits::check_account(&location).map_err(|wrong| status::invalid(field, wrong))?;
    Ok(location)
}

fn shelf(Shelf { location, on_hand, held }: Shelf) -> api::LocationStock {
    api::LocationStock { location, on_hand, held }
}

#[tonic::async_trait]
impl LocationService for Locations {
    async fn set_location(
        &self,
        request: Request<api::SetLocationRequest>,
    ) -> Result<Response<api::SetLocationResponse>, Status> {
        let api::SetLocationRequest { location, priority } = request.into_inner();
        let location = required("location", location)?;
        check_range(priority.into(), 0, MAX_PRIORITY.into()).map_err(|wrong| status::invalid("priority", wrong))?;
        let named = self
            .pool
            .run(async |connection: &mut PgConnection| locations::name(connection, &location, Some(priority)).await);
        let priority = named.await.map_err(|error| status::database(&error))?;
        Ok(Response::new(api::SetLocationResponse { location: Some(api::Location { location, priority }) }))
    }

    async fn list_locations(
        &self,
        _: Request<api::ListLocationsRequest>,
    ) -> Result<Response<api::ListLocationsResponse>, Status> {
        let listed = self.pool.run(async |connection: &mut PgConnection| locations::list(connection).await);
        let listed = listed.await.map_err(|error| status::database(&error))?;
        let locations = listed.into_iter().map(|(location, priority)| api::Location { location, priority }).collect();
        Ok(Response::new(api::ListLocationsResponse { locations }))
    }

    async fn get_location_stock(
        &self,
        request: Request<api::GetLocationStockRequest>,
    ) -> Result<Response<api::GetLocationStockResponse>, Status> {
        let sku = request.into_inner().sku;
        limits::check_sku(&sku).map_err(|wrong| status::invalid("sku", wrong))?;
        let read = self.pool.run(async |connection: &mut PgConnection| locations::of_sku(connection, &sku).await);
        let found = read.await.map_err(|error| status::database(&error))?;
        let shelves = found.ok_or(Denied::UnknownSku { sku })?;
        Ok(Response::new(api::GetLocationStockResponse { locations: shelves.into_iter().map(shelf).collect() }))
    }

    async fn transfer_stock(
        &self,
        request: Request<api::TransferStockRequest>,
    ) -> Result<Response<api::TransferStockResponse>, Status> {
        let client_id = caller::client_id(&request)?;
        let api::TransferStockRequest { sku, quantity, from, to, request_id } = request.into_inner();
        limits::check_sku(&sku).map_err(|wrong| status::invalid("sku", wrong))?;
        limits::check_quantity(quantity).map_err(|wrong| status::invalid("quantity", wrong))?;
        let (from, to) = (required("from", from)?, required("to", to)?);
        if from == to {
            return Err(status::invalid("to", "is where they are"));
        }
        caller::check_request_id(&request_id)?;
        let asked = Transfer { sku, quantity, from, to, client_id, request_id };
        let moved = own_write::run(&self.pool, move |connection| {
            Box::pin(async move { locations::transfer(connection, &asked).await })
        });
        Ok(Response::new(api::TransferStockResponse { locations: moved.await?.into_iter().map(shelf).collect() }))
    }

    async fn get_allocation(
        &self,
        request: Request<api::GetAllocationRequest>,
    ) -> Result<Response<api::GetAllocationResponse>, Status> {
        let order_id = read_id("order_id", &request.get_ref().order_id)?;
        let read = self.pool.run(async |connection: &mut PgConnection| locations::of_order(connection, order_id).await);
        let read = read.await.map_err(|error| status::database(&error))?;
        let part = |(Part { sku, location, quantity }, shipped, returned_quantity)| api::AllocationPart {
            sku,
            location,
            quantity,
            shipped,
            returned_quantity,
        };
        Ok(Response::new(api::GetAllocationResponse { parts: read.into_iter().map(part).collect() }))
    }
}
