//! Opens the run's accounts and stocks its articles, so plentifully that no order is refused for want of either; of those
//! that are to be sold out there is nothing.
//!
//! Done twice, it changes nothing more.
use futures::{StreamExt, TryStreamExt, stream};
use proto::assent::inventory::v1::SetStockRequest;
use proto::assent::inventory::v1::inventory_service_client::InventoryServiceClient;
use proto::assent::payment::v1::OpenAccountRequest;
use proto::assent::payment::v1::payment_service_client::PaymentServiceClient;
use proto::google::r#type::Money;
use tonic::Status;
use tonic::transport::Channel;

use crate::Caller;
use crate::shop::{CURRENCY, Shop};

/// Of every article that is not sold out.
pub const ON_HAND: i64 = 1_000_000_000;
/// Of every account.
pub const BALANCE_MINOR: i64 = 1_000_000_000_000;
/// Calls under way at a time.
const CONCURRENCY: usize = 64;

/// Which part of the setup a service did not do.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {}", .status.message())]
pub struct SetupFailed {
    /// What was asked for.
    pub what: String,
    /// What the service answered.
    pub status: Status,
}

/// Sets the system up for `shop`: its articles, and its accounts.
pub async fn run(
    stock: InventoryServiceClient<Channel>,
    accounts: PaymentServiceClient<Channel>,
    caller: &Caller,
    shop: &Shop,
) -> Result<(), SetupFailed> {
    self::stock(stock, caller, shop).await?;
    stream::iter(&shop.accounts)
        .map(Ok)
        .try_for_each_concurrent(CONCURRENCY, async |account| {
            let request = caller.request(OpenAccountRequest {
                account: account.clone(),
                opening_balance: Some(Money::from_minor(CURRENCY, BALANCE_MINOR)),
                request_id: format!("bench/account/{account}"),
            });
            let answer = accounts.clone().open_account(request).await;
            answer.map(drop).map_err(|status| SetupFailed { what: format!("open account {account}"), status })
        })
        .await
}

/// Stocks the articles of `shop` in one inventory.
pub async fn stock(stock: InventoryServiceClient<Channel>, caller: &Caller, shop: &Shop) -> Result<(), SetupFailed> {
    let plenty = shop.skus.iter().map(|sku| (sku, ON_HAND));
    let none = shop.sold_out.iter().map(|sku| (sku, 0));
    stream::iter(plenty.chain(none).map(Ok))
        .try_for_each_concurrent(CONCURRENCY, async |(sku, on_hand)| {
            let request = caller.request(SetStockRequest { sku: sku.clone(), on_hand, ..Default::default() });
            let answer = stock.clone().set_stock(request).await;
            answer.map(drop).map_err(|status| SetupFailed { what: format!("stock {sku}"), status })
        })
        .await
}
