//! PaymentService: accounts for shops.
use participant::transaction::read_id;
use participant::{Pool, caller, own_write, paging, status};
use proto::assent::payment::v1 as api;
use proto::assent::payment::v1::payment_service_server::PaymentService;
use proto::google::r#type::Money;
use proto::limits;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use super::wire;
use crate::domain::payment::unknown_payment;
use crate::domain::{Account, Denied, check_readable_account};
use crate::provider::gateway::STUCK_AFTER_MS;
use crate::store::account::{self, Incoming};
use crate::store::{calls, entries, payments};

/// PaymentService.
pub struct Accounts {
    pool: Pool,
}

impl Accounts {
    /// The service on a database.
    pub fn new(pool: Pool) -> Self {
        Accounts { pool }
    }

    async fn read(&self, account: String) -> Result<Account, Status> {
        check_readable_account(&account).map_err(|wrong| status::invalid("account", wrong))?;
        let found = account::get(&self.pool, &account).await.map_err(|error| status::database(&error))?;
        Ok(found.ok_or(Denied::UnknownAccount { account })?)
    }
}

/// Checks money that comes in; `field` is where it stands in the request.
fn incoming(
    client_id: String,
    account: String,
    field: &str,
    money: Option<Money>,
    request_id: String,
) -> Result<Incoming, Status> {
    limits::check_account(&account).map_err(|wrong| status::invalid("account", wrong))?;
    let (currency, amount_minor) = wire::amount(field, money)?;
    caller::check_request_id(&request_id)?;
    Ok(Incoming { account, currency, amount_minor, client_id, request_id })
}

#[tonic::async_trait]
impl PaymentService for Accounts {
    async fn open_account(
        &self,
        request: Request<api::OpenAccountRequest>,
    ) -> Result<Response<api::OpenAccountResponse>, Status> {
        let client_id = caller::client_id(&request)?;
        let api::OpenAccountRequest { account, opening_balance, request_id } = request.into_inner();
        let opening = incoming(client_id, account, "opening_balance", opening_balance, request_id)?;
        let opened = own_write::run(&self.pool, move |connection| {
            Box::pin(async move { account::open(connection, &opening).await })
        });
        Ok(Response::new(api::OpenAccountResponse { account: Some(wire::account(opened.await?)) }))
    }

    async fn deposit(&self, request: Request<api::DepositRequest>) -> Result<Response<api::DepositResponse>, Status> {
        let client_id = caller::client_id(&request)?;
        let api::DepositRequest { account, amount, request_id } = request.into_inner();
        let deposit = incoming(client_id, account, "amount", amount, request_id)?;
        if deposit.amount_minor == 0 {
            return Err(status::invalid("amount", "must be more than zero"));
        }
        let deposited = own_write::run(&self.pool, move |connection| {
            Box::pin(async move { account::deposit(connection, &deposit).await })
        });
        Ok(Response::new(api::DepositResponse { account: Some(wire::account(deposited.await?)) }))
    }

    async fn get_account(
        &self,
        request: Request<api::GetAccountRequest>,
    ) -> Result<Response<api::GetAccountResponse>, Status> {
        let account = self.read(request.into_inner().account).await?;
        Ok(Response::new(api::GetAccountResponse { account: Some(wire::account(account)) }))
    }

    async fn list_entries(
        &self,
        request: Request<api::ListEntriesRequest>,
    ) -> Result<Response<api::ListEntriesResponse>, Status> {
        let api::ListEntriesRequest { account, page_size, page_token } = request.into_inner();
        let page_size = paging::page_size(page_size)?;
        let account = self.read(account).await?;
        let list = ["entries", account.account.as_str()];
        let before = match paging::position(&page_token, &list)? {
            None => Uuid::max(),
            Some(position) => read_id("page_token", &position)?,
        };
        let read = entries::list(&self.pool, &account.account, before, page_size + 1).await;
        let read = read.map_err(|error| status::database(&error))?;
        let (page, next_page_token) = paging::cut(read, page_size, &list, |last| last.booking_id.to_string());
        let entry = |entry| wire::entry(&account.account, &account.currency, entry);
        let entries = page.into_iter().map(entry).collect();
        Ok(Response::new(api::ListEntriesResponse { entries, next_page_token }))
    }

    async fn get_payment(
        &self,
        request: Request<api::GetPaymentRequest>,
    ) -> Result<Response<api::GetPaymentResponse>, Status> {
        let payment_id = read_id("payment_id", &request.into_inner().payment_id)?;
        let read = payments::get(&self.pool, payment_id).await.map_err(|error| status::database(&error))?;
        let Some((payment, entries)) = read else {
            let unknown = unknown_payment(payment_id);
            return Err(status::error(Code::NotFound, &unknown.reason, unknown.message, &unknown.metadata));
        };
        let entry = |entry| wire::entry(&payment.account, &payment.currency, entry);
        let entries = entries.into_iter().map(entry).collect();
        let calls = calls::of_payment(&self.pool, payment_id).await.map_err(|error| status::database(&error))?;
        let calls = calls.iter().map(wire::call).collect();
        let payment = api::Payment { entries, calls, ..wire::payment(&payment) };
        Ok(Response::new(api::GetPaymentResponse { payment: Some(payment) }))
    }

    async fn list_payments(
        &self,
        request: Request<api::ListPaymentsRequest>,
    ) -> Result<Response<api::ListPaymentsResponse>, Status> {
        let api::ListPaymentsRequest { account, page_size, page_token } = request.into_inner();
        let page_size = paging::page_size(page_size)?;
        if !account.is_empty() {
            limits::check_account(&account).map_err(|wrong| status::invalid("account", wrong))?;
        }
        let list = ["payments", account.as_str()];
        let before = match paging::position(&page_token, &list)? {
            None => Uuid::max(),
            Some(position) => read_id("page_token", &position)?,
        };
        let of_account = Some(account.as_str()).filter(|account| !account.is_empty());
        let read = payments::list(&self.pool, of_account, before, page_size + 1).await;
        let read = read.map_err(|error| status::database(&error))?;
        let (page, next_page_token) = paging::cut(read, page_size, &list, |last| last.payment_id.to_string());
        let payments = page.iter().map(wire::payment).collect();
        Ok(Response::new(api::ListPaymentsResponse { payments, next_page_token }))
    }

    async fn list_gateway_calls(
        &self,
        request: Request<api::ListGatewayCallsRequest>,
    ) -> Result<Response<api::ListGatewayCallsResponse>, Status> {
        let api::ListGatewayCallsRequest { stuck_only, page_size, page_token } = request.into_inner();
        let page_size = paging::page_size(page_size)?;
        let list = ["calls", if stuck_only { "stuck" } else { "all" }];
        let after = match paging::position(&page_token, &list)? {
            None => 0,
            Some(position) => position.parse().map_err(|_| status::invalid("page_token", "names no call"))?,
        };
        let read = calls::list(&self.pool, stuck_only.then_some(STUCK_AFTER_MS), after, page_size + 1).await;
        let read = read.map_err(|error| status::database(&error))?;
        let (page, next_page_token) = paging::cut(read, page_size, &list, |last| last.sequence.to_string());
        let calls = page.iter().map(wire::call).collect();
        Ok(Response::new(api::ListGatewayCallsResponse { calls, next_page_token }))
    }
}
