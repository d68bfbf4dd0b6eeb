//! All that was measured, in figures: what is printed and what later runs are compared with.
use std::time::Duration;

use serde::Serialize;

use crate::closed_loop::{Seen, Settings};
use crate::cpu::Usage;
use crate::latency::Summary;
use crate::outcome::Counts;
use crate::shop::{Plan, Workload};

/// A run's report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The run's name.
    pub run: String,
    /// Which articles were bought.
    pub workload: Workload,
    /// How many articles there were.
    pub skus: usize,
    /// How many accounts paid.
    pub accounts: usize,
    /// How many lines an order had.
    pub lines: usize,
    /// How many clients there were.
    pub clients: usize,
    /// Over how many HTTP/2 connections.
    pub connections: usize,
    /// How long orders were placed before any was counted.
    pub warm_up_seconds: f64,
    /// How long orders were counted.
    pub measured_seconds: f64,
    /// What became of the orders.
    pub orders: Counts,
    /// Confirmed orders per second.
    pub orders_per_second: f64,
    /// How long confirmations took; unset if there were none.
    pub confirmed_latency: Option<Summary>,
    /// How long refusals took; unset if there were none.
    pub refused_latency: Option<Summary>,
    /// CPU time by process.
    pub cpu: Vec<CpuRow>,
    /// Why `cpu` lacks the system's processes; unset if it does not.
    pub cpu_note: Option<String>,
    /// Part of the processors' time that someone used, from 0 to 1.
    pub busy_share: Option<f64>,
}

/// What a process used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CpuRow {
    /// Its name.
    pub name: String,
    /// CPU seconds; unset if it ended or was started again meanwhile.
    pub seconds: Option<f64>,
    /// CPU microseconds per answered order.
    pub us_per_order: Option<f64>,
}

/// The name of what nobody watched: other programs and the kernel's own work.
pub const OTHERS: &str = "others";

impl Report {
    /// The report of a closed loop.
    pub fn of_closed_loop(
        plan: &Plan,
        settings: &Settings,
        connections: usize,
        seen: &Seen,
        usage: &Usage,
        cpu_note: Option<String>,
    ) -> Self {
        let measured_seconds = settings.measured.as_secs_f64();
        Report {
            run: plan.run.clone(),
            workload: plan.workload,
            skus: plan.skus,
            accounts: plan.accounts,
            lines: plan.lines,
            clients: settings.clients,
            connections,
            warm_up_seconds: settings.warm_up.as_secs_f64(),
            measured_seconds,
            orders_per_second: ratio(seen.counts.confirmed as f64, measured_seconds).unwrap_or(0.0),
            confirmed_latency: seen.confirmed.summary(),
            refused_latency: seen.refused.summary(),
            cpu: cpu_rows(usage, seen.counts.answered()),
            cpu_note,
            busy_share: busy_share(usage, settings.measured),
            orders: seen.counts.clone(),
        }
    }
}

/// What each watched process used, and all others together.
pub fn cpu_rows(usage: &Usage, orders: u64) -> Vec<CpuRow> {
    let others = usage.others_seconds().map(|seconds| (OTHERS.to_owned(), Some(seconds)));
    let row = |(name, seconds): (String, Option<f64>)| CpuRow {
        name,
        seconds,
        us_per_order: seconds.and_then(|seconds| ratio(seconds * 1e6, orders as f64)),
    };
    usage.groups.iter().cloned().chain(others).map(row).collect()
}

/// Part of all processors' time in `elapsed` that someone used.
pub fn busy_share(usage: &Usage, elapsed: Duration) -> Option<f64> {
    let processors = std::thread::available_parallelism().ok()?;
    ratio(usage.machine_seconds?, usize::from(processors) as f64 * elapsed.as_secs_f64())
}

/// `part` over `whole`; `None` where that is no number.
pub fn ratio(part: f64, whole: f64) -> Option<f64> {
    let ratio = part / whole;
    ratio.is_finite().then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    #[test]
    fn a_ratio_to_nothing_is_none() {
        assert_eq!(ratio(3.0, 2.0), Some(1.5));
        assert_eq!(ratio(0.0, 2.0), Some(0.0));
        assert_eq!(ratio(3.0, 0.0), None);
        assert_eq!(ratio(0.0, 0.0), None);
    }

    #[test]
    fn rates_are_of_the_measured_time_and_cpu_is_of_the_answered_orders() {
        let mut seen = Seen::default();
        for _ in 0..300 {
            seen.counts.add(Outcome::Confirmed);
            seen.confirmed.record(Duration::from_millis(2));
        }
        for _ in 0..100 {
            seen.counts.add(Outcome::Refused("OUT_OF_STOCK".to_owned()));
        }
        let usage = Usage {
            groups: vec![("coordinator".to_owned(), Some(0.5)), ("order-svc".to_owned(), Some(1.0))],
            machine_seconds: Some(1.75),
        };
        let plan = Plan { run: "r".to_owned(), workload: Workload::Hot, skus: 1, accounts: 1, lines: 1 };
        let settings = Settings { clients: 4, warm_up: Duration::from_secs(1), measured: Duration::from_secs(2) };
        let report = Report::of_closed_loop(&plan, &settings, 2, &seen, &usage, None);
        assert_eq!(report.orders_per_second, 150.0);
        assert_eq!(report.confirmed_latency.unwrap().count, 300);
        let rows: Vec<(&str, Option<f64>)> =
            report.cpu.iter().map(|row| (row.name.as_str(), row.us_per_order)).collect();
        assert_eq!(rows, [("coordinator", Some(1250.0)), ("order-svc", Some(2500.0)), (OTHERS, Some(625.0))]);
    }

    #[test]
    fn a_run_without_answers_has_no_cost_per_order() {
        let usage = Usage { groups: vec![("coordinator".to_owned(), Some(0.5))], machine_seconds: None };
        let rows = cpu_rows(&usage, 0);
        assert_eq!(rows, [CpuRow { name: "coordinator".to_owned(), seconds: Some(0.5), us_per_order: None }]);
    }
}
