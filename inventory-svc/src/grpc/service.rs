//! InventoryService: stock for shops.
use std::collections::BTreeMap;
use std::sync::Arc;

use participant::{Pool, caller, own_write, paging, status};
use proto::assent::inventory::v1 as api;
use proto::assent::inventory::v1::inventory_service_server::InventoryService;
use proto::limits;
use tokio::sync::Semaphore;
use tonic::codegen::BoxStream;
use tonic::{Code, Request, Response, Status};

use super::{feed, read, watch, wire};
use crate::domain::{Denied, MAX_ON_HAND, check_range};
use crate::feed::Feed;
use crate::reads::Reads;
use crate::store;
use crate::store::states::{self, Move};
use crate::store::stock::{self, Adjustment};
use crate::store::strategy::Strategy;
use crate::store::{ledger, replay};

/// InventoryService.
pub struct StockService {
    pool: Pool,
    strategy: Arc<dyn Strategy>,
    /// Those who may watch stock at one time.
    watchers: Arc<Semaphore>,
    feed: Feed,
    reads: Arc<Reads>,
}

/// Who watches stock at one time, at most: each looks into the ledger now and then.
const WATCHERS: usize = 200;

impl StockService {
    /// The service on a database, where stock is held in this way.
    pub fn new(pool: Pool, strategy: Arc<dyn Strategy>) -> Self {
        let watchers = Arc::new(Semaphore::new(WATCHERS));
        let reads = Arc::new(Reads::new(pool.clone()));
        StockService { pool, strategy, watchers, feed: Feed::new(None), reads }
    }

    /// The same, with the feed of its process.
    pub fn with_feed(self, feed: Feed) -> Self {
        StockService { feed, ..self }
    }

    /// The same, where readings are kept in another way.
    pub fn with_reads(self, reads: impl Into<Arc<Reads>>) -> Self {
        StockService { reads: reads.into(), ..self }
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
        let client_id = caller::client_id(&request)?;
        let api::SetStockRequest { sku, on_hand, location } = request.into_inner();
        valid_sku(&sku)?;
        let at = super::locations::named("location", location)?;
        check_range(on_hand, 0, MAX_ON_HAND).map_err(|wrong| status::invalid("on_hand", wrong))?;
        let set = own_write::run(&self.pool, move |connection| {
            Box::pin(async move { stock::set(connection, &sku, on_hand, &client_id, at.as_deref()).await })
        });
        Ok(Response::new(api::SetStockResponse { item: Some(wire::item(set.await?)) }))
    }

    async fn adjust_stock(
        &self,
        request: Request<api::AdjustStockRequest>,
    ) -> Result<Response<api::AdjustStockResponse>, Status> {
        let client_id = caller::client_id(&request)?;
        let api::AdjustStockRequest { sku, delta, request_id, location, counted } = request.into_inner();
        valid_sku(&sku)?;
        let at = super::locations::named("location", location)?;
        check_range(delta, -MAX_ON_HAND, MAX_ON_HAND).map_err(|wrong| status::invalid("delta", wrong))?;
        caller::check_request_id(&request_id)?;
        let adjustment = Adjustment { sku, delta, at, client_id, request_id, counted };
        let adjusted = own_write::run(&self.pool, move |connection| {
            Box::pin(async move { stock::adjust(connection, &adjustment).await })
        });
        Ok(Response::new(api::AdjustStockResponse { item: Some(wire::item(adjusted.await?)) }))
    }

    async fn set_buffer(
        &self,
        request: Request<api::SetBufferRequest>,
    ) -> Result<Response<api::SetBufferResponse>, Status> {
        let client_id = caller::client_id(&request)?;
        let api::SetBufferRequest { sku, buffer } = request.into_inner();
        valid_sku(&sku)?;
        check_range(buffer, 0, MAX_ON_HAND).map_err(|wrong| status::invalid("buffer", wrong))?;
        let set = own_write::run(&self.pool, move |connection| {
            Box::pin(async move { states::set_buffer(connection, &sku, buffer, &client_id).await })
        });
        Ok(Response::new(api::SetBufferResponse { item: Some(wire::item(set.await?)) }))
    }

    async fn move_stock(
        &self,
        request: Request<api::MoveStockRequest>,
    ) -> Result<Response<api::MoveStockResponse>, Status> {
        let client_id = caller::client_id(&request)?;
        let asked = request.into_inner();
        valid_sku(&asked.sku)?;
        limits::check_quantity(asked.quantity).map_err(|wrong| status::invalid("quantity", wrong))?;
        caller::check_request_id(&asked.request_id)?;
        let (kind, sign) = wire::way(asked.from(), asked.to())?;
        let at = super::locations::named("location", asked.location.clone())?;
        let from = wire::state_name(asked.from());
        let quantity = asked.quantity * sign;
        let asked = Move { sku: asked.sku, kind, quantity, at, from, client_id, request_id: asked.request_id };
        let moved = own_write::run(&self.pool, move |connection| {
            Box::pin(async move { states::move_units(connection, &asked).await })
        });
        Ok(Response::new(api::MoveStockResponse { item: Some(wire::item(moved.await?)) }))
    }

    async fn get_stock(
        &self,
        request: Request<api::GetStockRequest>,
    ) -> Result<Response<api::GetStockResponse>, Status> {
        Ok(Response::new(read::one(&self.pool, &self.reads, request.into_inner()).await?))
    }

    async fn batch_get_stock(
        &self,
        request: Request<api::BatchGetStockRequest>,
    ) -> Result<Response<api::BatchGetStockResponse>, Status> {
        Ok(Response::new(read::many(&self.reads, request.into_inner()).await?))
    }

    async fn set_low_stock_threshold(
        &self,
        request: Request<api::SetLowStockThresholdRequest>,
    ) -> Result<Response<api::SetLowStockThresholdResponse>, Status> {
        let api::SetLowStockThresholdRequest { sku, threshold } = request.into_inner();
        valid_sku(&sku)?;
        check_range(threshold, 0, MAX_ON_HAND).map_err(|wrong| status::invalid("threshold", wrong))?;
        let of = sku.clone();
        let set = own_write::run(&self.pool, move |connection| {
            Box::pin(async move { store::reads::set_low_at(connection, &of, threshold).await })
        });
        set.await?;
        self.reads.forget(&sku);
        Ok(Response::new(api::SetLowStockThresholdResponse {}))
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

    async fn list_movements(
        &self,
        request: Request<api::ListMovementsRequest>,
    ) -> Result<Response<api::ListMovementsResponse>, Status> {
        let api::ListMovementsRequest { sku, page_size, page_token } = request.into_inner();
        valid_sku(&sku)?;
        let page_size = paging::page_size(page_size)?;
        let list = ["movements", sku.as_str()];
        let before = match paging::position(&page_token, &list)? {
            None => i64::MAX,
            Some(position) => {
                position.parse().map_err(|_| status::invalid("page_token", "is none that this service gave out"))?
            }
        };
        let read = ledger::list(&self.pool, &sku, before, page_size + 1).await;
        let read = read.map_err(|error| status::database(&error))?;
        if read.is_empty() && page_token.is_empty() {
            return Err(Denied::UnknownSku { sku }.into());
        }
        let (page, next_page_token) = paging::cut(read, page_size, &list, |last| last.sequence.to_string());
        let movements = page.into_iter().map(wire::movement).collect();
        Ok(Response::new(api::ListMovementsResponse { movements, next_page_token }))
    }

    async fn verify_stock(
        &self,
        request: Request<api::VerifyStockRequest>,
    ) -> Result<Response<api::VerifyStockResponse>, Status> {
        let api::VerifyStockRequest { page_size, page_token } = request.into_inner();
        let page_size = paging::page_size(page_size)?;
        let after = paging::position(&page_token, &["verify"])?.unwrap_or_default();
        let pool = self.pool.clone();
        // In a task of its own, because a client that goes away must not cut it off while it begins its snapshot.
        let page = tokio::spawn(async move { replay::snapshot(&pool, &after, page_size).await }).await;
        let page = page.map_err(|ended| {
            tracing::error!(error = %ended, "a replay ended early");
            status::error(Code::Internal, "INTERNAL", "the service's log says why", &BTreeMap::new())
        })?;
        let page = page.map_err(|error| status::database(&error))?;
        let (skus, next_page_token) = paging::cut(page.skus, page_size, &["verify"], String::clone);
        Ok(Response::new(api::VerifyStockResponse {
            differences: page.differences.into_iter().map(wire::difference).collect(),
            sku_count: i64::try_from(skus.len()).unwrap_or(i64::MAX),
            movement_count: page.movement_count,
            next_page_token,
        }))
    }

    async fn watch_stock(
        &self,
        request: Request<api::WatchStockRequest>,
    ) -> Result<Response<BoxStream<api::WatchStockResponse>>, Status> {
        let watched = watch::read(request.into_inner())?;
        let permit = self.watchers.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{WATCHERS} watch already");
            status::error(Code::ResourceExhausted, "TOO_MANY_WATCHERS", message, &BTreeMap::new())
        })?;
        Ok(Response::new(Box::pin(watch::follow(self.pool.clone(), watched, permit))))
    }

    async fn list_sales(
        &self,
        request: Request<api::ListSalesRequest>,
    ) -> Result<Response<api::ListSalesResponse>, Status> {
        let api::ListSalesRequest { page_size, page_token } = request.into_inner();
        let page_size = paging::page_size(page_size)?;
        let wrong = || status::invalid("page_token", "is none that this service gave out");
        let after = match paging::position(&page_token, &["sales"])? {
            None => (String::new(), 0),
            Some(position) => {
                let (sequence, sku) = position.split_once(' ').ok_or_else(wrong)?;
                (sku.to_owned(), sequence.parse().map_err(|_| wrong())?)
            }
        };
        let read = store::sales::list(&self.pool, (&after.0, after.1), page_size + 1).await;
        let read = read.map_err(|error| status::database(&error))?;
        let (page, next_page_token) =
            paging::cut(read, page_size, &["sales"], |last| format!("{} {}", last.sequence, last.sku));
        let sales = page.into_iter().map(wire::sale).collect();
        Ok(Response::new(api::ListSalesResponse { sales, next_page_token }))
    }

    async fn get_stock_feed(
        &self,
        _: Request<api::GetStockFeedRequest>,
    ) -> Result<Response<api::GetStockFeedResponse>, Status> {
        Ok(Response::new(feed::tell(&self.pool, &self.feed).await?))
    }

    async fn get_strategy(
        &self,
        _: Request<api::GetStrategyRequest>,
    ) -> Result<Response<api::GetStrategyResponse>, Status> {
        let counters = self.strategy.counters();
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Ok(Response::new(api::GetStrategyResponse {
            strategy: self.strategy.name().as_str().to_owned(),
            retry_count: count(counters.retries()),
            fenced_count: count(counters.fenced()),
        }))
    }
}
