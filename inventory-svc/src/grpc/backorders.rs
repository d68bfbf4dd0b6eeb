//! BackorderService: what may be owed to orders, and what is.
use std::sync::Arc;
use std::time::SystemTime;

use participant::transaction::read_id;
use participant::{Pool, paging, status};
use proto::assent::inventory::v1 as api;
use proto::assent::inventory::v1::backorder_service_server::BackorderService;
use proto::limits;
use sqlx::PgConnection;
use tonic::{Request, Response, Status};

use super::wire;
use crate::domain::{Owed, OwedState, SupplyKind, SupplyPolicy, check_range};
use crate::reads::Reads;
use crate::store::backorders;

/// BackorderService.
pub struct Backorders {
    pool: Pool,
    /// What is shown of a SKU is to follow its policy.
    reads: Option<Arc<Reads>>,
}

impl Backorders {
    /// The service on a database.
    pub fn new(pool: Pool) -> Self {
        Backorders { pool, reads: None }
    }

    /// The same, where what is shown of stock is kept here.
    pub fn with_reads(self, reads: Arc<Reads>) -> Self {
        Backorders { reads: Some(reads), ..self }
    }

    async fn policy(&self, sku: &str) -> Result<api::SupplyPolicy, Status> {
        let read = self.pool.run(async |connection: &mut PgConnection| backorders::policies(connection, &[sku]).await);
        let found = read.await.map_err(|error| status::database(&error))?.remove(sku);
        Ok(found.map(policy).unwrap_or_default())
    }
}

fn kind(kind: SupplyKind) -> i32 {
    match kind {
        SupplyKind::Backorder => api::SupplyKind::Backorder.into(),
        SupplyKind::Preorder => api::SupplyKind::Preorder.into(),
    }
}

fn policy(policy: SupplyPolicy) -> api::SupplyPolicy {
    api::SupplyPolicy {
        kind: kind(policy.kind),
        max_owed: policy.max_owed,
        available_time: policy.available_time.map(|time| SystemTime::from(time).into()),
        owed: policy.owed,
    }
}

fn owed(owed: Owed) -> api::Backorder {
    let state = match owed.state {
        OwedState::InDoubt => api::BackorderState::InDoubt,
        OwedState::Waiting => api::BackorderState::Waiting,
        OwedState::Given => api::BackorderState::Given,
        OwedState::Cancelled => api::BackorderState::Cancelled,
    };
    api::Backorder {
        order_id: owed.order_id.to_string(),
        sku: owed.sku,
        kind: kind(owed.kind),
        ordered: owed.ordered,
        owed: owed.owed,
        state: state.into(),
        available_time: owed.available_time.map(|time| SystemTime::from(time).into()),
    }
}

#[tonic::async_trait]
impl BackorderService for Backorders {
    async fn set_supply_policy(
        &self,
        request: Request<api::SetSupplyPolicyRequest>,
    ) -> Result<Response<api::SetSupplyPolicyResponse>, Status> {
        let api::SetSupplyPolicyRequest { sku, policy } = request.into_inner();
        limits::check_sku(&sku).map_err(|wrong| status::invalid("sku", wrong))?;
        let policy = policy.ok_or_else(|| status::invalid("policy", "is missing"))?;
        let kind = match api::SupplyKind::try_from(policy.kind) {
            Ok(api::SupplyKind::Unspecified) => None,
            Ok(api::SupplyKind::Backorder) => Some(SupplyKind::Backorder),
            Ok(api::SupplyKind::Preorder) => Some(SupplyKind::Preorder),
            Err(_) => return Err(status::invalid("policy.kind", format!("{} is no kind of supply", policy.kind))),
        };
        check_range(policy.max_owed, 0, limits::MAX_QUANTITY)
            .map_err(|wrong| status::invalid("policy.max_owed", wrong))?;
        let time = policy.available_time.map(|time| wire::time("policy.available_time", time)).transpose()?;
        let set = kind.map(|kind| (kind, policy.max_owed, time));
        let done =
            self.pool.run(async |connection: &mut PgConnection| backorders::set_policy(connection, &sku, set).await);
        done.await.map_err(|error| status::database(&error))?;
        if let Some(reads) = &self.reads {
            reads.forget(&sku);
        }
        Ok(Response::new(api::SetSupplyPolicyResponse { policy: Some(self.policy(&sku).await?) }))
    }

    async fn get_supply_policy(
        &self,
        request: Request<api::GetSupplyPolicyRequest>,
    ) -> Result<Response<api::GetSupplyPolicyResponse>, Status> {
        let sku = request.into_inner().sku;
        limits::check_sku(&sku).map_err(|wrong| status::invalid("sku", wrong))?;
        Ok(Response::new(api::GetSupplyPolicyResponse { policy: Some(self.policy(&sku).await?) }))
    }

    async fn get_backorder(
        &self,
        request: Request<api::GetBackorderRequest>,
    ) -> Result<Response<api::GetBackorderResponse>, Status> {
        let order_id = read_id("order_id", &request.get_ref().order_id)?;
        let read =
            self.pool.run(async |connection: &mut PgConnection| backorders::of_order(connection, order_id).await);
        let found = read.await.map_err(|error| status::database(&error))?;
        Ok(Response::new(api::GetBackorderResponse { backorders: found.into_iter().map(owed).collect() }))
    }

    async fn list_backorders(
        &self,
        request: Request<api::ListBackordersRequest>,
    ) -> Result<Response<api::ListBackordersResponse>, Status> {
        let api::ListBackordersRequest { sku, page_size, page_token } = request.into_inner();
        limits::check_sku(&sku).map_err(|wrong| status::invalid("sku", wrong))?;
        let page_size = paging::page_size(page_size)?;
        let list = ["backorders", sku.as_str()];
        let after = match paging::position(&page_token, &list)? {
            None => 0,
            Some(position) => {
                position.parse().map_err(|_| status::invalid("page_token", "is none that this service gave out"))?
            }
        };
        let read = self
            .pool
            .run(async |connection: &mut PgConnection| backorders::list(connection, &sku, after, page_size + 1).await);
        let read = read.await.map_err(|error| status::database(&error))?;
        let (page, next_page_token) = paging::cut(read, page_size, &list, |last| last.place.to_string());
        let backorders = page.into_iter().map(owed).collect();
        Ok(Response::new(api::ListBackordersResponse { backorders, next_page_token }))
    }
}
