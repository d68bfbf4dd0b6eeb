//! What is told of the checks: a line for each, and the details of what broke.
use serde::Serialize;

use super::run::{Check, FIRST, Outcome};
use super::stop::Stop;
use crate::output::coloured;

/// Lines of what was sent that a person is shown; JSON has them all.
const SHOWN_LINES: usize = 12;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It holds.
    Holds,
    /// It doesn't.
    Broken,
    /// It could not be checked.
    Skipped,
}

/// A check and how it ended.
#[derive(Debug, Serialize)]
pub struct CheckView {
    /// Its number: of the group, and in it.
    pub id: String,
    /// What the group is about.
    pub group: &'static str,
    /// What must hold.
    pub title: &'static str,
    /// How it ended.
    pub status: Status,
    /// How long it took.
    pub took_ms: u64,
    /// Why it could not be checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// What broke.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<BrokenView>,
}

/// What broke.
#[derive(Debug, Serialize)]
pub struct BrokenView {
    /// What was sent, and what came back.
    pub sent: Vec<String>,
    /// What should have come at last.
    pub expected: String,
    /// What came at last.
    pub came_back: String,
    /// What goes wrong for it.
    pub why: &'static str,
}

impl CheckView {
    /// The view of an outcome.
    pub fn of(id: String, group: &'static str, check: &Check, outcome: Outcome, took_ms: u64) -> Self {
        let (status, skipped, broken) = match outcome {
            Ok(()) => (Status::Holds, None, None),
            Err(Stop::Skipped(why)) => (Status::Skipped, Some(why), None),
            Err(Stop::Broken { sent, expected, came_back }) => {
                (Status::Broken, None, Some(BrokenView { sent, expected, came_back, why: check.why }))
            }
        };
        CheckView { id, group, title: check.title, status, took_ms, skipped, broken }
    }

    /// The line of a check, with its group's title before the first of the group.
    pub fn line(&self) -> String {
        let status = match self.status {
            Status::Holds => coloured("holds  ", "32"),
            Status::Broken => coloured("BROKEN ", "1;31"),
            Status::Skipped => coloured("skipped", "33"),
        };
        let heading = match self.id.ends_with(".1") {
            true => format!("\n{}\n", self.group),
            false => String::new(),
        };
        let why = self.skipped.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{heading}  {:>5}  {status}  {}{why}", self.id, self.title)
    }

    fn details(&self) -> Option<String> {
        let BrokenView { sent, expected, came_back, why } = self.broken.as_ref()?;
        let heading = coloured(&format!("{}  {}", self.id, self.title), "1;31");
        let mut text = format!("\n\n{heading}");
        let hidden = sent.len().saturating_sub(SHOWN_LINES);
        if hidden > 0 {
            text.push_str(&format!("\n  sent       {hidden} more before: --output json lists them all"));
        }
        for (line, place) in sent.iter().skip(hidden).zip(hidden..) {
            text.push_str(&format!("\n  {:9}  {line}", if place == 0 { "sent" } else { "" }));
        }
        text.push_str(&format!("\n  expected   {expected}\n  came back  {came_back}\n  why        {why}"));
        Some(text)
    }
}

/// All checks.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where the participant is.
    pub address: String,
    /// Its name.
    pub name: String,
    /// Whether nothing is broken.
    pub conforms: bool,
    /// How many checks hold.
    pub holds: usize,
    /// How many don't.
    pub broken: usize,
    /// How many could not be made.
    pub skipped: usize,
    /// Each.
    pub checks: Vec<CheckView>,
}

impl Report {
    /// The report of these checks.
    pub fn new(address: String, name: String, checks: Vec<CheckView>) -> Self {
        let count = |status| checks.iter().filter(|check| check.status == status).count();
        let (holds, broken, skipped) = (count(Status::Holds), count(Status::Broken), count(Status::Skipped));
        Report { address, name, conforms: broken == 0, holds, broken, skipped, checks }
    }

    /// What follows the lines: the details of what broke, and the sum of all.
    pub fn summary(&self) -> String {
        let details: String = self.checks.iter().filter_map(CheckView::details).collect();
        let Report { holds, broken, skipped, .. } = self;
        let first = matches!(self.checks.as_slice(), [only] if !self.conforms && only.id == FIRST);
        let rest = if first { "; without this one nothing else can be checked" } else { "" };
        let counts = format!("{} checks: {holds} hold, {broken} broken, {skipped} skipped{rest}", self.checks.len());
        format!("{details}\n\n{}", coloured(&counts, if self.conforms { "32" } else { "1;31" }))
    }
}
