//! What came of the cases, as a table.
use std::collections::BTreeMap;
use std::time::Duration;

/// What came of one case.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Its name.
    pub case: String,
    /// Processes killed.
    pub kills: u32,
    /// Requests by their first answer.
    pub answers: BTreeMap<&'static str, usize>,
    /// From everything being up again to nothing being in doubt.
    pub settled: Duration,
    /// What is wrong.
    pub violations: Vec<String>,
}

impl Outcome {
    fn row(&self) -> String {
        let count = |kind: &str| self.answers.get(kind).copied().unwrap_or_default();
        format!(
            "{:<40} {:>5} {:>9} {:>7} {:>7} {:>7} {:>10} {:>10}",
            self.case,
            self.kills,
            count("confirmed"),
            count("refused"),
            count("aborted"),
            count("unknown"),
            self.settled.as_millis(),
            self.violations.len()
        )
    }
}

/// Prints the table's head.
pub fn print_head() {
    println!(
        "{:<40} {:>5} {:>9} {:>7} {:>7} {:>7} {:>10} {:>10}",
        "case", "kills", "confirmed", "refused", "aborted", "unknown", "settled ms", "violations"
    );
}

/// Prints a case's row.
pub fn print(outcome: &Outcome) {
    println!("{}", outcome.row());
}

/// Prints the totals, and insists that nothing was wrong.
pub fn conclude(outcomes: &[Outcome]) {
    let mut total = Outcome { case: format!("{} cases", outcomes.len()), ..Outcome::default() };
    for outcome in outcomes {
        total.kills += outcome.kills;
        total.settled = total.settled.max(outcome.settled);
        for (kind, count) in &outcome.answers {
            *total.answers.entry(kind).or_default() += count;
        }
        total.violations.extend(outcome.violations.iter().map(|violation| format!("{}: {violation}", outcome.case)));
    }
    print(&total);
    assert!(total.violations.is_empty(), "{:#?}", total.violations);
}
