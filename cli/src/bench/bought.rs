//! What is bought by whom, as the command line says it.
use std::path::PathBuf;
use std::sync::Arc;

use bench::baskets::Baskets;
use bench::shop::{Plan, Workload};
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::failure::Failure;
use crate::mode::Mode;
use crate::replay;

/// What is bought by whom.
#[derive(Debug, Clone, clap::Args)]
pub struct Bought {
    /// Which SKUs are bought: all alike, one of them in every order, some far more often, or those of real orders
    #[arg(long, default_value = "uniform",
          value_parser = PossibleValuesParser::new(Workload::NAMES).try_map(|name| name.parse::<Workload>()))]
    workload: Workload,
    /// A file of orders in the Online Retail format, for the workload "baskets"; more than one may be named
    #[arg(long, value_name = "FILE")]
    baskets: Vec<PathBuf>,
    /// How many SKUs there are
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    skus: u32,
    /// How many lines an order has, each of another SKU
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    lines: u16,
    /// How many accounts pay
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    accounts: u32,
    /// Of 100 orders, how many ask for something of which nothing is left
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    refused_percent: u8,
}

impl Bought {
    /// The plan of the run of this name, whose orders are placed in this mode.
    pub fn plan(&self, run: String, mode: Mode) -> Result<Plan, Failure> {
        Ok(Plan {
            run,
            workload: self.workload,
            skus: self.skus as usize,
            accounts: self.accounts as usize,
            lines: usize::from(self.lines),
            refused_percent: self.refused_percent,
            baskets: Arc::new(baskets(&self.baskets)?),
            mode: mode.into(),
        })
    }
}

/// The orders of these files.
pub fn baskets(files: &[PathBuf]) -> Result<Baskets, Failure> {
    let mut orders = Vec::new();
    for file in files {
        let invoices = replay::Plan::of_file(file)?.invoices;
        orders.extend(invoices.into_iter().map(|invoice| {
            let lines = invoice.lines.into_iter();
            lines.map(|line| (line.sku, line.quantity, line.unit_price_minor)).collect()
        }));
    }
    Ok(Baskets::new(orders))
}
