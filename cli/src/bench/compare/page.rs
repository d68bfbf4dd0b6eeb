//! A comparison as a person reads it.
use bench::latency::Summary;
use bench::report::{CpuRow, Report};
use bench::store::statistics::Written;

use super::super::ms;
use super::cases::Goods;
use super::figures::{Comparison, DatabaseSettings, Repetition};
use super::targets::{Bound, Spread, Target};
use crate::output::{table, thousands};

/// What a line of the table is made of, of one repetition.
struct Line {
    orders_per_second: f64,
    latency: Option<Summary>,
    cpu_us: Option<f64>,
    written: Option<Sums>,
}

/// What all databases wrote for an order.
#[derive(Clone, Copy)]
struct Sums {
    wal_bytes: f64,
    syncs: Option<f64>,
    rows: f64,
    orders_per_commit: f64,
}

/// The whole page.
pub fn page(comparison: &Comparison) -> String {
    let Comparison { built_for_release, processors, settings, repetitions, targets, .. } = comparison;
    let built = if *built_for_release { "built for release" } else { "NOT built for release: worth nothing" };
    let settings: Vec<String> = settings.iter().map(durability).collect();
    let head = format!("{processors} processors, {built}, repetitions: {}\n{}", repetitions.len(), settings.join("\n"));
    format!("{head}\n\n{}\n\n{}", figures(repetitions), wanted(targets))
}

fn durability(one: &DatabaseSettings) -> String {
    let settings: Vec<String> = one.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
    format!("{}: {}", one.database, settings.join(", "))
}

fn figures(repetitions: &[Repetition]) -> String {
    let mut rows = Vec::new();
    let Some(first) = repetitions.first() else { return String::new() };
    for one in &first.assent {
        let lines =
            repetitions.iter().filter_map(|repetition| repetition.assent(one.goods, one.clients)).map(of_report);
        rows.push(row(one.goods, "Assent", &one.clients.to_string(), lines.collect()));
    }
    for one in &first.baselines {
        let variant = one.measured.variant;
        let measured = repetitions.iter().filter_map(|repetition| repetition.baseline(one.goods, variant));
        let lines = measured.map(|measured| Line {
            orders_per_second: measured.orders_per_second,
            latency: measured.latency,
            cpu_us: cpu_us(&measured.cpu),
            written: measured.written.as_ref().map(|written| sums(std::slice::from_ref(written))),
        });
        rows.push(row(one.goods, variant.name(), &one.clients.to_string(), lines.collect()));
    }
    let overloads = || repetitions.iter().filter_map(|repetition| repetition.overload.as_ref());
    let parts: [(&str, Vec<&Report>); 4] = [
        ("70 %", overloads().map(|one| &one.before.report).collect()),
        ("150 %", overloads().map(|one| &one.meanwhile.report).collect()),
        ("70 %, 1st s", overloads().map(|one| &one.just_after.report).collect()),
        ("70 %, then", overloads().map(|one| &one.after.report).collect()),
    ];
    for (load, reports) in parts {
        rows.push(row(super::cases::UNIFORM, "Assent", load, reports.into_iter().map(of_report).collect()));
    }
    let headers = [
        "sold",
        "by",
        "load",
        "orders/s",
        "least",
        "most",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "cpu us",
        "wal bytes",
        "syncs",
        "rows",
        "orders/commit",
    ];
    table(&headers, &[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13], rows)
}

fn of_report(report: &Report) -> Line {
    Line {
        orders_per_second: report.orders_per_second,
        latency: report.confirmed_latency,
        cpu_us: cpu_us(&report.cpu),
        written: (!report.written.is_empty()).then(|| sums(&report.written)),
    }
}

/// What all processes used for an order, the clients among them; others on the machine not.
fn cpu_us(cpu: &[CpuRow]) -> Option<f64> {
    cpu.iter().filter(|row| row.name != bench::report::OTHERS).map(|row| row.us_per_order).sum()
}

fn sums(written: &[Written]) -> Sums {
    let least = written.iter().map(|one| one.orders_per_commit).fold(f64::INFINITY, f64::min);
    Sums {
        wal_bytes: written.iter().map(|one| one.wal_bytes_per_order).sum(),
        syncs: written.iter().map(|one| one.syncs_per_order).sum(),
        rows: written.iter().map(|one| one.inserted_per_order + one.updated_per_order + one.deleted_per_order).sum(),
        orders_per_commit: least,
    }
}

fn row(goods: Goods, by: &str, load: &str, lines: Vec<Line>) -> Vec<String> {
    let spread = |figure: &dyn Fn(&Line) -> Option<f64>| Spread::of(lines.iter().filter_map(figure).collect());
    let shown = |spread: Option<Spread>, digits: usize| {
        spread.map_or("-".to_owned(), |spread| format!("{:.digits$}", spread.median))
    };
    let rate = spread(&|line| Some(line.orders_per_second));
    let whole = |figure: fn(Spread) -> f64| rate.map_or("-".to_owned(), |it| thousands(figure(it).round() as u64));
    let latency = |figure: fn(Summary) -> u64| {
        let spread = spread(&|line| Some(figure(line.latency?) as f64));
        spread.map_or("-".to_owned(), |spread| ms(spread.median.round() as u64))
    };
    let written = |figure: fn(Sums) -> Option<f64>, digits| shown(spread(&|line| figure(line.written?)), digits);
    vec![
        goods.name.to_owned(),
        by.to_owned(),
        load.to_owned(),
        whole(|it| it.median),
        whole(|it| it.min),
        whole(|it| it.max),
        latency(|it| it.p50_us),
        latency(|it| it.p99_us),
        latency(|it| it.p999_us),
        shown(spread(&|line| line.cpu_us), 0),
        written(|it| Some(it.wal_bytes), 0),
        written(|it| it.syncs, 3),
        written(|it| Some(it.rows), 1),
        written(|it| Some(it.orders_per_commit), 1),
    ]
}

fn wanted(targets: &[Target]) -> String {
    let rows = targets.iter().map(|target| {
        let bound = match target.bound {
            Bound::AtLeast(least) => format!(">= {least}"),
            Bound::AtMost(most) => format!("<= {most}"),
        };
        let [median, min, max] = match target.reached {
            Some(spread) => [spread.median, spread.min, spread.max].map(|figure| format!("{figure:.2}")),
            None => ["-"; 3].map(str::to_owned),
        };
        let met = match (target.reached, target.is_met) {
            (None, _) => "not measured",
            (_, true) => "met",
            (_, false) => "missed",
        };
        vec![target.name.to_owned(), bound, median, min, max, met.to_owned()]
    });
    table(&["wanted", "bound", "is", "least", "most", ""], &[1, 2, 3, 4], rows.collect())
}

#[cfg(test)]
mod tests {
    use super::super::targets;
    use super::*;

    #[test]
    fn the_page_says_what_was_not_measured_and_that_a_debug_build_is_worth_nothing() {
        let repetitions = vec![Repetition::default()];
        let comparison = Comparison {
            built_for_release: false,
            processors: 2,
            settings: vec![DatabaseSettings {
                database: "order-db".to_owned(),
                settings: vec![("fsync".to_owned(), "on".to_owned())],
            }],
            probes: Vec::new(),
            targets: targets::check(&repetitions),
            repetitions,
        };
        let page = page(&comparison);
        for part in ["worth nothing", "order-db: fsync on", "uniform over one statement", ">= 1.3", "not measured"] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
    }
}
