//! AllotmentService: captures the price of what orders get after they were placed.
use std::sync::Arc;

use participant::status;
use participant::transaction::read_id;
use proto::assent::order::v1 as api;
use proto::assent::order::v1::allotment_service_server::AllotmentService;
use proto::limits;
use tonic::{Request, Response, Status};
use tonic_types::StatusExt;

use super::change::{Call, carry_out};
use super::order::Orders;
use crate::change::{Allotted, Change, Operation};
use crate::coordinator::Coordinator;

/// Whose requests these are: no client's, so they meet none of theirs.
const CLIENT: &str = "assent:inventory";

/// AllotmentService.
pub struct Allotments {
    orders: Orders,
}

impl Allotments {
    /// The service of this coordinator.
    pub fn new(coordinator: Arc<Coordinator>) -> Self {
        Allotments { orders: Orders::new(coordinator) }
    }

    async fn settle(&self, change: Change, request_id: String) -> Result<String, Status> {
        // By its name it is the same request however often it is asked for.
        let call = Call { client_id: CLIENT.to_owned(), is_retry: true, request_id, timeout_ms: 0 };
        carry_out(&self.orders, call, change).await.map(|(_, transaction_id)| transaction_id)
    }
}

#[tonic::async_trait]
impl AllotmentService for Allotments {
    async fn settle_allotment(
        &self,
        request: Request<api::SettleAllotmentRequest>,
    ) -> Result<Response<api::SettleAllotmentResponse>, Status> {
        let api::SettleAllotmentRequest { allotment_id, order_id, lines, attempt } = request.into_inner();
        let allotment_id = read_id("allotment_id", &allotment_id)?;
        limits::check_line_count(lines.len()).map_err(|wrong| status::invalid("lines", wrong))?;
        if lines.iter().any(|line| line.quantity < 1 || line.first < 0) {
            return Err(status::invalid("lines", "must each be for at least 1, after zero or more"));
        }
        let line = |line: api::AllottedLine| Allotted { sku: line.sku, first: line.first, quantity: line.quantity };
        let change = Change {
            order_id: read_id("order_id", &order_id)?,
            operation: Operation::Allot,
            reason: format!("allotment {allotment_id}"),
            back: Vec::new(),
            refund: None,
            allotted: lines.into_iter().map(line).collect(),
            charged: false,
        };
        let name = format!("allotment:{allotment_id}:{attempt}");
        let settled = match self.settle(change.clone(), name.clone()).await {
            // The authorisation has aged out: what is to be captured now is authorised anew, in the same transaction.
            Err(status) if reason(&status) == "AUTHORISATION_EXPIRED" => {
                self.settle(Change { charged: true, ..change }, format!("{name}:charged")).await
            }
            settled => settled,
        };
        Ok(Response::new(api::SettleAllotmentResponse { transaction_id: settled? }))
    }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}
