//! How long the answers took.
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Three digits are kept of every latency from a microsecond to ten minutes.
const MAX_US: u64 = 600_000_000;
const DIGITS: u8 = 3;

/// Latencies, as a histogram.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

/// Latencies in a few figures, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many there are.
    pub count: u64,
    /// Half are at most this.
    pub p50_us: u64,
    /// Nine of ten are at most this.
    pub p90_us: u64,
    /// 99 of 100 are at most this.
    pub p99_us: u64,
    /// 999 of 1,000 are at most this.
    pub p999_us: u64,
    /// All are at most this.
    pub max_us: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        // The bounds are right at compile time: at least 1, at least twice that, at most five digits.
        Latencies(Histogram::new_with_bounds(1, MAX_US, DIGITS).expect("the bounds of a histogram"))
    }
}

impl Latencies {
    /// Takes one latency down. One beyond the bounds is taken down at the bound.
    pub fn record(&mut self, latency: Duration) {
        self.record_us(u64::try_from(latency.as_micros()).unwrap_or(MAX_US));
    }

    /// Takes one latency down that was measured elsewhere.
    pub fn record_us(&mut self, latency_us: u64) {
        self.0.saturating_record(latency_us);
    }

    /// Adds another's latencies.
    pub fn merge(&mut self, other: &Latencies) {
        // Equal bounds: it cannot fail.
        self.0 += &other.0;
    }

    /// In a few figures; `None` if there are none.
    pub fn summary(&self) -> Option<Summary> {
        let at = |quantile| self.0.value_at_quantile(quantile);
        (!self.0.is_empty()).then(|| Summary {
            count: self.0.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(figure: u64, expected: u64) -> bool {
        figure.abs_diff(expected) * 1_000 <= expected
    }

    #[test]
    fn percentiles_are_those_of_all_clients_together() {
        let (mut odd, mut even) = (Latencies::default(), Latencies::default());
        for ms in 1..=1_000 {
            let half = if ms % 2 == 0 { &mut even } else { &mut odd };
            half.record(Duration::from_millis(ms));
        }
        odd.merge(&even);
        let Summary { count, p50_us, p90_us, p99_us, p999_us, max_us } = odd.summary().unwrap();
        assert_eq!(count, 1_000);
        assert!(close(p50_us, 500_000) && close(p90_us, 900_000), "{p50_us} {p90_us}");
        assert!(close(p99_us, 990_000) && close(p999_us, 999_000), "{p99_us} {p999_us}");
        assert!(close(max_us, 1_000_000), "{max_us}");
    }

    #[test]
    fn nothing_measured_is_no_latency_of_zero() {
        assert_eq!(Latencies::default().summary(), None);
    }

    #[test]
    fn latencies_beyond_the_bounds_are_kept_at_the_bound() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::MAX);
        latencies.record(Duration::ZERO);
        let summary = latencies.summary().unwrap();
        assert_eq!(summary.count, 2);
        assert!(close(summary.max_us, MAX_US), "{summary:?}");
    }
}
