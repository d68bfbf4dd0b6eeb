//! What a replay ends with: how many orders were confirmed, refused and skipped, and why.
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::attempts::{NewestBefore, Outcome, Placed};
use super::invoices::Plan;
use super::returns::Brought;
use super::treatment::Treatment;
use crate::output::{table, thousands};

/// So many orders, apart by whether this run placed them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Count {
    /// All of them.
    pub total: u64,
    /// Those that an earlier run (or call) had placed already.
    pub before: u64,
}

/// So many orders for one reason.
#[derive(Debug, Serialize)]
pub struct Reason {
    /// Machine-readable.
    pub reason: String,
    /// How many.
    #[serde(flatten)]
    pub count: Count,
}

/// A treatment that was applied.
#[derive(Debug, Serialize)]
pub struct Treated {
    /// Which.
    pub treatment: Treatment,
    /// Whether what it was applied to was left out.
    pub left_out: bool,
    /// "invoices" or "rows".
    pub of: &'static str,
    /// How many.
    pub count: u64,
    /// What was done and why.
    pub explanation: &'static str,
}

/// Lines of cancelling invoices, and what became of them.
#[derive(Debug, Default, Serialize)]
pub struct ReturnedView {
    /// How many there are.
    pub lines: u64,
    /// How many came back.
    pub returned: u64,
    /// How many were refused, by the reason.
    pub refused_by_reason: BTreeMap<String, u64>,
    /// Of how many nobody could tell in time.
    pub unknown: u64,
}

/// The whole summary.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// The file.
    pub file: String,
    /// How many rows it has.
    pub rows: u64,
    /// How many invoices.
    pub invoices: u64,
    /// How many of them were placed as orders, whatever came of it.
    pub orders: u64,
    /// How many are confirmed.
    pub confirmed: Count,
    /// How many are refused.
    pub refused: Count,
    /// Why they are.
    pub refused_by_reason: Vec<Reason>,
    /// How many could not be placed.
    pub failed: u64,
    /// Why not.
    pub failed_by_reason: Vec<Reason>,
    /// How many are in doubt.
    pub unknown: u64,
    /// How many invoices were skipped.
    pub skipped: u64,
    /// Lines of cancelling invoices, and what became of them.
    pub returns: ReturnedView,
    /// How many calls were repeated after a lost answer or an aborted attempt.
    pub repeated_calls: u64,
    /// What was odd in the file.
    pub treatments: Vec<Treated>,
    /// The first malformed lines.
    pub malformed_lines: Vec<u64>,
    /// How long the orders took.
    pub elapsed_ms: u64,
}

/// Counts what became of the orders.
#[derive(Debug, Default)]
pub struct Tally {
    confirmed: Count,
    refused: BTreeMap<String, Count>,
    failed: BTreeMap<String, Count>,
    unknown: u64,
    repeated_calls: u64,
    returned: Brought,
}

impl Tally {
    /// Counts what came back of one order.
    pub fn count_returns(&mut self, brought: Brought) {
        self.returned.returned += brought.returned;
        self.returned.unknown += brought.unknown;
        for (reason, count) in brought.refused {
            *self.returned.refused.entry(reason).or_default() += count;
        }
    }

    /// Counts one.
    pub fn count(&mut self, placed: Placed, newest_before: &NewestBefore) {
        let before = !newest_before.precedes(placed.transaction_id.as_deref());
        let one = |count: &mut Count| {
            count.total += 1;
            count.before += u64::from(before);
        };
        match placed.outcome {
            Outcome::Confirmed => one(&mut self.confirmed),
            Outcome::Refused(reason) => one(self.refused.entry(reason).or_default()),
            Outcome::Failed(reason) => one(self.failed.entry(reason).or_default()),
            Outcome::Unknown => self.unknown += 1,
        }
        self.repeated_calls += placed.repeats;
    }

    /// How many are confirmed, refused, and neither so far.
    pub fn so_far(&self) -> (u64, u64, u64) {
        (self.confirmed.total, sum(&self.refused).total, sum(&self.failed).total + self.unknown)
    }

    /// The summary of the whole run.
    pub fn summary(self, file: String, plan: &Plan, elapsed: Duration) -> Summary {
        let reasons = |counts: BTreeMap<String, Count>| {
            counts.into_iter().map(|(reason, count)| Reason { reason, count }).collect()
        };
        let skipped = [Treatment::NothingLeft];
        let mut refused_returns = self.returned.refused;
        for (reason, count) in &plan.returns.refused {
            *refused_returns.entry((*reason).to_owned()).or_default() += count;
        }
        Summary {
            file,
            rows: plan.row_count,
            invoices: plan.invoice_count,
            orders: plan.invoices.len() as u64,
            confirmed: self.confirmed,
            refused: sum(&self.refused),
            refused_by_reason: reasons(self.refused),
            failed: sum(&self.failed).total,
            failed_by_reason: reasons(self.failed),
            unknown: self.unknown,
            skipped: skipped.iter().filter_map(|treatment| plan.treatments.get(treatment)).sum(),
            returns: ReturnedView {
                lines: plan.returns.line_count,
                returned: self.returned.returned,
                refused_by_reason: refused_returns,
                unknown: self.returned.unknown,
            },
            repeated_calls: self.repeated_calls,
            treatments: plan
                .treatments
                .iter()
                .map(|(treatment, count)| Treated {
                    treatment: *treatment,
                    left_out: treatment.leaves_out(),
                    of: if treatment.is_of_invoices() { "invoices" } else { "rows" },
                    count: *count,
                    explanation: treatment.explanation(),
                })
                .collect(),
            malformed_lines: plan.malformed_lines.clone(),
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

fn sum(counts: &BTreeMap<String, Count>) -> Count {
    counts.values().fold(Count::default(), |sum, count| Count {
        total: sum.total + count.total,
        before: sum.before + count.before,
    })
}

/// The summary for a person.
pub fn page(summary: &Summary) -> String {
    let before = |count: Count| match count.before {
        0 => String::new(),
        before => format!("{} of them placed before, not again", thousands(before)),
    };
    let mut rows = vec![vec!["confirmed".to_owned(), thousands(summary.confirmed.total), before(summary.confirmed)]];
    let mut reasons = |what: &str, reasons: &[Reason]| {
        for reason in reasons {
            let note = before(reason.count);
            let note = if note.is_empty() { reason.reason.clone() } else { format!("{} ({note})", reason.reason) };
            rows.push(vec![what.to_owned(), thousands(reason.count.total), note]);
        }
    };
    reasons("refused", &summary.refused_by_reason);
    reasons("failed", &summary.failed_by_reason);
    if summary.unknown > 0 {
        rows.push(vec!["in doubt".to_owned(), thousands(summary.unknown), "run it again to learn more".to_owned()]);
    }
    rows.push(vec!["skipped".to_owned(), thousands(summary.skipped), "see below".to_owned()]);
    let mut text = format!(
        "{}: {} rows, {} invoices, {} orders in {}.{:03} s\n\n{}",
        summary.file,
        thousands(summary.rows),
        thousands(summary.invoices),
        thousands(summary.orders),
        summary.elapsed_ms / 1_000,
        summary.elapsed_ms % 1_000,
        table(&["orders", "count", ""], &[1], rows),
    );
    if summary.returns.lines > 0 {
        let returns = &summary.returns;
        let mut rows = vec![vec!["returned".to_owned(), thousands(returns.returned), String::new()]];
        for (reason, count) in &returns.refused_by_reason {
            rows.push(vec!["refused".to_owned(), thousands(*count), reason.clone()]);
        }
        if returns.unknown > 0 {
            rows.push(vec!["in doubt".to_owned(), thousands(returns.unknown), "run it again to learn more".to_owned()]);
        }
        text.push_str(&format!("\n\n{}", table(&["lines to return", "count", ""], &[1], rows)));
    }
    if summary.repeated_calls > 0 {
        text.push_str(&format!(
            "\n\n{} calls were repeated until they were answered",
            thousands(summary.repeated_calls)
        ));
    }
    if !summary.treatments.is_empty() {
        let rows = summary.treatments.iter().map(|treated| {
            vec![treated.explanation.to_owned(), format!("{} {}", thousands(treated.count), treated.of)]
        });
        text.push_str(&format!("\n\n{}", table(&["odd in the file", "count"], &[1], rows.collect())));
    }
    if !summary.malformed_lines.is_empty() {
        let lines: Vec<String> = summary.malformed_lines.iter().map(u64::to_string).collect();
        text.push_str(&format!("\n\nmalformed lines begin with {}", lines.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_placed_before_is_told_apart() {
        let placed =
            |outcome, id: &str| Placed { outcome, transaction_id: Some(id.to_owned()), order_id: None, repeats: 1 };
        let mut tally = Tally::default();
        let newest_before = &NewestBefore("0193-5".to_owned());
        tally.count(placed(Outcome::Confirmed, "0193-4"), newest_before);
        tally.count(placed(Outcome::Confirmed, "0193-6"), newest_before);
        tally.count(placed(Outcome::Refused("OUT_OF_STOCK".to_owned()), "0193-5"), newest_before);
        tally.count(
            Placed { outcome: Outcome::Unknown, transaction_id: None, order_id: None, repeats: 0 },
            newest_before,
        );
        assert_eq!(tally.so_far(), (2, 1, 1));
        let summary = tally.summary("f.csv".to_owned(), &Plan::default(), Duration::from_millis(1_500));
        assert_eq!(summary.confirmed, Count { total: 2, before: 1 });
        assert_eq!(summary.refused, Count { total: 1, before: 1 });
        assert_eq!((summary.unknown, summary.repeated_calls), (1, 3));
        let page = page(&summary);
        assert!(page.contains("1 of them placed before") && page.contains("OUT_OF_STOCK"), "{page}");
    }
}
