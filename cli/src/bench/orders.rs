//! `assent bench orders`: load on a running system, and how it bears it.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bench::cpu::{Group, Watch};
use bench::latency::Summary;
use bench::outcome::Reasons;
use bench::report::Report;
use bench::shop::{Plan, Shop, Workload};
use bench::{Caller, closed_loop, setup};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use uuid::Uuid;

use super::{ms, spinner};
use crate::client::Services;
use crate::dev::state::{Kind, State};
use crate::failure::{Call, Exit, Failure};
use crate::mode::Mode;
use crate::output::{Output, fields, table, thousands};

/// Place orders in a closed loop: every client places its next order when the last is answered
#[derive(Debug, clap::Args)]
pub struct Orders {
    /// How many clients
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// Over how many HTTP/2 connections
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    connections: u16,
    /// How long orders are counted
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How long orders are placed before any is counted
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    warm_up_seconds: u64,
    /// Which SKUs are bought: all alike, or one of them in every order
    #[arg(long, default_value = "uniform",
          value_parser = PossibleValuesParser::new(Workload::NAMES).try_map(|name| name.parse::<Workload>()))]
    workload: Workload,
    /// How many SKUs there are
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    skus: u32,
    /// How many lines an order has, each of another SKU
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    lines: u16,
    /// How many accounts pay
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    accounts: u32,
    /// The run's name, which its SKUs and accounts begin with; made up if not given
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// How orders are placed
    #[arg(long, default_value = "atomic")]
    mode: Mode,
    /// The data-dir of the `assent dev` that runs the system, to tell what each of its processes uses
    #[arg(long, env = "ASSENT_DATA_DIR", value_name = "DIR", default_value = ".assent")]
    data_dir: PathBuf,
}

impl Orders {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let plan = Plan {
            run: self.run.clone().unwrap_or_else(made_up_name),
            workload: self.workload,
            skus: self.skus as usize,
            accounts: self.accounts as usize,
            lines: usize::from(self.lines),
        };
        let shop = Arc::new(Shop::new(&plan).map_err(Failure::usage)?.in_mode(self.mode.into()));
        let caller =
            Caller { client_id: services.client_id.clone(), timeout: Duration::from_millis(services.timeout_ms) };
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(services.orders().await?);
        }
        let (watch, cpu_note) = self.watch(services);
        let settings = closed_loop::Settings {
            clients: usize::from(self.clients),
            warm_up: Duration::from_secs(self.warm_up_seconds),
            measured: Duration::from_secs(self.seconds),
        };

        let doing = spinner();
        doing.set_message(format!("stocking {} SKUs, opening {} accounts", plan.skus, plan.accounts));
        let ready = setup::run(services.stock().await?, services.accounts().await?, &caller, &shop).await;
        ready.map_err(|failed| Failure {
            message: failed.to_string(),
            ..Failure::of_status(&failed.status, Call::Write).hint("repeat the same command")
        })?;
        let total_seconds = self.warm_up_seconds + self.seconds;
        doing.set_message(format!("placing orders from {} clients for {total_seconds} s", self.clients));
        let (seen, usage) = closed_loop::run(&connections, &caller, &shop, settings, &watch).await;
        doing.finish_and_clear();

        let report = Report::of_closed_loop(&plan, &settings, connections.len(), &seen, &usage, cpu_note);
        output.print(&report, page)?;
        verdict(&report)
    }

    /// The processes to watch: those of the system, if they can be told, and this one. Else why they can't.
    fn watch(&self, services: &Services) -> (Watch, Option<String>) {
        let (groups, note) = match system(&self.data_dir, &services.coordinator) {
            Ok(groups) => (groups, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        (Watch(groups).and_own("load generator"), note)
    }
}

/// The processes of the system that answers at `coordinator`, as the `assent dev` on this data-dir knows them.
fn system(data_dir: &std::path::Path, coordinator: &str) -> Result<Vec<Group>, String> {
    let advice = "name the --data-dir of its `assent dev`, if it runs on this machine";
    let state = State::read(data_dir).map_err(|failure| failure.message)?;
    let state = state.ok_or_else(|| format!("{} is no data-dir of a running system: {advice}", data_dir.display()))?;
    if !state.processes.iter().any(|process| process.address == coordinator.trim_end_matches('/')) {
        return Err(format!("the system on {} is not the one at {coordinator}: {advice}", data_dir.display()));
    }
    let mut groups = Vec::new();
    for process in state.processes {
        let pid = process.pid.filter(|_| process.is_alive()).and_then(|pid| u32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| format!("{} of {} does not run", process.name, data_dir.display()))?;
        groups.push(Group { name: process.name, pid, with_children: process.kind == Kind::Database });
    }
    Ok(groups)
}

/// A name that sorts by time.
fn made_up_name() -> String {
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
                "{}, {} SKUs, {} accounts, lines per order: {}",
                report.workload, report.skus, report.accounts, report.lines
            ),
        ),
        ("clients", format!("{} over {} connections, closed loop", report.clients, report.connections)),
        ("measured", format!("{} s after {} s of warm-up", report.measured_seconds, report.warm_up_seconds)),
        ("orders/s", thousands(report.orders_per_second.round() as u64)),
        ("confirmed", thousands(report.orders.confirmed)),
    ];
    let ends = [
        ("refused", &report.orders.refused),
        ("aborted", &report.orders.aborted),
        ("unknown", &report.orders.unknown),
        ("failed", &report.orders.failed),
    ];
    rows.extend(
        ends.into_iter().filter(|(_, reasons)| !reasons.is_empty()).map(|(end, reasons)| (end, listed(reasons))),
    );
    let latencies = [("confirmed", report.confirmed_latency), ("refused", report.refused_latency)];
    let latencies = latencies.into_iter().filter_map(|(end, summary)| Some(latency_row(end, &summary?))).collect();
    let latencies = table(&["latency ms", "p50", "p90", "p99", "p99.9", "max"], &[1, 2, 3, 4, 5], latencies);
    format!("{}\n\n{latencies}\n\n{}", fields(&rows), cpu(report))
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

fn cpu(report: &Report) -> String {
    let shown =
        |figure: Option<f64>, digits: usize| figure.map_or("?".to_owned(), |figure| format!("{figure:.digits$}"));
    let rows = report.cpu.iter();
    let rows = rows.map(|row| vec![row.name.clone(), shown(row.seconds, 2), shown(row.us_per_order, 1)]).collect();
    let mut text = table(&["cpu", "seconds", "us/order"], &[1, 2], rows);
    if let Some(share) = report.busy_share {
        text += &format!("\nthe processors were busy {:.0} % of the time", share * 100.0);
    }
    if let Some(note) = &report.cpu_note {
        text += &format!("\nthe system's processes can't be told: {note}");
    }
    text
}

#[cfg(test)]
mod tests {
    use bench::closed_loop::{Seen, Settings};
    use bench::cpu::Usage;
    use bench::outcome::Outcome;

    use super::*;

    fn report(outcomes: Vec<Outcome>) -> Report {
        let plan = Plan { run: "r".to_owned(), workload: Workload::Hot, skus: 9, accounts: 3, lines: 2 };
        let settings = Settings { clients: 4, warm_up: Duration::ZERO, measured: Duration::from_secs(1) };
        let mut seen = Seen::default();
        for outcome in outcomes {
            seen.confirmed.record(Duration::from_micros(1_500));
            seen.counts.add(outcome);
        }
        let usage = Usage { groups: vec![("load generator".to_owned(), None)], machine_seconds: None };
        Report::of_closed_loop(&plan, &settings, 2, &seen, &usage, Some("no data-dir".to_owned()))
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

    #[test]
    fn processes_are_told_only_of_the_system_that_is_measured() {
        let folder = std::env::temp_dir().join(format!("assent-bench-{}", std::process::id()));
        assert!(system(&folder, "http://127.0.0.1:7400").unwrap_err().contains("no data-dir"));
        std::fs::create_dir_all(&folder).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let process = crate::dev::state::Process {
            name: "coordinator".to_owned(),
            kind: Kind::Service,
            pid: Some(own),
            start_ticks: crate::dev::state::start_ticks(own),
            address: "http://127.0.0.1:7400".to_owned(),
            state: crate::dev::state::Condition::Ready,
            restarts: 0,
        };
        State { processes: vec![process.clone()] }.write(&folder).unwrap();
        let groups = system(&folder, "http://127.0.0.1:7400/").unwrap();
        assert_eq!((groups.len(), groups[0].pid, groups[0].with_children), (1, std::process::id(), false));
        assert!(system(&folder, "http://127.0.0.1:7500").unwrap_err().contains("is not the one"));
        State { processes: vec![crate::dev::state::Process { pid: None, ..process }] }.write(&folder).unwrap();
        assert!(system(&folder, "http://127.0.0.1:7400").unwrap_err().contains("does not run"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
