//! What the participant keeps for its branches, seen from outside: how much it holds, and how much it has taken for good.
//!
//! With it every check ends with the question whether the figures are those of the branches that stand. Without it the
//! kit sees only what the participant says of its log.
use std::process::Stdio;

use proto::assent::inventory::v1::GetStockRequest;
use proto::assent::inventory::v1::inventory_service_client::InventoryServiceClient;
use proto::assent::payment::v1::GetAccountRequest;
use proto::assent::payment::v1::payment_service_client::PaymentServiceClient;
use proto::google::r#type::Money;
use tokio::process::Command;
use tonic::transport::Channel;

/// Where the figures come from.
#[derive(Debug, Clone)]
pub enum Books {
    /// Nowhere: they can't be seen.
    Unseen,
    /// A command that prints them.
    Command(String),
    /// The stock of a SKU.
    Stock(String),
    /// What is in an account.
    Account(String),
}

/// The figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// What prepared branches hold.
    pub held: i64,
    /// What committed branches have taken, counted from anywhere.
    pub taken: i64,
}

impl Books {
    /// Reads them; none where they can't be seen.
    pub async fn read(&self, channel: &Channel) -> Result<Option<Figures>, String> {
        match self {
            Books::Unseen => Ok(None),
            Books::Command(command) => printed(command).await.map(Some),
            Books::Stock(sku) => {
                let request = GetStockRequest { sku: sku.clone(), read_time: None, ..Default::default() };
                let answer = InventoryServiceClient::new(channel.clone()).get_stock(request).await;
                let item =
                    answer.map_err(|status| format!("GetStock of {sku}: {}", status.message()))?.into_inner().item;
                let item = item.unwrap_or_default();
                Ok(Some(Figures { held: item.held, taken: item.on_hand.saturating_neg() }))
            }
            Books::Account(name) => {
                let request = GetAccountRequest { account: name.clone() };
                let answer = PaymentServiceClient::new(channel.clone()).get_account(request).await;
                let answer = answer.map_err(|status| format!("GetAccount of {name}: {}", status.message()))?;
                let account = answer.into_inner().account.unwrap_or_default();
                let minor =
                    |money: Option<Money>| money.unwrap_or_default().to_minor().map_err(|error| error.to_string());
                Ok(Some(Figures { held: minor(account.held)?, taken: minor(account.balance)?.saturating_neg() }))
            }
        }
    }
}

async fn printed(command: &str) -> Result<Figures, String> {
    let output = Command::new("sh").arg("-c").arg(command).stdin(Stdio::null()).stderr(Stdio::inherit()).output().await;
    let output = output.map_err(|error| format!("the books' command can't be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("the books' command failed: {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<i64> = text.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
    match figures.as_slice() {
        [held, taken] => Ok(Figures { held: *held, taken: *taken }),
        _ => Err(format!("the books' command must print two whole numbers, held and taken, not {:?}", text.trim())),
    }
}
