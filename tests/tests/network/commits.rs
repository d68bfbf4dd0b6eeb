//! Connections to a database that are reset in the middle of COMMIT, or of a statement that is a local transaction itself, before
//! it arrives or after: whether it was carried out nobody can tell from the error.
use std::time::{Duration, Instant};

use tests::{Scene, Service, System, confirms, until};

/// One COMMIT in so many: a writer gives a batch up when it fails about ten times in a row, which no batch should here.
const ONE_IN: u32 = 5;
/// Resets of each kind.
const ENOUGH: usize = 10;
const WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_reset_in_commit_cost_no_order_and_no_truth() {
    // What is not known is found out, which takes a moment; nobody is to run out of time over it.
    let set_up = System::set_up().proxied().set(Service::Coordinator, "ASSENT_TRANSACTION_TIMEOUT_MS", 10_000);
    let mut scene = Scene::start(set_up).await;
    let names: Vec<String> = scene.system.servers().iter().map(|server| server.name.clone()).collect();
    let each = names.iter().map(std::slice::from_ref);
    for hurt in each.chain([names.as_slice()]) {
        let fault = format!("connections to the postgres of {} reset in COMMIT", hurt.join(", "));
        let load = scene.load(&format!("commit-{}", hurt.join("-"))).await;
        let network = &scene.system.network;
        let before: Vec<(usize, usize)> = hurt.iter().map(|name| network.to_database(name).broken_commits()).collect();
        hurt.iter().for_each(|name| network.to_database(name).break_one_commit_in(ONE_IN));
        let broken = || {
            let now = hurt.iter().map(|name| network.to_database(name).broken_commits());
            now.zip(&before).map(|(now, before)| (now.0 - before.0, now.1 - before.1)).collect::<Vec<_>>()
        };
        until("commits of each kind are broken", WITHIN, async || {
            broken().into_iter().all(|(before, after)| before >= ENOUGH && after >= ENOUGH)
        })
        .await;
        println!("{fault}: {:?} before they arrived and after", broken());
        hurt.iter().for_each(|name| network.to_database(name).break_one_commit_in(0));
        let over = Instant::now();
        confirms(&load, 1).await;
        let after = scene.conclude(&fault, load, over).await;
        assert!(
            after.answers.keys().all(|kind| ["confirmed", "refused"].contains(kind)),
            "{fault}: {:?}",
            after.answers
        );
    }
}
