//! What a comparison has found, for machines and for people.
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{coloured, table, thousands};

/// How many differences of one kind a person is shown; JSON has them all.
const SHOWN: usize = 10;

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    agrees: bool,
    time: String,
    checks: Vec<CheckView>,
}

/// One comparison.
#[derive(Debug, Serialize)]
pub struct CheckView {
    /// "ledger", "holds", "sold", "captured" or "money".
    name: &'static str,
    /// "agrees", "differs", or "unchecked" where no service answers for it.
    status: &'static str,
    /// How many things were compared.
    pub checked_count: u64,
    /// What differs.
    pub differences: Vec<Difference>,
    #[serde(skip)]
    is_unchecked: bool,
}

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is about: a SKU, an account, a transaction.
    pub subject: String,
    /// The transaction that explains it, if one can be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
    /// What differs, with the figures.
    pub detail: String,
}

impl CheckView {
    /// One that has found nothing yet.
    pub fn new(name: &'static str, checked_count: u64) -> Self {
        CheckView { name, status: "agrees", checked_count, differences: Vec::new(), is_unchecked: false }
    }

    /// Somebody did not answer for it: silence is no agreement.
    pub fn unchecked(&mut self) {
        self.is_unchecked = true;
    }
}

fn explained(name: &str) -> &str {
    match name {
        "ledger" => "the movements come to the stock",
        "holds" => "what is held is what transactions in doubt and reservations hold",
        "sold" => "what was sold is what was ordered",
        "captured" => "what was captured is what the orders cost",
        "money" => "the bookings come to the balances",
        other => other,
    }
}

impl Report {
    /// Of these comparisons, now.
    pub fn new(mut checks: Vec<CheckView>) -> Self {
        for check in &mut checks {
            check.status = match (check.differences.is_empty(), check.is_unchecked) {
                (false, _) => "differs",
                (true, true) => "unchecked",
                (true, false) => "agrees",
            };
        }
        let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        Report { agrees: checks.iter().all(|check| check.status == "agrees"), time, checks }
    }

    /// Success, if all agree.
    pub fn outcome(&self) -> Result<(), Failure> {
        if self.agrees {
            return Ok(());
        }
        let wrong: Vec<String> = self.not_agreeing().map(|check| format!("{} {}", check.name, check.status)).collect();
        Err(Failure::new(format!("the books do not agree: {}", wrong.join(", ")))
            .hint("`assent tx show ID` shows a transaction, `assent stock history SKU` the movements"))
    }

    fn not_agreeing(&self) -> impl Iterator<Item = &CheckView> {
        self.checks.iter().filter(|check| check.status != "agrees")
    }

    /// In one line.
    pub fn line(&self) -> String {
        let wrong = self.not_agreeing().map(|check| {
            let first = check.differences.first().map(|one| format!(": {} {}", one.subject, one.detail));
            format!("{} {} ({}){}", check.name, check.status, check.differences.len(), first.unwrap_or_default())
        });
        let wrong: Vec<String> = wrong.collect();
        match wrong.is_empty() {
            true => format!("{} all agree", self.time),
            false => format!("{} {}", self.time, wrong.join("; ")),
        }
    }

    /// As a page.
    pub fn page(&self) -> String {
        let rows = self.checks.iter().map(|check| {
            let counts = [check.checked_count, check.differences.len() as u64].map(thousands);
            let [checked, differing] = counts;
            vec![check.name.to_owned(), check.status.to_owned(), checked, differing, explained(check.name).to_owned()]
        });
        let mut text = table(&["books", "", "compared", "differences", "that"], &[2, 3], rows.collect());
        for check in self.checks.iter().filter(|check| !check.differences.is_empty()) {
            text.push_str(&format!("\n\n{}", coloured(check.name, "1;31")));
            for one in check.differences.iter().take(SHOWN) {
                text.push_str(&format!("\n  {}: {}", one.subject, one.detail));
                if let Some(id) = one.transaction_id.as_ref().filter(|id| **id != one.subject) {
                    text.push_str(&format!("\n    transaction {id}"));
                }
            }
            if check.differences.len() > SHOWN {
                let more = check.differences.len() - SHOWN;
                text.push_str(&format!("\n  and {more} more: --output json lists them all"));
            }
        }
        let summary = match self.agrees {
            true => coloured("all agree", "32"),
            false => coloured("not all agree", "1;31"),
        };
        format!("{text}\n\n{summary}")
    }
}
