//! The `assent doctor` command, as an operator runs it.
use serde::Deserialize;

use crate::command::{Ran, assent};
use crate::system::System;

/// What the doctor found.
#[derive(Debug, Deserialize)]
pub struct Report {
    /// Whether all holds.
    pub healthy: bool,
    /// How many transactions it saw.
    pub transactions: u64,
    /// Each invariant.
    pub invariants: Vec<Invariant>,
    /// Its exit code.
    #[serde(skip)]
    pub exit: i32,
    /// What it said on stderr.
    #[serde(skip)]
    pub said: String,
}

/// An invariant, checked.
#[derive(Debug, Deserialize)]
pub struct Invariant {
    /// Its name.
    pub name: String,
    /// holds, violated or unchecked.
    pub status: String,
    /// How many things were checked.
    pub checked_count: u64,
    /// What violates it.
    pub violations: Vec<Violation>,
}

/// A violation.
#[derive(Debug, Deserialize)]
pub struct Violation {
    /// The transactions concerned.
    pub transaction_ids: Vec<String>,
    /// What is concerned: a SKU, an account.
    pub subject: Option<String>,
    /// What is wrong.
    pub detail: String,
}

impl Report {
    /// The invariants that don't hold.
    pub fn wrong(&self) -> Vec<&Invariant> {
        self.invariants.iter().filter(|invariant| invariant.status != "holds").collect()
    }
}

/// Runs the doctor on a system, with more arguments.
pub async fn examine(system: &System, arguments: &[&str]) -> Report {
    let Ran { exit, stdout, said } = assent(system, &[&["doctor"], arguments].concat()).await;
    let report = serde_json::from_str(&stdout)
        .unwrap_or_else(|error| panic!("the doctor reports nothing ({error}), but says {said:?}\n{stdout}"));
    Report { exit, said, ..report }
}

/// Runs the doctor and insists that all holds.
pub async fn all_holds(system: &System) -> Report {
    let report = examine(system, &[]).await;
    assert!(report.healthy && report.exit == 0, "{:#?}\n{}", report.wrong(), report.said);
    assert_eq!(report.invariants.len(), 14);
    report
}
