//! `assent doctor`: checks every invariant across the databases, by name.
//!
//! The system may be at work meanwhile. What looks wrong in a first reading is read again after a moment, and counts
//! only if it is still wrong: see [`protocol::invariants`] for why that misses nothing.
pub mod audit;
mod facts;
mod sagas;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::invariants::{self, Check, Clock, Facts, Invariant, TransactionId};
use serde::Serialize;
use uuid::Uuid;

use crate::client::Services;
use crate::failure::Failure;
use crate::output::{Output, coloured, table, thousands};
use audit::{Audited, Audits, Finding, keep_lasting};

/// Check every invariant across the databases; exit 0 only if all hold
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// How long after its deadline a transaction may be in doubt
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(i64).range(0..))]
    in_doubt_grace_ms: i64,
    /// How far the services' watermarks stay behind the clock: older rows may have been collected
    #[arg(long, env = "ASSENT_WATERMARK_LAG_MS", value_name = "MS", default_value_t = 600_000,
          value_parser = clap::value_parser!(i64).range(0..))]
    watermark_lag_ms: i64,
    /// How long to wait before what looks wrong is read again
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    settle_ms: u64,
}

/// Up to so many suspects are read again one by one; more by reading everything again.
const FEW_SUSPECTS: usize = 500;

/// How many violations of one invariant a person is shown; JSON has them all.
const SHOWN_VIOLATIONS: usize = 5;

#[derive(Debug, Serialize)]
struct Report {
    healthy: bool,
    transactions: u64,
    invariants: Vec<InvariantView>,
}

#[derive(Debug, Serialize)]
struct InvariantView {
    name: &'static str,
    /// "holds", "violated", or "unchecked" where no service answers for it.
    status: &'static str,
    checked_count: u64,
    violation_count: u64,
    violations: Vec<ViolationView>,
}

#[derive(Debug, Serialize)]
struct ViolationView {
    transaction_ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    participant: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    detail: String,
}

impl Doctor {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let facts = facts::all(services).await?;
        let mut checks = invariants::check(&facts, &self.clock());
        let mut audits = audit::all(services).await?;

        let suspects: BTreeSet<TransactionId> =
            checks.iter().flat_map(|check| &check.violations).flat_map(|one| one.transactions.clone()).collect();
        let audit_suspects = audits.values().any(|audited| !audited.findings.is_empty());
        if !suspects.is_empty() || audit_suspects {
            eprintln!("something looks wrong: reading it again in {} ms", self.settle_ms);
            tokio::time::sleep(Duration::from_millis(self.settle_ms)).await;
        }
        if !suspects.is_empty() {
            let again = match suspects.len() {
                0..=FEW_SUSPECTS => facts::of(services, &suspects).await?,
                _ => facts::all(services).await?,
            };
            keep_confirmed(&mut checks, &again, &suspects, &self.clock());
        }
        if audit_suspects {
            keep_lasting(&mut audits, &audit::all(services).await?);
        }
        let report = report(&facts, checks, audits);
        output.print(&report, page)?;
        if report.healthy {
            return Ok(());
        }
        let wrong: Vec<&str> =
            report.invariants.iter().filter(|one| one.status != "holds").map(|one| one.name).collect();
        Err(Failure::new(format!("does not hold: {}", wrong.join(", ")))
            .hint("`assent tx show ID` shows a transaction at every place"))
    }

    fn clock(&self) -> Clock {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock {
            now_unix_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            in_doubt_grace_ms: self.in_doubt_grace_ms,
            watermark_lag_ms: self.watermark_lag_ms,
        }
    }
}

/// Replaces the candidates by what is still wrong in the second reading.
fn keep_confirmed(checks: &mut [Check], again: &Facts, suspects: &BTreeSet<TransactionId>, clock: &Clock) {
    let mut confirmed: BTreeMap<Invariant, Vec<invariants::Violation>> =
        invariants::check(again, clock).into_iter().map(|check| (check.invariant, check.violations)).collect();
    for check in checks {
        check.violations = confirmed.remove(&check.invariant).unwrap_or_default();
        // A second reading of everything has candidates of its own, which nobody has read twice.
        check.violations.retain(|one| one.transactions.iter().all(|id| suspects.contains(id)));
    }
}

fn report(facts: &Facts, checks: Vec<Check>, mut audits: Audits) -> Report {
    let mut checks: BTreeMap<Invariant, Check> = checks.into_iter().map(|check| (check.invariant, check)).collect();
    let invariants: Vec<InvariantView> = Invariant::ALL
        .into_iter()
        .map(|invariant| view(invariant, checks.remove(&invariant), audits.remove(&invariant)))
        .collect();
    let records = facts.records.iter().map(|record| record.transaction);
    let transactions: BTreeSet<_> = records.chain(facts.branches.iter().map(|row| row.transaction)).collect();
    Report {
        healthy: invariants.iter().all(|one| one.status == "holds"),
        transactions: transactions.len() as u64,
        invariants,
    }
}

fn view(invariant: Invariant, check: Option<Check>, audited: Option<Audited>) -> InvariantView {
    let across = check.is_some();
    // What only a participant can see must have been seen by one: silence is no health.
    let within = matches!(
        invariant,
        Invariant::NoOrphanHolds
            | Invariant::NoOversell
            | Invariant::StockConserved
            | Invariant::WaitersFirst
            | Invariant::MoneyConserved
            | Invariant::OrderLife
    );
    let unchecked = (within && audited.is_none()) || (!within && !across);
    let mut violations = Vec::new();
    let mut checked_count = 0;
    if let Some(check) = check {
        checked_count += check.checked_count;
        violations.extend(check.violations.into_iter().map(|violation| ViolationView {
            transaction_ids: violation.transactions.into_iter().map(|id| Uuid::from_u128(id).to_string()).collect(),
            participant: None,
            subject: None,
            detail: violation.detail,
        }));
    }
    if let Some(audited) = audited {
        checked_count += audited.checked_count;
        violations.extend(audited.findings.into_iter().map(finding_view));
    }
    let status = match (unchecked, violations.is_empty()) {
        (_, false) => "violated",
        (true, true) => "unchecked",
        (false, true) => "holds",
    };
    let violation_count = violations.len() as u64;
    InvariantView { name: invariant.name(), status, checked_count, violation_count, violations }
}

fn finding_view(finding: Finding) -> ViolationView {
    ViolationView {
        transaction_ids: Some(finding.transaction_id).filter(|id| !id.is_empty()).into_iter().collect(),
        participant: Some(finding.participant),
        subject: Some(finding.subject).filter(|subject| !subject.is_empty()),
        detail: finding.detail,
    }
}

fn page(report: &Report) -> String {
    let rows = report.invariants.iter().map(|one| {
        vec![one.name.to_owned(), one.status.to_owned(), thousands(one.checked_count), thousands(one.violation_count)]
    });
    let mut text = table(&["invariant", "status", "checked", "violations"], &[2, 3], rows.collect());
    for one in report.invariants.iter().filter(|one| !one.violations.is_empty()) {
        text.push_str(&format!("\n\n{}", coloured(one.name, "1;31")));
        for violation in one.violations.iter().take(SHOWN_VIOLATIONS) {
            let place = [violation.participant, violation.subject.as_deref()];
            let place: Vec<&str> = place.into_iter().flatten().collect();
            let place = if place.is_empty() { String::new() } else { format!("{}: ", place.join(" ")) };
            text.push_str(&format!("\n  {place}{}", violation.detail));
            for id in violation.transaction_ids.iter().take(SHOWN_VIOLATIONS) {
                text.push_str(&format!("\n    transaction {id}"));
            }
        }
        if one.violations.len() > SHOWN_VIOLATIONS {
            let more = one.violations.len() - SHOWN_VIOLATIONS;
            text.push_str(&format!("\n  and {more} more: --output json lists them all"));
        }
    }
    let summary = match report.healthy {
        true => coloured("all hold", "32"),
        false => coloured("not all hold", "1;31"),
    };
    format!("{text}\n\n{summary}, over {} transactions", thousands(report.transactions))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(subject: &str, detail: &str) -> Finding {
        Finding {
            participant: "inventory",
            transaction_id: String::new(),
            subject: subject.to_owned(),
            detail: detail.to_owned(),
        }
    }

    fn audited(findings: Vec<Finding>) -> Audited {
        Audited { checked_count: 1, findings }
    }

    fn sound_audits() -> Audits {
        let within = [
            Invariant::NoOrphanHolds,
            Invariant::NoOversell,
            Invariant::StockConserved,
            Invariant::WaitersFirst,
            Invariant::MoneyConserved,
            Invariant::OrderLife,
        ];
        within.map(|invariant| (invariant, audited(Vec::new()))).into()
    }

    const CLOCK: Clock = Clock { now_unix_ms: 0, in_doubt_grace_ms: 0, watermark_lag_ms: 0 };

    #[test]
    fn silence_about_an_invariant_is_no_health() {
        let checks = || invariants::check(&Facts::default(), &CLOCK);
        assert!(report(&Facts::default(), checks(), sound_audits()).healthy);
        let mut audits = sound_audits();
        audits.remove(&Invariant::MoneyConserved);
        let report = report(&Facts::default(), checks(), audits);
        assert!(!report.healthy);
        let unchecked: Vec<_> = report.invariants.iter().filter(|one| one.status == "unchecked").collect();
        assert_eq!(unchecked.len(), 1);
        assert_eq!(unchecked[0].name, "money-conserved");
    }

    #[test]
    fn what_a_participant_finds_counts_if_it_lasts() {
        let mut audits = sound_audits();
        let found = vec![finding("A", "held 3, on hand 2"), finding("B", "held 9, on hand 8")];
        audits.insert(Invariant::NoOversell, audited(found));
        let mut again = sound_audits();
        again.insert(Invariant::NoOversell, audited(vec![finding("B", "held 10, on hand 8")]));
        keep_lasting(&mut audits, &again);
        let report = report(&Facts::default(), invariants::check(&Facts::default(), &CLOCK), audits);
        let one = report.invariants.iter().find(|one| one.name == "no-oversell").unwrap();
        assert_eq!((one.status, one.violation_count), ("violated", 1));
        assert_eq!(one.violations[0].subject.as_deref(), Some("B"));
        assert!(page(&report).contains("inventory B: held 9"));
    }
}
