//! How even a rate was: a sample every few seconds, and how far the lowest is below the one in the middle.
use std::time::Duration;

use serde::Serialize;

use crate::report::ratio;
use crate::seen::Seen;

/// Of the rate in the middle, the least that any sample may have.
pub const LEAST_SHARE: f64 = 0.8;

/// What was seen of one part of the measured time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// When it ended, from the beginning of the measured time.
    pub until_seconds: f64,
    /// Orders that were answered per second.
    pub orders_per_second: f64,
    /// Half of the confirmations took at most this; unset if there were none.
    pub p50_us: Option<u64>,
    /// 99 of 100 took at most this.
    pub p99_us: Option<u64>,
    /// All took at most this.
    pub max_us: Option<u64>,
}

impl Sample {
    /// Of what was seen in the time that `lasted` so long, and ended so long after the beginning.
    pub fn new(until: Duration, lasted: Duration, seen: &Seen) -> Self {
        let latency = seen.confirmed.summary();
        Sample {
            until_seconds: until.as_secs_f64(),
            orders_per_second: ratio(seen.answered_meanwhile as f64, lasted.as_secs_f64()).unwrap_or(0.0),
            p50_us: latency.map(|summary| summary.p50_us),
            p99_us: latency.map(|summary| summary.p99_us),
            max_us: latency.map(|summary| summary.max_us),
        }
    }
}

/// How even it was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Steadiness {
    /// Orders per second of the sample in the middle.
    pub median: f64,
    /// Of the lowest sample.
    pub lowest: f64,
    /// When the lowest sample ended, from the beginning of the measured time.
    pub lowest_until_seconds: f64,
    /// The lowest over the median.
    pub lowest_share: f64,
    /// The medians of the first and of the last quarter of the samples: whether it becomes slower.
    pub first_quarter: f64,
    /// See there.
    pub last_quarter: f64,
}

impl Steadiness {
    /// Of these samples; `None` if there are none, or nothing was answered.
    pub fn of(samples: &[Sample]) -> Option<Self> {
        let lowest = samples.iter().min_by(|a, b| a.orders_per_second.total_cmp(&b.orders_per_second))?;
        let quarter = samples.len().div_ceil(4);
        let median_of_all = median(samples);
        Some(Steadiness {
            median: median_of_all,
            lowest: lowest.orders_per_second,
            lowest_until_seconds: lowest.until_seconds,
            lowest_share: ratio(lowest.orders_per_second, median_of_all)?,
            first_quarter: median(&samples[..quarter]),
            last_quarter: median(&samples[samples.len() - quarter..]),
        })
    }

    /// Whether no sample is too far below the median.
    pub fn is_met(&self) -> bool {
        self.lowest_share >= LEAST_SHARE
    }
}

/// The rate in the middle, the lower of two.
fn median(samples: &[Sample]) -> f64 {
    let mut rates: Vec<f64> = samples.iter().map(|sample| sample.orders_per_second).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rates: &[f64]) -> Vec<Sample> {
        let sample = |(place, rate): (usize, &f64)| Sample {
            until_seconds: 10.0 * (place + 1) as f64,
            orders_per_second: *rate,
            p50_us: None,
            p99_us: None,
            max_us: None,
        };
        rates.iter().enumerate().map(sample).collect()
    }

    #[test]
    fn the_lowest_sample_is_held_against_the_one_in_the_middle() {
        let dip = Steadiness::of(&samples(&[100.0, 110.0, 75.0, 100.0, 90.0, 104.0, 98.0, 96.0])).unwrap();
        assert_eq!((dip.median, dip.lowest, dip.lowest_until_seconds), (98.0, 75.0, 30.0));
        assert_eq!((dip.first_quarter, dip.last_quarter), (100.0, 96.0));
        assert!(!dip.is_met(), "{dip:?}");
        assert!(Steadiness::of(&samples(&[100.0, 80.0, 120.0])).unwrap().is_met());
    }

    #[test]
    fn nothing_answered_is_not_steady() {
        assert_eq!(Steadiness::of(&[]), None);
        assert_eq!(Steadiness::of(&samples(&[0.0, 0.0])), None);
    }
}
