//! Runs the checks one after the other, and holds the participant's books against the branches that stand.
use std::time::Instant;

use futures::future::BoxFuture;

use super::books::Figures;
use super::checks::GROUPS;
use super::kit::Kit;
use super::report::{CheckView, Status};
use super::stop::Stop;

/// How a check ends.
pub type Outcome = Result<(), Stop>;

/// Something that must hold.
pub struct Check {
    /// What must hold, in a sentence.
    pub title: &'static str,
    /// What goes wrong where it doesn't.
    pub why: &'static str,
    /// Tries it.
    pub run: for<'a> fn(&'a Kit) -> BoxFuture<'a, Outcome>,
}

/// Checks about one thing.
pub struct Group {
    /// What it is about.
    pub title: &'static str,
    /// The checks.
    pub checks: &'static [Check],
}

/// The check without which no other one can be made.
pub const FIRST: &str = "1.1";

/// Whether a check is wanted: all are, or those of these numbers, or of these groups.
fn is_wanted(only: &[String], id: &str) -> bool {
    let names = |wanted: &String| wanted == id || id.split_once('.').is_some_and(|(group, _)| group == wanted);
    only.is_empty() || id == FIRST || only.iter().any(names)
}

/// Runs the checks; `seen` gets each result as it comes. If the first does not hold, the others say nothing.
pub async fn run(kit: &Kit, mut seen: impl FnMut(&CheckView)) -> Vec<CheckView> {
    let mut views: Vec<CheckView> = Vec::new();
    let mut ledger = Ledger::default();
    for (group, group_number) in GROUPS.iter().zip(1..) {
        for (check, check_number) in group.checks.iter().zip(1..) {
            let id = format!("{group_number}.{check_number}");
            if !is_wanted(&kit.plan.only, &id) {
                continue;
            }
            let begun = Instant::now();
            let outcome = balanced(kit, check, &mut ledger).await;
            let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let view = CheckView::of(id, group.title, check, outcome, took_ms);
            seen(&view);
            views.push(view);
            if views.first().is_some_and(|first| first.status == Status::Broken) {
                return views;
            }
        }
    }
    views
}

/// What is known of the books from one check to the next.
#[derive(Debug, Default)]
struct Ledger {
    /// What one branch holds, once that is known.
    unit: Option<i64>,
    /// The figures after the last check, if it left them as they must be.
    last: Option<Figures>,
}

/// Runs a check; afterwards the books must be those of the branches that it has left, and after these are aborted hold
/// nothing more.
async fn balanced(kit: &Kit, check: &Check, ledger: &mut Ledger) -> Outcome {
    let before = match ledger.last.take() {
        Some(last) => Some(last),
        None => kit.figures().await?,
    };
    let mut outcome = (check.run)(kit).await;
    if let (Ok(()), Some(before)) = (&outcome, before) {
        outcome = weigh(kit, before, &mut ledger.unit).await;
    }
    let (prepared, committed) = kit.counts();
    kit.tidy().await;
    if let (Ok(()), Some(before), Some(unit)) = (&outcome, before, ledger.unit) {
        let expected = Figures { taken: before.taken.saturating_add(committed.saturating_mul(unit)), ..before };
        if prepared > 0 {
            outcome = compare(kit, expected, "after ABORT of what was still prepared").await;
        }
        ledger.last = outcome.is_ok().then_some(expected);
    }
    outcome
}

async fn weigh(kit: &Kit, before: Figures, unit: &mut Option<i64>) -> Outcome {
    let (prepared, committed) = kit.counts();
    if unit.is_none() && prepared == 1 && committed == 0 {
        let held = kit.figures().await?.map_or(0, |now| now.held.saturating_sub(before.held));
        if held <= 0 {
            return Err(kit.broken("a prepared branch holds something", format!("what is held changed by {held}")));
        }
        *unit = Some(held);
    }
    let Some(unit) = *unit else { return Ok(()) };
    let expected = Figures {
        held: before.held.saturating_add(prepared.saturating_mul(unit)),
        taken: before.taken.saturating_add(committed.saturating_mul(unit)),
    };
    compare(kit, expected, &format!("for {prepared} branches prepared and {committed} committed by this check")).await
}

async fn compare(kit: &Kit, expected: Figures, when: &str) -> Outcome {
    match kit.figures().await? {
        Some(now) if now != expected => {
            let words = |figures: Figures| format!("held {}, taken {}", figures.held, figures.taken);
            Err(kit.broken(format!("{} in the books {when}", words(expected)), words(now)))
        }
        _ => Ok(()),
    }
}
