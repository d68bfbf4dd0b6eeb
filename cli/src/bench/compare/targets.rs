//! What is wanted, and whether it was reached: ratios of figures of one repetition, and the median of these.
use bench::baseline::Variant;
use bench::latency::Summary;
use bench::report::Report;
use serde::Serialize;

use super::cases::{BASKETS, Goods, HOT, MANY_CLIENTS, MIX, UNIFORM};
use super::figures::Repetition;

/// A median and how far the repetitions lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of them are at most this.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of these figures; `None` if there are none.
    pub fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let (low, high) = (figures.get((figures.len() - 1) / 2)?, figures.get(figures.len() / 2)?);
        Some(Spread { median: (low + high) / 2.0, min, max })
    }
}

/// A bound on a figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// It must not be less.
    AtLeast(f64),
    /// It must not be more.
    AtMost(f64),
}

impl Bound {
    fn holds(self, figure: f64) -> bool {
        match self {
            Bound::AtLeast(least) => figure >= least,
            Bound::AtMost(most) => figure <= most,
        }
    }
}

/// One of the targets, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Target {
    /// What is wanted.
    pub name: &'static str,
    /// Of what figure.
    pub bound: Bound,
    /// What it was; unset if it was not measured.
    pub reached: Option<Spread>,
    /// Whether the median is within the bound.
    pub is_met: bool,
}

type Figure = fn(&Repetition) -> Option<f64>;

/// All targets, held against the repetitions.
pub fn check(repetitions: &[Repetition]) -> Vec<Target> {
    let check = |&(name, bound, figure): &(&'static str, Bound, Figure)| {
        let reached = Spread::of(repetitions.iter().filter_map(figure).collect());
        Target { name, bound, reached, is_met: reached.is_some_and(|spread| bound.holds(spread.median)) }
    };
    ALL.iter().map(check).collect()
}

const ALL: &[(&str, Bound, Figure)] = &[
    ("uniform over a local transaction", Bound::AtLeast(3.0), |one| over(one, UNIFORM, Variant::LocalTransaction)),
    ("uniform over one statement", Bound::AtLeast(1.3), |one| over(one, UNIFORM, Variant::OneStatement)),
    ("one SKU over a local transaction", Bound::AtLeast(10.0), |one| over(one, HOT, Variant::LocalTransaction)),
    ("one SKU over one statement", Bound::AtLeast(4.0), |one| over(one, HOT, Variant::OneStatement)),
    ("one SKU over uniform", Bound::AtLeast(0.9), |one| Some(rate(one, HOT)? / rate(one, UNIFORM)?)),
    ("baskets over a local transaction", Bound::AtLeast(3.0), |one| over(one, BASKETS, Variant::LocalTransaction)),
    ("baskets over one statement", Bound::AtLeast(1.3), |one| over(one, BASKETS, Variant::OneStatement)),
    ("p50 of 1 client over 1.5 x the local transaction's + a round trip", Bound::AtMost(1.0), |one| {
        let own = confirmed(one.assent(UNIFORM, 1)?)?.p50_us as f64;
        let baseline = one.single_client.as_ref()?.latency?.p50_us as f64;
        Some(own / (1.5 * baseline + one.round_trip_us? as f64))
    }),
    ("p99 of 256 clients over p50", Bound::AtMost(3.0), |one| {
        let latency = confirmed(one.assent(UNIFORM, MANY_CLIENTS)?)?;
        Some(latency.p99_us as f64 / latency.p50_us as f64)
    }),
    ("p99 at 70 % of the most, in ms", Bound::AtMost(15.0), |one| {
        Some(confirmed(&one.overload.as_ref()?.before.report)?.p99_us as f64 / 1e3)
    }),
    ("p50 of refusals over that of confirmations", Bound::AtMost(1.1), |one| {
        let report = one.assent(MIX, MANY_CLIENTS)?;
        Some(report.refused_latency?.p50_us as f64 / confirmed(report)?.p50_us as f64)
    }),
    ("confirmed at 150 % over the most", Bound::AtLeast(0.9), |one| {
        let overload = one.overload.as_ref()?;
        Some(overload.meanwhile.report.confirmed_per_second / overload.max_orders_per_second)
    }),
    ("p99 of being turned away, in ms", Bound::AtMost(50.0), |one| {
        // Where nobody had to be turned away, nobody waited for it.
        let latency = one.overload.as_ref()?.meanwhile.report.overloaded_latency;
        Some(latency.map_or(0.0, |latency| latency.p99_us as f64 / 1e3))
    }),
    ("memory in the overload's second half over its first", Bound::AtMost(1.1), |one| {
        one.overload.as_ref()?.meanwhile.services_growth
    }),
    ("p99 from a second after the overload over that before", Bound::AtMost(1.5), |one| {
        let overload = one.overload.as_ref()?;
        Some(confirmed(&overload.after.report)?.p99_us as f64 / confirmed(&overload.before.report)?.p99_us as f64)
    }),
    ("turned away from a second after the overload", Bound::AtMost(0.0), |one| {
        Some(one.overload.as_ref()?.after.report.orders.overloaded.values().sum::<u64>() as f64)
    }),
];

fn confirmed(report: &Report) -> Option<Summary> {
    report.confirmed_latency
}

fn rate(one: &Repetition, goods: Goods) -> Option<f64> {
    one.assent(goods, MANY_CLIENTS).map(|report| report.orders_per_second)
}

/// From the number of clients that suits it best, where several were tried; uniform is wanted from 256.
fn most(one: &Repetition, goods: Goods) -> Option<f64> {
    if goods == UNIFORM {
        return rate(one, goods);
    }
    let rates = one.assent.iter().filter(|sold| sold.goods == goods).map(|sold| sold.measured.orders_per_second);
    rates.reduce(f64::max)
}

fn over(one: &Repetition, goods: Goods, variant: Variant) -> Option<f64> {
    Some(most(one, goods)? / one.baseline(goods, variant)?.orders_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle_of_the_repetitions() {
        let spread = |figures: &[f64]| Spread::of(figures.to_vec());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        for target in check(&[Repetition::default()]) {
            assert_eq!((target.reached, target.is_met), (None, false), "{}", target.name);
        }
    }

    #[test]
    fn a_bound_may_be_reached_but_not_passed() {
        assert!(Bound::AtLeast(3.0).holds(3.0) && !Bound::AtLeast(3.0).holds(2.99));
        assert!(Bound::AtMost(3.0).holds(3.0) && !Bound::AtMost(3.0).holds(3.01));
    }
}
