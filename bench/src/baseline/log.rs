//! pgbench's logs: a line for each order.
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::latency::Latencies;

const PREFIX: &str = "pgbench";

/// A folder of logs.
#[derive(Debug, Clone)]
pub struct Logs(pub PathBuf);

impl Logs {
    /// What pgbench is told of where they are to be.
    pub fn argument(&self) -> String {
        format!("--log-prefix={}", self.0.join(PREFIX).display())
    }

    /// Removes all logs.
    pub fn empty(&self) -> io::Result<()> {
        self.files()?.iter().try_for_each(std::fs::remove_file)
    }

    /// The orders in all logs.
    pub fn read(&self) -> io::Result<Vec<Logged>> {
        let mut orders = Vec::new();
        for file in self.files()? {
            for line in std::fs::read_to_string(file)?.lines() {
                orders.push(Logged::parse(line).ok_or_else(|| io::Error::other(format!("a line {line:?}")))?);
            }
        }
        Ok(orders)
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(&self.0)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        let is_log =
            |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
        Ok(entries.into_iter().filter(|path| is_log(path)).collect())
    }
}

/// A line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    end_unix_us: u64,
    latency_us: u64,
}

impl Logged {
    /// Client, number, latency, script, second and microsecond of its end.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<u64> = line.split(' ').map(|field| field.parse().ok()).collect::<Option<_>>()?;
        let [_, _, latency_us, _, second, microsecond, ..] = fields[..] else { return None };
        Some(Logged { end_unix_us: second * 1_000_000 + microsecond, latency_us })
    }
}

/// Latencies of the orders that ended in the measured time after the warm-up.
pub fn within(orders: &[Logged], warm_up: Duration, measured: Duration) -> Latencies {
    let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let first = orders.iter().map(|order| order.end_unix_us).min().unwrap_or_default();
    let begin = first.saturating_add(us(warm_up));
    let window = begin..begin.saturating_add(us(measured));
    let mut latencies = Latencies::default();
    for order in orders.iter().filter(|order| window.contains(&order.end_unix_us)) {
        latencies.record_us(order.latency_us);
    }
    latencies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_orders_that_end_in_the_measured_time_count() {
        let lines = ["0 1 900 0 100 500000", "1 1 800 0 101 499999", "0 2 700 0 101 500000", "1 2 600 0 103 499999"];
        let mut orders: Vec<Logged> = lines.iter().map(|line| Logged::parse(line).unwrap()).collect();
        assert_eq!(orders[0], Logged { end_unix_us: 100_500_000, latency_us: 900 });
        orders.push(Logged { end_unix_us: 103_500_000, latency_us: 1 });
        let summary = within(&orders, Duration::from_secs(1), Duration::from_secs(2)).summary().unwrap();
        assert_eq!((summary.count, summary.max_us), (2, 700));
        assert_eq!(within(&[], Duration::ZERO, Duration::from_secs(1)).summary(), None);
    }

    #[test]
    fn another_line_is_no_order() {
        for line in ["", "0 1 900 0 100", "progress: 1 s", "0 1 skipped 0 100 5"] {
            assert_eq!(Logged::parse(line), None, "{line:?}");
        }
    }
}
