//! What came of the cases: a row for each as it ends, then the totals, and all of it as a file.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::case::Case;

const HEAD: [&str; 10] = [
    "case",
    "killed processes",
    "killed postgres",
    "frozen ms",
    "confirmed",
    "refused",
    "aborted",
    "unknown",
    "settled ms",
    "violations",
];

/// What came of one case.
#[derive(Debug)]
pub struct Outcome {
    /// Which.
    pub case: Case,
    /// Processes killed.
    pub processes: u32,
    /// Postgres servers killed.
    pub databases: u32,
    /// How long the process stood still while its Postgres died.
    pub frozen: Duration,
    /// Requests by their first answer.
    pub answers: BTreeMap<&'static str, usize>,
    /// From everything being up again to nothing being in doubt.
    pub settled: Duration,
    /// What is wrong.
    pub violations: Vec<String>,
}

impl Outcome {
    /// Of a case of which nothing has come yet.
    pub fn of(case: &Case) -> Self {
        Outcome {
            case: case.clone(),
            processes: 0,
            databases: 0,
            frozen: Duration::ZERO,
            answers: BTreeMap::new(),
            settled: Duration::ZERO,
            violations: Vec::new(),
        }
    }
}

/// What came of some cases together.
#[derive(Default)]
struct Total {
    cases: usize,
    processes: u32,
    databases: u32,
    frozen: Duration,
    answers: BTreeMap<&'static str, usize>,
    slowest: Duration,
    violations: usize,
}

impl Total {
    fn of<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Self {
        let mut total = Total::default();
        for outcome in outcomes {
            total.cases += 1;
            total.processes += outcome.processes;
            total.databases += outcome.databases;
            total.frozen = total.frozen.max(outcome.frozen);
            for (kind, count) in &outcome.answers {
                *total.answers.entry(kind).or_default() += count;
            }
            total.slowest = total.slowest.max(outcome.settled);
            total.violations += outcome.violations.len();
        }
        total
    }

    /// As [`HEAD`] says.
    fn row(&self, name: String) -> [String; 10] {
        let count = |kind: &str| self.answers.get(kind).copied().unwrap_or_default().to_string();
        [
            name,
            self.processes.to_string(),
            self.databases.to_string(),
            self.frozen.as_millis().to_string(),
            count("confirmed"),
            count("refused"),
            count("aborted"),
            count("unknown"),
            self.slowest.as_millis().to_string(),
            self.violations.to_string(),
        ]
    }
}

/// All outcomes.
pub struct Report {
    outcomes: Vec<Outcome>,
    began: Instant,
}

impl Default for Report {
    fn default() -> Self {
        Report { outcomes: Vec::new(), began: Instant::now() }
    }
}

impl Report {
    /// Prints the table's head.
    pub fn begin(&self) {
        println!("{}", aligned(&HEAD.map(str::to_owned)));
    }

    /// Takes an outcome, and prints its row.
    pub fn take(&mut self, outcome: Outcome) {
        println!("{}", aligned(&Total::of([&outcome]).row(outcome.case.to_string())));
        self.outcomes.push(outcome);
    }

    /// Prints the totals, writes the file, and insists that nothing was wrong.
    pub fn conclude(&self) {
        for row in self.totals() {
            println!("{}", aligned(&row));
        }
        println!("took {:.0} s, {:.1} cases a second", self.seconds(), self.outcomes.len() as f64 / self.seconds());
        if let Some(path) = std::env::var_os("ASSENT_CRASH_REPORT").map(PathBuf::from) {
            std::fs::write(&path, self.text()).unwrap();
            println!("written to {}", path.display());
        }
        let violations = self.violations();
        assert!(violations.is_empty(), "{violations}");
    }

    fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// By service and by what dies, and everything.
    fn totals(&self) -> Vec<[String; 10]> {
        let mut kinds: Vec<_> = self.outcomes.iter().map(|it| (it.case.service.name(), it.case.dies)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let row = |(service, dies): (&str, _)| {
            let of = |it: &&Outcome| (it.case.service.name(), it.case.dies) == (service, dies);
            let total = Total::of(self.outcomes.iter().filter(of));
            total.row(format!("{} of {service}, {} dies", total.cases, dies.name()))
        };
        let mut rows: Vec<_> = kinds.into_iter().map(row).collect();
        let all = Total::of(&self.outcomes);
        rows.push(all.row(format!("{} cases", all.cases)));
        rows
    }

    /// What is wrong, and how to see it again; empty if nothing is.
    fn violations(&self) -> String {
        let mut text = String::new();
        for Outcome { case, violations, .. } in self.outcomes.iter().filter(|it| !it.violations.is_empty()) {
            let again = format!("ASSENT_CRASH_MATRIX='{case}' cargo test -p tests --test crash_matrix -- --nocapture");
            let _ = writeln!(text, "{case}, again with\n\n    {again}\n\n{}\n", violations.join("\n"));
        }
        text
    }

    /// All of it, as Markdown.
    fn text(&self) -> String {
        let mut rows: Vec<_> =
            self.outcomes.iter().map(|outcome| Total::of([outcome]).row(outcome.case.to_string())).collect();
        rows.sort_unstable();
        let wrong = Some(self.violations()).filter(|wrong| !wrong.is_empty());
        format!(
            "# The crash matrix\n\nTook {:.0} s.\n\n{}\n## Violations\n\n{}\n\n## Cases\n\n{}",
            self.seconds(),
            table(&self.totals()),
            wrong.unwrap_or_else(|| "None.".to_owned()),
            table(&rows)
        )
    }
}

fn aligned(row: &[String; 10]) -> String {
    let [name, cells @ ..] = row;
    let cells =
        cells.iter().zip(HEAD.iter().skip(1)).map(|(cell, head)| format!(" {cell:>width$}", width = head.len()));
    format!("{name:<45}{}", cells.collect::<String>())
}

fn table(rows: &[[String; 10]]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let lines = rows.iter().map(|row| line(row));
    format!("{}{}{}", line(&HEAD.map(str::to_owned)), "|---".repeat(HEAD.len()) + "|\n", lines.collect::<String>())
}
