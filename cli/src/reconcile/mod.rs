//! `assent reconcile`: whether the books of the services agree with each other, and with what was counted.
//!
//! The doctor checks that the protocol was kept, over what is still in the logs. This compares what is there for good: all
//! movements, all orders, all payments. The system may be at work meanwhile. What differs is read again, and counts only if it differs
//! each time: what is under way has arrived by then, and what is wrong stays wrong.
mod count;
mod count_file;
mod report;
mod trade;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use protocol::invariants::Invariant;
use uuid::Uuid;

use crate::client::Services;
use crate::doctor::audit::{self, Audits};
use crate::failure::{Call, Failure};
use crate::output::Output;
use crate::stock::point;
use report::{CheckView, Difference, Report};
use trade::{Trade, Trades};

/// Compare the books of the services with each other, or the stock with a count; exit 0 only if they agree
#[derive(Debug, clap::Args)]
pub struct Reconcile {
    /// Do it again and again, so many seconds apart, until it is interrupted
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400), conflicts_with = "count")]
    every: Option<u64>,
    /// How long to wait before what differs is read again
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    settle_ms: u64,
    /// Compare what is on hand with a count instead: a CSV file with the columns SKU and quantity
    #[arg(long, value_name = "FILE")]
    count: Option<PathBuf>,
    /// When was counted, if not now: 2026-11-24T15:32:39Z, or so long ago: -90s, -10m, -2h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = point::parse, requires = "count")]
    time: Option<DateTime<Utc>>,
    /// Adjust the stock by what differs, after asking
    #[arg(long, requires = "count")]
    adjust: bool,
    /// Adjust without asking
    #[arg(long, requires = "adjust")]
    yes: bool,
}

/// How often what differs is read again, at most.
const READ_AGAIN: u32 = 2;

impl Reconcile {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        if let Some(file) = &self.count {
            return count::run(services, file, self.time, self.adjust.then_some(self.yes), output).await;
        }
        let Some(seconds) = self.every else {
            let report = self.compare(services).await?;
            output.print(&report, Report::page)?;
            return report.outcome();
        };
        loop {
            match self.compare(services).await {
                Ok(report) => output.print_line(&report, &report.line())?,
                // One of the services may be down for a time.
                Err(failure) => eprintln!("{}", failure.line()),
            }
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
    }

    async fn compare(&self, services: &Services) -> Result<Report, Failure> {
        let mut audits = audit::all(services).await?;
        let all = trade::all(services, None).await?;
        let transaction_count = all.len() as u64;
        let mut suspects: BTreeSet<Uuid> = all.iter().filter(|(_, trade)| trade.differs()).map(|(id, _)| *id).collect();
        drop(all);
        let mut trades = Trades::new();
        for _ in 0..READ_AGAIN {
            let findings = audits.values().any(|audited| !audited.findings.is_empty());
            if suspects.is_empty() && !findings {
                break;
            }
            tokio::time::sleep(Duration::from_millis(self.settle_ms)).await;
            if findings {
                audit::keep_lasting(&mut audits, &audit::all(services).await?);
            }
            if !suspects.is_empty() {
                trades = trade::all(services, Some(&suspects)).await?;
                trade::take_off_owed(services, &mut trades).await?;
                suspects.retain(|id| trades.get(id).is_some_and(Trade::differs));
            }
        }
        trades.retain(|id, _| suspects.contains(id));
        let trades = ordered_only(services, trades).await?;
        Ok(report(audits, &trades, transaction_count))
    }
}

/// Leaves out transactions that were never to have an order.
async fn ordered_only(services: &Services, mut trades: Trades) -> Result<Trades, Failure> {
    let orderless: Vec<Uuid> = trades.iter().filter(|(_, trade)| trade.order.is_none()).map(|(id, _)| *id).collect();
    for id in orderless {
        let participants = trade::participants(services, id).await?;
        if participants.is_some_and(|participants| !participants.iter().any(|name| name == "order")) {
            trades.remove(&id);
        }
    }
    Ok(trades)
}

fn report(mut audits: Audits, trades: &Trades, transaction_count: u64) -> Report {
    let mut audited = |name, invariants: &[Invariant]| {
        let mut check = CheckView::new(name, 0);
        for invariant in invariants {
            let Some(audited) = audits.remove(invariant) else {
                check.unchecked();
                continue;
            };
            check.checked_count += audited.checked_count;
            check.differences.extend(audited.findings.into_iter().map(|finding| Difference {
                subject: finding.subject,
                transaction_id: Some(finding.transaction_id).filter(|id| !id.is_empty()),
                detail: format!("{}: {}", finding.participant, finding.detail),
            }));
        }
        check
    };
    let ledger = audited("ledger", &[Invariant::StockConserved]);
    let holds = audited("holds", &[Invariant::NoOrphanHolds, Invariant::NoOversell]);
    let money = audited("money", &[Invariant::MoneyConserved]);
    let mut sold = CheckView::new("sold", transaction_count);
    let mut captured = CheckView::new("captured", transaction_count);
    for (id, trade) in trades {
        sold.differences.extend(trade.sold_differences(*id));
        captured.differences.extend(trade.captured_difference(*id));
    }
    Report::new(vec![ledger, holds, sold, captured, money])
}

fn read<T>(answer: Result<tonic::Response<T>, tonic::Status>, what: &str) -> Result<T, Failure> {
    answer.map(tonic::Response::into_inner).map_err(|status| {
        let failure = Failure::of_status(&status, Call::Read);
        Failure { message: format!("cannot read {what}: {}", failure.message), ..failure }
    })
}
