//! OrderStoreService: orders as stored.
use std::collections::HashSet;

use participant::transaction::read_id;
use participant::{Pool, paging, status};
use prost::Message;
use proto::assent::order::v1 as api;
use proto::assent::order::v1::order_store_service_server::OrderStoreService;
use proto::limits;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::wire;
use crate::domain::Branch;
use crate::store::reads::{self, Filter};
use crate::store::{changes, history};

/// Of the orders on one page: below the 4 MiB that clients take by default. Large orders make shorter pages.
const MAX_PAGE_BYTES: usize = 3 * 1024 * 1024;

/// OrderStoreService.
pub struct OrderStore {
    pool: Pool,
}

impl OrderStore {
    /// The service on a database.
    pub fn new(pool: Pool) -> Self {
        OrderStore { pool }
    }
}

/// How many of the orders fit one page; at least one, which a message always has room for.
fn fitting(orders: &[api::Order]) -> usize {
    let mut bytes = 0;
    let fits = orders.iter().take_while(|order| {
        bytes += order.encoded_len();
        bytes <= MAX_PAGE_BYTES
    });
    fits.count().max(1)
}

#[tonic::async_trait]
impl OrderStoreService for OrderStore {
    async fn read_order(
        &self,
        request: Request<api::ReadOrderRequest>,
    ) -> Result<Response<api::ReadOrderResponse>, Status> {
        let order_id = request.into_inner().order_id;
        let id = read_id("order_id", &order_id)?;
        let found = reads::get(&self.pool, id).await.map_err(|error| status::database(&error))?;
        let Some(found) = found else {
            let changed = reads::changed_by(&self.pool, id).await.map_err(|error| status::database(&error))?;
            let changed = changed.ok_or_else(|| status::not_found("ORDER_NOT_FOUND", "order", &order_id))?;
            let changed_order_id = changed.to_string();
            return Ok(Response::new(api::ReadOrderResponse { changed_order_id, ..Default::default() }));
        };
        let pending_change = wire::pending_change(&found);
        Ok(Response::new(api::ReadOrderResponse {
            order: Some(wire::order(found)),
            pending_change,
            changed_order_id: String::new(),
        }))
    }

    async fn check_change(
        &self,
        request: Request<api::CheckChangeRequest>,
    ) -> Result<Response<api::CheckChangeResponse>, Status> {
        let decoded = super::decode_branch(&request.get_ref().branch);
        let change = match decoded.map_err(|wrong| status::invalid(wrong.field, wrong.description))? {
            Branch::Change(change) => change,
            Branch::Place(_) => return Err(status::invalid("branch", "is no change of an order")),
        };
        let checked = changes::check(&self.pool, &change).await.map_err(|error| status::database(&error))?;
        let refusal = checked.err();
        Ok(Response::new(refusal.map_or_else(api::CheckChangeResponse::default, |refusal| api::CheckChangeResponse {
            reason: refusal.reason,
            message: refusal.message,
            metadata: refusal.metadata.into_iter().collect(),
        })))
    }

    async fn read_order_events(
        &self,
        request: Request<api::ReadOrderEventsRequest>,
    ) -> Result<Response<api::ReadOrderEventsResponse>, Status> {
        let api::ReadOrderEventsRequest { order_id, after_sequence, page_size } = request.into_inner();
        let id = read_id("order_id", &order_id)?;
        let page_size = paging::page_size(page_size)?;
        let read = history::after(&self.pool, id, after_sequence, page_size).await;
        let read = read.map_err(|error| status::database(&error))?;
        let (order, events) = read.ok_or_else(|| status::not_found("ORDER_NOT_FOUND", "order", &order_id))?;
        let events = events.into_iter().map(|event| wire::event(&order, event)).collect();
        Ok(Response::new(api::ReadOrderEventsResponse { events }))
    }

    async fn read_orders(
        &self,
        request: Request<api::ReadOrdersRequest>,
    ) -> Result<Response<api::ReadOrdersResponse>, Status> {
        let api::ReadOrdersRequest { page_size, page_token, state, account, changing } = request.into_inner();
        let page_size = paging::page_size(page_size)?;
        if !account.is_empty() {
            limits::check_account(&account).map_err(|wrong| status::invalid("account", wrong))?;
        }
        let (state_filter, of_state) = (wire::state(state)?, state.to_string());
        let list = [if changing { "changing orders" } else { "orders" }, of_state.as_str(), account.as_str()];
        let before = match paging::position(&page_token, &list)? {
            None => Uuid::max(),
            Some(position) => read_id("page_token", &position)?,
        };
        let account_filter = Some(account.clone()).filter(|name| !name.is_empty());
        let filter = Filter { state: state_filter, account: account_filter, changing };
        let read = reads::list(&self.pool, &filter, before, page_size + 1).await;
        let read = read.map_err(|error| status::database(&error))?;
        let mut pending_changes: Vec<api::PendingChange> = read.iter().filter_map(wire::pending_change).collect();
        let read: Vec<api::Order> = read.into_iter().map(wire::order).collect();
        let fitting = fitting(&read).min(page_size);
        let (orders, next_page_token) = paging::cut(read, fitting, &list, |last| last.order_id.clone());
        let of_page: HashSet<&str> = orders.iter().map(|order| order.order_id.as_str()).collect();
        let after = |change: &api::PendingChange| change.after.as_ref().map(|order| order.order_id.clone());
        pending_changes.retain(|change| after(change).is_some_and(|order_id| of_page.contains(order_id.as_str())));
        Ok(Response::new(api::ReadOrdersResponse { orders, next_page_token, pending_changes }))
    }
}
