//! The kit on a participant in memory: it finds nothing wrong with a sound one, and each planted fault by its check.
mod faults;
mod participant;
mod serve;
mod service;

use std::time::Duration;

use futures::{StreamExt, stream};

use super::books::Books;
use super::checks::GROUPS;
use super::kit::Kit;
use super::plan::Plan;
use super::report::{CheckView, Report, Status};
use super::run;
use faults::{Fault, PLANTS};
use serve::Served;

/// How long the kit waits for an answer; one fault is that none comes.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Faulty participants at one time.
const AT_ONCE: usize = 8;

/// Runs the checks of these numbers on a participant with this fault.
async fn verify(fault: Fault, only: &[&str]) -> Vec<CheckView> {
    let served = Served::start(fault);
    let plan = Plan {
        name: service::NAME.to_owned(),
        branch: b"one seat".to_vec(),
        refused: Some(participant::REFUSED.to_vec()),
        books: Books::Command(format!("cat {}", served.books().display())),
        restart: Some(served.restart_command()),
        watermark_wait_ms: 10_000,
        only: only.iter().map(|number| (*number).to_owned()).collect(),
        setup: None,
    };
    let kit = Kit::connect(plan, &served.address(), TIMEOUT).await.unwrap();
    run::run(&kit, |_| ()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_that_keeps_the_rules_passes_every_check() {
    let checks = verify(Fault::None, &[]).await;
    let ids = |status| checks.iter().filter(|it| it.status == status).map(|it| it.id.as_str()).collect::<Vec<_>>();
    let broken: Vec<_> = checks.iter().filter(|check| check.status == Status::Broken).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    // No health, no reflection, no audit.
    assert_eq!(ids(Status::Skipped), ["1.3", "1.4", "1.5"]);
    let count: usize = GROUPS.iter().map(|group| group.checks.len()).sum();
    assert_eq!(checks.len(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_found_by_its_check_and_explained() {
    let found = stream::iter(PLANTS).map(|(fault, id)| async move { (*fault, *id, verify(*fault, &[*id]).await) });
    let found: Vec<_> = found.buffered(AT_ONCE).collect().await;
    for (fault, id, checks) in found {
        let check = checks.iter().find(|check| check.id == id).unwrap();
        let broken = check.broken.as_ref().unwrap_or_else(|| panic!("{fault:?} is not found by {id}: {checks:#?}"));
        assert!(!broken.sent.is_empty() && broken.expected != broken.came_back, "{fault:?}: {broken:#?}");
        let report = Report::new("here".to_owned(), "seats".to_owned(), checks);
        let told = report.summary();
        assert!(!report.conforms && told.contains(&format!("{id}  ")) && told.contains("why"), "{told}");
    }
}

#[test]
fn every_check_is_seen_to_fail() {
    let ids = GROUPS
        .iter()
        .zip(1..)
        .flat_map(|(group, number)| (1..=group.checks.len()).map(move |check| format!("{number}.{check}")));
    let unseen: Vec<String> = ids.filter(|id| !PLANTS.iter().any(|(_, found)| found == id)).collect();
    // The figures' source, health, reflection and audit need a participant that has them.
    assert_eq!(unseen, ["1.2", "1.3", "1.4", "1.5"]);
}
