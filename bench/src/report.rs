//! All that was measured, in figures: what is printed and what later runs are compared with.
use std::time::Duration;

use proto::assent::order::v1::OrderMode;
use serde::Serialize;

use crate::cpu::Usage;
use crate::latency::Summary;
use crate::open_loop::Arrivals;
use crate::outcome::Counts;
use crate::seen::Seen;
use crate::shop::{Plan, Workload};
use crate::store::statistics::Written;

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
    /// How many lines an order had; the one in the middle, where they differ.
    pub lines: usize,
    /// Of 100 orders, how many asked for what was sold out.
    pub refused_percent: u8,
    /// How the participants were made to agree.
    pub mode: &'static str,
    /// How orders came.
    pub load: Load,
    /// Over how many HTTP/2 connections.
    pub connections: usize,
    /// How long orders were placed before any was counted.
    pub warm_up_seconds: f64,
    /// How long orders were counted.
    pub measured_seconds: f64,
    /// What became of the orders.
    pub orders: Counts,
    /// Orders that were answered per second: confirmed, or refused by a participant.
    pub orders_per_second: f64,
    /// Orders that were confirmed per second.
    pub confirmed_per_second: f64,
    /// How long confirmations took; unset if there were none.
    pub confirmed_latency: Option<Summary>,
    /// How long refusals took; unset if there were none.
    pub refused_latency: Option<Summary>,
    /// How long it took to turn orders away; unset if there were none.
    pub overloaded_latency: Option<Summary>,
    /// How late orders were sent after they were due, in an open loop.
    pub sent_late: Option<Summary>,
    /// CPU time by process.
    pub cpu: Vec<CpuRow>,
    /// What each database wrote; empty where that can't be told.
    pub written: Vec<Written>,
    /// Why `cpu` lacks the system's processes, and `written` its databases; unset if they do not.
    pub local_note: Option<String>,
    /// Part of the processors' time that someone used, from 0 to 1.
    pub busy_share: Option<f64>,
}

/// How orders come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "loop", rename_all = "snake_case")]
pub enum Load {
    /// From so many clients, each waiting for its answer.
    Closed {
        /// How many.
        clients: usize,
    },
    /// So many a second, answered or not.
    Open {
        /// How many.
        orders_per_second: f64,
        /// When.
        arrivals: Arrivals,
    },
}

/// What was measured, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// How orders came.
    pub load: Load,
    /// Over how many HTTP/2 connections.
    pub connections: usize,
    /// How long orders were placed before any was counted.
    pub warm_up: Duration,
    /// How long orders were counted.
    pub measured: Duration,
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
    /// The report of a run, without what only the system's own machine can tell.
    pub fn new(plan: &Plan, setting: &Setting, seen: &Seen, usage: &Usage) -> Self {
        let measured_seconds = setting.measured.as_secs_f64();
        let per_second = |count: u64| ratio(count as f64, measured_seconds).unwrap_or(0.0);
        Report {
            run: plan.run.clone(),
            workload: plan.workload,
            skus: plan.sku_count(),
            accounts: plan.accounts,
            lines: if plan.workload == Workload::Baskets { plan.baskets.median_lines() } else { plan.lines },
            refused_percent: plan.refused_percent,
            mode: if plan.mode == OrderMode::Saga { "saga" } else { "atomic" },
            load: setting.load,
            connections: setting.connections,
            warm_up_seconds: setting.warm_up.as_secs_f64(),
            measured_seconds,
            orders_per_second: per_second(seen.answered_meanwhile),
            confirmed_per_second: per_second(seen.confirmed_meanwhile),
            confirmed_latency: seen.confirmed.summary(),
            refused_latency: seen.refused.summary(),
            overloaded_latency: seen.overloaded.summary(),
            sent_late: seen.sent_late.summary(),
            cpu: cpu_rows(usage, seen.answered_meanwhile),
            written: Vec::new(),
            local_note: None,
            busy_share: busy_share(usage, setting.measured),
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
        let refused = Outcome::Refused("OUT_OF_STOCK".to_owned());
        for (outcome, count) in [(Outcome::Confirmed, 300), (refused, 100)] {
            for _ in 0..count {
                seen.came(&outcome);
                seen.add(outcome.clone(), Duration::from_millis(2));
            }
        }
        let usage = Usage {
            groups: vec![("coordinator".to_owned(), Some(0.5)), ("order-svc".to_owned(), Some(1.0))],
            machine_seconds: Some(1.75),
        };
        let plan = Plan::of_test(Workload::Hot);
        let setting = Setting {
            load: Load::Closed { clients: 4 },
            connections: 2,
            warm_up: Duration::from_secs(1),
            measured: Duration::from_secs(2),
        };
        let report = Report::new(&plan, &setting, &seen, &usage);
        assert_eq!((report.orders_per_second, report.confirmed_per_second), (200.0, 150.0));
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
