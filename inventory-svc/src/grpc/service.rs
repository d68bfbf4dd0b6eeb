//! InventoryService: stock for shops.
use participant::{Pool, caller, own_write, paging, status};
use proto::assent::inventory::v1 as api;
use proto::assent::inventory::v1::inventory_service_server::InventoryService;
use proto::limits;
use tonic::{Request, Response, Status};

use super::wire;
use crate::domain::{Denied, MAX_ON_HAND, check_range};
use crate::store::stock::{self, Adjustment};

/// InventoryService.
pub struct StockService {
    pool: Pool,
}

impl StockService {
    /// The service on a database.
    pub fn new(pool: Pool) -> Self {
        StockService { pool }
    }
}

fn valid_sku(sku: &str) -> Result<(), Status> {
    limits::check_sku(sku).map_err(|wrong| status::invalid("sku", wrong))
}

#[tonic::async_trait]
impl InventoryService for StockService {
    async fn set_stock(
        &self,
        request: Request<api::SetStockRequest>,
    ) -> Result<Response<api::SetStockResponse>, Status> {
        let api::SetStockRequest { sku, on_hand } = request.into_inner();
        valid_sku(&sku)?;
        check_range(on_hand, 0, MAX_ON_HAND).map_err(|wrong| status::invalid("on_hand", wrong))?;
        let set = own_write::run(&self.pool, move |connection| {
            Box::pin(async move { stock::set(connection, &sku, on_hand).await })
        });
        Ok(Response::new(api::SetStockResponse { item: Some(wire::item(set.await?)) }))
    }

    async fn adjust_stock(
        &self,
        request: Request<api::AdjustStockRequest>,
    ) -> Result<Response<api::AdjustStockResponse>, Status> {
        let client_id = caller::client_id(&request)?;
        let api::AdjustStockRequest { sku, delta, request_id } = request.into_inner();
        valid_sku(&sku)?;
        check_range(delta, -MAX_ON_HAND, MAX_ON_HAND).map_err(|wrong| status::invalid("delta", wrong))?;
        caller::check_request_id(&request_id)?;
        let adjustment = Adjustment { sku, delta, client_id, request_id };
        let adjusted = own_write::run(&self.pool, move |connection| {
            Box::pin(async move { stock::adjust(connection, &adjustment).await })
        });
        Ok(Response::new(api::AdjustStockResponse { item: Some(wire::item(adjusted.await?)) }))
    }

    async fn get_stock(
        &self,
        request: Request<api::GetStockRequest>,
    ) -> Result<Response<api::GetStockResponse>, Status> {
        let sku = request.into_inner().sku;
        valid_sku(&sku)?;
        let found = stock::get(&self.pool, &sku).await.map_err(|error| status::database(&error))?;
        let found = found.ok_or(Denied::UnknownSku { sku })?;
        Ok(Response::new(api::GetStockResponse { item: Some(wire::item(found)) }))
    }

    async fn list_stock(
        &self,
        request: Request<api::ListStockRequest>,
    ) -> Result<Response<api::ListStockResponse>, Status> {
        let api::ListStockRequest { page_size, page_token } = request.into_inner();
        let page_size = paging::page_size(page_size)?;
        let after = paging::position(&page_token, &["stock"])?.unwrap_or_default();
        let read = stock::list(&self.pool, &after, page_size + 1).await.map_err(|error| status::database(&error))?;
        let (page, next_page_token) = paging::cut(read, page_size, &["stock"], |last| last.sku.clone());
        let items = page.into_iter().map(wire::item).collect();
        Ok(Response::new(api::ListStockResponse { items, next_page_token }))
    }
}
