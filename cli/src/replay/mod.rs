//! `assent replay`: places the orders of a real shop's file.
mod attempts;
mod invoices;
mod returns;
mod setup;
mod summary;
mod treatment;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use proto::assent::transaction::v1 as wire;

use crate::client::Services;
use crate::failure::{Call, Exit, Failure};
use crate::mode::Mode;
use crate::money::Decimal;
use crate::output::Output;
use attempts::{How, NewestBefore};
use invoices::CURRENCY;
use setup::Setup;
use summary::{Summary, Tally};

pub use invoices::Plan;

/// Place the orders of a file in the Online Retail format, one invoice an order; run again, it places nothing twice
#[derive(Debug, clap::Args)]
pub struct Replay {
    /// The file: CSV with InvoiceNo, StockCode, Quantity, UnitPrice and CustomerID
    file: PathBuf,
    /// Which part of what was sold is stocked first: 0.8 stocks 80 %, so that some orders are refused
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = stock_factor)]
    stock_factor: Decimal,
    /// What every account begins with, in GBP
    #[arg(long, value_name = "AMOUNT", default_value = "1000000.00", value_parser = balance)]
    balance: Decimal,
    /// How many orders are under way at a time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    concurrency: u16,
    /// For how long an order is tried again while services are down
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    patience_ms: u64,
    /// How orders are placed
    #[arg(long, default_value = "atomic")]
    mode: Mode,
    /// With --mode hybrid: what the participant "shipping" is to do for each order, in its own language
    #[arg(long, value_name = "TEXT", default_value = "london 1")]
    shipping: String,
}

fn stock_factor(text: &str) -> Result<Decimal, String> {
    let factor: Decimal = text.parse().map_err(|error| format!("{error}"))?;
    let most: Decimal = "1000".parse().map_err(|error| format!("{error}"))?;
    if factor.is_negative() || factor > most { Err("it is from 0 to 1000".to_owned()) } else { Ok(factor) }
}

fn balance(text: &str) -> Result<Decimal, String> {
    let balance: Decimal = text.parse().map_err(|error| format!("{error}"))?;
    match balance.to_minor(CURRENCY) {
        Some(minor) if minor >= 0 => Ok(balance),
        Some(_) => Err("it is not below zero".to_owned()),
        None => Err("it is in pounds and pence, and fits 64 bits of pence".to_owned()),
    }
}

impl Replay {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let plan = Plan::of_file(&self.file)?;
        let setup = Setup {
            stock_factor: self.stock_factor,
            balance: self.balance,
            concurrency: usize::from(self.concurrency),
            patience: Duration::from_millis(self.patience_ms),
        };
        let steps = plan.accounts().len() + plan.demand().len();
        let bar = progress(steps, "setting up");
        let done = setup.run(services, &plan, || bar.inc(1)).await;
        bar.finish_and_clear();
        done?;
        let summary = self.place_all(services, &plan).await?;
        output.print(&summary, summary::page)?;
        verdict(&summary)
    }

    fn how(&self) -> How<'_> {
        How { mode: self.mode, shipping: if self.mode == Mode::Hybrid { &self.shipping } else { "" } }
    }

    async fn place_all(&self, services: &Services, plan: &Plan) -> Result<Summary, Failure> {
        let newest_before = newest_transaction(services).await?;
        let client = services.orders().await?;
        let patience = Duration::from_millis(self.patience_ms);
        let bar = progress(plan.invoices.len(), "placing");
        let begun = Instant::now();
        let mut tally = Tally::default();
        let mut order_ids: HashMap<usize, String> = HashMap::new();
        let placing = |(place, invoice)| {
            let placed = attempts::place(client.clone(), services, invoice, &newest_before, patience, self.how());
            async move { (place, placed.await) }
        };
        let answers = stream::iter(plan.invoices.iter().enumerate()).map(placing);
        let mut answers = answers.buffer_unordered(usize::from(self.concurrency));
        while let Some((place, placed)) = answers.next().await {
            order_ids.extend(placed.order_id.clone().map(|order_id| (place, order_id)));
            tally.count(placed, &newest_before);
            let (confirmed, refused, other) = tally.so_far();
            bar.set_message(match other {
                0 => format!("{confirmed} confirmed, {refused} refused"),
                other => format!("{confirmed} confirmed, {refused} refused, {other} otherwise"),
            });
            bar.inc(1);
        }
        bar.finish_and_clear();
        drop(answers);
        let bar = progress(plan.returns.of_orders.len(), "returning");
        let returning = plan.returns.of_orders.iter().filter_map(|(place, returns)| {
            let order_id = order_ids.get(place).map(String::as_str);
            let invoice = plan.invoices.get(*place)?;
            Some(returns::bring_back(client.clone(), services, invoice, order_id, returns, patience))
        });
        let mut brought = stream::iter(returning).buffer_unordered(usize::from(self.concurrency));
        while let Some(brought) = brought.next().await {
            tally.count_returns(brought);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(tally.summary(self.file.display().to_string(), plan, begun.elapsed()))
    }
}

/// The newest transaction there is.
async fn newest_transaction(services: &Services) -> Result<NewestBefore, Failure> {
    let request = services.request(wire::ListTransactionsRequest {
        state: wire::RecordState::Unspecified.into(),
        stuck: false,
        page_size: 1,
        page_token: String::new(),
    });
    let page = services.transactions().await?.list_transactions(request).await;
    let page = page.map_err(|status| Failure::of_status(&status, Call::Read))?.into_inner();
    let newest = page.transactions.into_iter().find_map(|summary| summary.transaction);
    Ok(NewestBefore(newest.map(|transaction| transaction.transaction_id).unwrap_or_default()))
}

/// A bar on stderr, if that is a terminal.
fn progress(steps: usize, what: &'static str) -> ProgressBar {
    let template = "{prefix:<10} [{bar:40}] {pos}/{len} {per_sec} {msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps as u64).with_style(style.progress_chars("=> ")).with_prefix(what)
}

fn verdict(summary: &Summary) -> Result<(), Failure> {
    let again = "run the same command again: it places nothing twice";
    if summary.unknown > 0 {
        let failure = Failure::new(format!("{} orders are in doubt", summary.unknown)).hint(again);
        return Err(Failure { exit: Exit::Unknown, ..failure });
    }
    if summary.returns.unknown > 0 {
        let failure = Failure::new(format!("{} lines to return are in doubt", summary.returns.unknown)).hint(again);
        return Err(Failure { exit: Exit::Unknown, ..failure });
    }
    if summary.failed > 0 {
        return Err(Failure::new(format!("{} orders could not be placed", summary.failed)).hint(again));
    }
    Ok(())
}
