//! `assent bench orders`: load on a running system, and how it bears it.
use std::path::PathBuf;
use std::time::Duration;

use bench::latency::Summary;
use bench::open_loop::Arrivals;
use bench::outcome::Reasons;
use bench::report::{Load, Report, Setting};
use bench::store::statistics::Written;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use uuid::Uuid;

use super::bought::Bought;
use super::local::Local;
use super::{load, ms, spinner};
use crate::client::Services;
use crate::failure::{Exit, Failure};
use crate::mode::Mode;
use crate::output::{Output, fields, table, thousands};

/// Place orders: from clients that each wait for their answer, or at a rate whether answers come or not
#[derive(Debug, clap::Args)]
pub struct Orders {
    /// How many clients, each placing its next order when the last is answered
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// How many orders a second, whether those before them are answered or not; latencies count from when each was due
    #[arg(long, value_name = "N", conflicts_with = "clients", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// When the orders of a rate come: independently of each other, or one as long after the other
    #[arg(long, default_value = "poisson", requires = "rate",
          value_parser = PossibleValuesParser::new(["poisson", "steady"]).map(|name| arrivals(&name)))]
    arrivals: Arrivals,
    /// Over how many HTTP/2 connections
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    connections: u16,
    /// How long orders are counted
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How long orders are placed before any is counted
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    warm_up_seconds: u64,
    #[command(flatten)]
    bought: Bought,
    /// How orders are placed
    #[arg(long, default_value = "atomic")]
    mode: Mode,
    /// The run's name, which its SKUs and accounts begin with; made up if not given
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// The data-dir of the `assent dev` that runs the system, to tell what each of its processes uses and writes
    #[arg(long, env = "ASSENT_DATA_DIR", value_name = "DIR", default_value = ".assent")]
    data_dir: PathBuf,
}

fn arrivals(name: &str) -> Arrivals {
    if name == "steady" { Arrivals::Steady } else { Arrivals::Poisson }
}

impl Orders {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let plan = self.bought.plan(self.run.clone().unwrap_or_else(made_up_name), self.mode)?;
        let setting = Setting {
            load: match self.rate {
                Some(rate) => Load::Open { orders_per_second: rate.into(), arrivals: self.arrivals },
                None => Load::Closed { clients: usize::from(self.clients) },
            },
            connections: usize::from(self.connections),
            warm_up: Duration::from_secs(self.warm_up_seconds),
            measured: Duration::from_secs(self.seconds),
        };
        let local = Local::find(&self.data_dir, &services.coordinator).await;
        let doing = spinner();
        let ran = load::run(services, local.as_ref().ok(), &plan, &setting, |what| doing.set_message(what)).await;
        doing.finish_and_clear();
        let mut report = ran?;
        report.local_note = local.err();
        output.print(&report, page)?;
        verdict(&report)
    }
}

/// A name that sorts by time.
pub fn made_up_name() -> String {
    let id = Uuid::now_v7().simple().to_string();
    format!("bench-{}", id.get(..16).unwrap_or(&id))
}

fn verdict(report: &Report) -> Result<(), Failure> {
    if report.orders.answered() > 0 {
        return Ok(());
    }
    let failure = Failure::new("no order was answered in the time that was measured");
    Err(match report.orders.unknown.is_empty() {
        true => failure.hint("`assent health` tells what is up"),
        false => Failure { exit: Exit::Unknown, ..failure }.hint("`assent tx ls --stuck` lists what is in doubt"),
    })
}

fn page(report: &Report) -> String {
    let mut rows = vec![
        ("run", report.run.clone()),
        (
            "workload",
            format!(
                "{}, {} SKUs, {} accounts, lines per order: {}, to be refused: {} %, {}",
                report.workload, report.skus, report.accounts, report.lines, report.refused_percent, report.mode
            ),
        ),
        ("load", format!("{} over {} connections", load_named(report.load), report.connections)),
        ("measured", format!("{} s after {} s of warm-up", report.measured_seconds, report.warm_up_seconds)),
        ("orders/s", thousands(report.orders_per_second.round() as u64)),
        ("confirmed", thousands(report.orders.confirmed)),
    ];
    let ends = [
        ("refused", &report.orders.refused),
        ("overloaded", &report.orders.overloaded),
        ("aborted", &report.orders.aborted),
        ("unknown", &report.orders.unknown),
        ("failed", &report.orders.failed),
    ];
    rows.extend(
        ends.into_iter().filter(|(_, reasons)| !reasons.is_empty()).map(|(end, reasons)| (end, listed(reasons))),
    );
    let latencies = [
        ("confirmed", report.confirmed_latency),
        ("refused", report.refused_latency),
        ("overloaded", report.overloaded_latency),
        ("sent late", report.sent_late),
    ];
    let latencies = latencies.into_iter().filter_map(|(end, summary)| Some(latency_row(end, &summary?))).collect();
    let latencies = table(&["latency ms", "p50", "p90", "p99", "p99.9", "max"], &[1, 2, 3, 4, 5], latencies);
    format!("{}\n\n{latencies}\n\n{}", fields(&rows), cpu(report))
}

fn load_named(load: Load) -> String {
    match load {
        Load::Closed { clients } => format!("{clients} clients, each waiting for its answer"),
        Load::Open { orders_per_second, arrivals: Arrivals::Poisson } => {
            format!("{orders_per_second:.0} orders a second, independently of each other")
        }
        Load::Open { orders_per_second, arrivals: Arrivals::Steady } => {
            format!("{orders_per_second:.0} orders a second, one as long after the other")
        }
    }
}

fn listed(reasons: &Reasons) -> String {
    let each: Vec<String> = reasons.iter().map(|(reason, count)| format!("{} {reason}", thousands(*count))).collect();
    each.join(", ")
}

fn latency_row(end: &str, summary: &Summary) -> Vec<String> {
    let Summary { p50_us, p90_us, p99_us, p999_us, max_us, .. } = *summary;
    let figures = [p50_us, p90_us, p99_us, p999_us, max_us].map(ms);
    std::iter::once(end.to_owned()).chain(figures).collect()
}

/// What each process used, and each database wrote.
pub fn cpu(report: &Report) -> String {
    let shown =
        |figure: Option<f64>, digits: usize| figure.map_or("?".to_owned(), |figure| format!("{figure:.digits$}"));
    let rows = report.cpu.iter();
    let rows = rows.map(|row| vec![row.name.clone(), shown(row.seconds, 2), shown(row.us_per_order, 1)]).collect();
    let mut text = table(&["cpu", "seconds", "us/order"], &[1, 2], rows);
    if let Some(share) = report.busy_share {
        text += &format!("\nthe processors were busy {:.0} % of the time", share * 100.0);
    }
    if !report.written.is_empty() {
        text += &format!("\n\n{}", written(report));
    }
    if let Some(note) = &report.local_note {
        text += &format!("\nwhat the system's processes use and write can't be told: {note}");
    }
    text
}

fn written(report: &Report) -> String {
    let row = |one: &Written| {
        let syncs = one.syncs_per_order.map_or("?".to_owned(), |syncs| format!("{syncs:.3}"));
        let figures = [one.inserted_per_order, one.updated_per_order, one.deleted_per_order];
        [
            one.database.clone(),
            format!("{:.1}", one.orders_per_commit),
            format!("{:.0}", one.wal_bytes_per_order),
            syncs,
        ]
        .into_iter()
        .chain(figures.map(|rows| format!("{rows:.2}")))
        .collect()
    };
    let headers = ["written", "orders/commit", "wal bytes/order", "syncs/order", "inserted", "updated", "deleted"];
    table(&headers, &[1, 2, 3, 4, 5, 6], report.written.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bench::cpu::Usage;
    use bench::outcome::Outcome;
    use bench::seen::Seen;
    use bench::shop::{Plan, Workload};

    use super::*;

    fn report(outcomes: Vec<Outcome>) -> Report {
        let plan = Plan {
            run: "r".to_owned(),
            workload: Workload::Hot,
            skus: 9,
            accounts: 3,
            lines: 2,
            refused_percent: 10,
            baskets: Arc::default(),
            mode: Mode::Atomic.into(),
        };
        let setting = Setting {
            load: Load::Closed { clients: 4 },
            connections: 2,
            warm_up: Duration::ZERO,
            measured: Duration::from_secs(1),
        };
        let mut seen = Seen::default();
        for outcome in outcomes {
            seen.add(outcome, Duration::from_micros(1_500));
        }
        let usage = Usage { groups: vec![("load generator".to_owned(), None)], machine_seconds: None };
        let report = Report::new(&plan, &setting, &seen, &usage);
        Report { local_note: Some("no data-dir".to_owned()), ..report }
    }

    #[test]
    fn the_page_names_every_end_and_says_what_it_cannot_tell() {
        let out_of_stock = || Outcome::Refused("OUT_OF_STOCK".to_owned());
        let page = page(&report(vec![Outcome::Confirmed, out_of_stock(), out_of_stock()]));
        for part in ["hot, 9 SKUs", "refused    2 OUT_OF_STOCK", "1.50", "can't be told: no data-dir", "load generator"]
        {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        assert!(!page.contains("aborted"), "{page}");
    }

    #[test]
    fn a_run_without_an_answer_fails() {
        assert!(verdict(&report(vec![Outcome::Refused("OUT_OF_STOCK".to_owned())])).is_ok());
        assert_eq!(verdict(&report(vec![])).unwrap_err().exit, Exit::Failed);
        let unknown = Outcome::Unknown("Unavailable".to_owned());
        assert_eq!(verdict(&report(vec![unknown])).unwrap_err().exit, Exit::Unknown);
    }
}
