//! `assent account`: what orders are paid from.
use clap::Subcommand;
use proto::assent::payment::v1 as wire;
use serde::Serialize;
use uuid::Uuid;

use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::money::{Decimal, MoneyView, parse_currency};
use crate::output::{Output, table, time};

/// Accounts that orders are paid from
#[derive(Debug, Subcommand)]
pub enum Account {
    /// Open an account
    Open {
        /// Its name
        name: String,
        /// What it begins with
        #[arg(long, default_value = "0", value_name = "AMOUNT")]
        balance: Decimal,
        /// Its currency
        #[arg(long, default_value = "GBP", value_name = "CODE", value_parser = parse_currency)]
        currency: String,
        /// Names the request, so that it can be repeated
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
    /// Put money into an account
    Deposit {
        /// The account
        name: String,
        /// How much
        amount: Decimal,
        /// In which currency
        #[arg(long, default_value = "GBP", value_name = "CODE", value_parser = parse_currency)]
        currency: String,
        /// Names the request, so that it can be repeated; made up if not given
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
    /// Show an account
    Get {
        /// Its name
        name: String,
    },
    /// List an account's ledger entries, newest first
    Entries {
        /// Its name
        name: String,
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
}

#[derive(Debug, Serialize)]
struct AccountView {
    account: String,
    balance: Option<MoneyView>,
    held: Option<MoneyView>,
    available: Option<MoneyView>,
    create_time: Option<String>,
}

impl From<wire::Account> for AccountView {
    fn from(account: wire::Account) -> Self {
        AccountView {
            balance: MoneyView::of(account.balance.as_ref()),
            held: MoneyView::of(account.held.as_ref()),
            available: MoneyView::of(account.available.as_ref()),
            create_time: time(account.create_time.as_ref()),
            account: account.account,
        }
    }
}

#[derive(Debug, Serialize)]
struct EntryView {
    booking_id: String,
    account: String,
    kind: String,
    amount: Option<MoneyView>,
    create_time: Option<String>,
}

#[derive(Debug, Serialize)]
struct EntryList {
    entries: Vec<EntryView>,
}

impl Account {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let wrote = |status: tonic::Status| Failure::of_status(&status, Call::Write);
        let account = match self {
            Account::Open { name, balance, currency, request_id } => {
                let opening_balance = Some(balance.to_wire(&currency));
                let request_id = request_id.unwrap_or_default();
                let request = services.request(wire::OpenAccountRequest { account: name, opening_balance, request_id });
                services.accounts().await?.open_account(request).await.map_err(wrote)?.into_inner().account
            }
            Account::Deposit { name, amount, currency, request_id } => {
                let amount = Some(amount.to_wire(&currency));
                let request_id = request_id.unwrap_or_else(|| Uuid::new_v4().to_string());
                let shown = request_id.clone();
                let request = services.request(wire::DepositRequest { account: name, amount, request_id });
                let answer = services.accounts().await?.deposit(request).await.map_err(|status| {
                    let failure = wrote(status);
                    match failure.exit {
                        crate::failure::Exit::Unknown => {
                            failure.hint(format!("it may have happened: repeat it with --request-id {shown}"))
                        }
                        _ => failure,
                    }
                });
                answer?.into_inner().account
            }
            Account::Get { name } => {
                let request = services.request(wire::GetAccountRequest { account: name });
                let answer = services.accounts().await?.get_account(request).await;
                answer.map_err(|status| Failure::of_status(&status, Call::Read))?.into_inner().account
            }
            Account::Entries { name, limit } => return entries(services, name, limit, output).await,
        };
        let account = account.ok_or_else(|| Failure::new("the payment service answered without the account"))?;
        output.print(&AccountView::from(account), account_table)
    }
}

async fn entries(services: &Services, account: String, limit: u32, output: Output) -> Result<(), Failure> {
    let mut client = services.accounts().await?;
    let mut entries: Vec<EntryView> = Vec::new();
    let mut page_token = String::new();
    loop {
        let left = (limit as usize).saturating_sub(entries.len()).min(1_000);
        let page_size = i32::try_from(left).unwrap_or(1_000);
        let request = services.request(wire::ListEntriesRequest { account: account.clone(), page_size, page_token });
        let page = client.list_entries(request).await.map_err(|status| Failure::of_status(&status, Call::Read))?;
        let page = page.into_inner();
        entries.extend(page.entries.into_iter().map(|entry| EntryView {
            amount: MoneyView::of(entry.amount.as_ref()),
            create_time: time(entry.create_time.as_ref()),
            booking_id: entry.booking_id,
            account: entry.account,
            kind: entry.kind,
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() || entries.len() >= limit as usize {
            break;
        }
    }
    output.print(&EntryList { entries }, |list| {
        let rows = list
            .entries
            .iter()
            .map(|entry| {
                let when = entry.create_time.clone().unwrap_or_default();
                vec![when, entry.kind.clone(), shown(entry.amount.as_ref()), entry.booking_id.clone()]
            })
            .collect();
        table(&["time", "kind", "amount", "booking"], &[2], rows)
    })
}

fn account_table(view: &AccountView) -> String {
    let row = vec![
        view.account.clone(),
        shown(view.balance.as_ref()),
        shown(view.held.as_ref()),
        shown(view.available.as_ref()),
    ];
    table(&["account", "balance", "held", "available"], &[1, 2, 3], vec![row])
}

fn shown(money: Option<&MoneyView>) -> String {
    money.map(MoneyView::to_string).unwrap_or_default()
}
