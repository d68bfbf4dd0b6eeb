//! Opens the accounts and stocks the articles that a file needs; done once, however often it is run.
use std::future::Future;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use proto::assent::inventory::v1 as inventory;
use proto::assent::payment::v1 as payment;
use tonic::{Code, Status};

use super::attempts::Backoff;
use super::invoices::{CURRENCY, Plan};
use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::money::Decimal;

/// How the system is set up for a file.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Which part of what was sold is stocked.
    pub stock_factor: Decimal,
    /// What every account begins with.
    pub balance: Decimal,
    /// How many calls are under way at a time.
    pub concurrency: usize,
    /// For how long a call is repeated while a service is down.
    pub patience: Duration,
}

/// Repeats a call that may be repeated while the service is down.
async fn patiently<T, F>(patience: Duration, mut call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let mut backoff = Backoff::new(patience);
    loop {
        let status = match call().await {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        let passing = matches!(
            status.code(),
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unknown | Code::Aborted
        );
        if !passing || !backoff.wait().await {
            return Err(status);
        }
    }
}

impl Setup {
    /// Sets the system up for `plan`; calls `done` after each account and article.
    pub async fn run(self, services: &Services, plan: &Plan, done: impl Fn()) -> Result<(), Failure> {
        let accounts = services.accounts().await?;
        stream::iter(plan.accounts().into_iter().map(Ok))
            .try_for_each_concurrent(self.concurrency, async |account| {
                self.open(accounts.clone(), services, account).await?;
                done();
                Ok::<_, Failure>(())
            })
            .await?;
        let stock = services.stock().await?;
        stream::iter(plan.demand())
            .map(Ok)
            .try_for_each_concurrent(self.concurrency, async |(sku, sold)| {
                self.stock(stock.clone(), services, &plan.file_key, sku, sold).await?;
                done();
                Ok::<_, Failure>(())
            })
            .await
    }

    async fn open(
        self,
        client: payment::payment_service_client::PaymentServiceClient<tonic::transport::Channel>,
        services: &Services,
        account: &str,
    ) -> Result<(), Failure> {
        let opened = patiently(self.patience, || {
            let mut client = client.clone();
            let request = services.request(payment::OpenAccountRequest {
                account: account.to_owned(),
                opening_balance: Some(self.balance.to_wire(CURRENCY)),
                request_id: format!("replay/account/{account}"),
            });
            async move { client.open_account(request).await }
        })
        .await;
        match opened {
            // Opened by someone else, or by an earlier run: it is used as it stands.
            Err(status) if status.code() != Code::AlreadyExists => {
                Err(failed(&format!("open account {account}"), &status))
            }
            _ => Ok(()),
        }
    }

    async fn stock(
        self,
        client: inventory::inventory_service_client::InventoryServiceClient<tonic::transport::Channel>,
        services: &Services,
        file_key: &str,
        sku: &str,
        sold: i64,
    ) -> Result<(), Failure> {
        let delta = self.stock_factor.floor_of(sold);
        let adjusted = patiently(self.patience, || {
            let mut client = client.clone();
            let request = services.request(inventory::AdjustStockRequest {
                sku: sku.to_owned(),
                delta,
                // Added once for each file, so that another run of it resets nothing, and another file adds its own.
                request_id: format!("replay/{file_key}/{}", plain(sku)),
                ..Default::default()
            });
            async move { client.adjust_stock(request).await }
        })
        .await;
        adjusted.map(drop).map_err(|status| failed(&format!("stock {sku}"), &status))
    }
}

fn failed(what: &str, status: &Status) -> Failure {
    let failure = Failure::of_status(status, Call::Write);
    let message = format!("cannot {what}: {}", failure.message);
    Failure { message, ..failure.hint("run the same command again: it carries on") }
}

/// A SKU in the letters of a request id; no two become the same.
fn plain(sku: &str) -> String {
    let letter = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' => char::from(byte).to_string(),
        _ => format!("_{byte:02x}"),
    };
    sku.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skus_keep_apart_in_request_ids() {
        assert_eq!(plain("85123A"), "85123A");
        assert_eq!(plain("gift_1 x"), "gift_5f1_20x");
        assert_ne!(plain("a_20"), plain("a "));
    }
}
