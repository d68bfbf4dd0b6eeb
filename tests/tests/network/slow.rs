//! A network that delivers everything, late.
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use participant::testing::{Proxy, Way};
use tests::{Scene, Service, System, confirms};

/// Each way, between continents on a bad day.
const FAR_MS: RangeInclusive<u64> = 50..=300;
/// Each way, to a database in the next building; a batch goes back and forth about seven times.
const NEAR_MS: RangeInclusive<u64> = 5..=25;

fn delay<'a>(links: impl Iterator<Item = &'a Proxy>, by_ms: RangeInclusive<u64>) {
    for link in links {
        Way::BOTH.into_iter().for_each(|way| link.delay(way, by_ms.clone()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_links_cost_time_and_no_order() {
    let set_up = System::set_up().proxied().set(Service::Coordinator, "ASSENT_TRANSACTION_TIMEOUT_MS", 10_000);
    let mut scene = Scene::start(set_up).await;
    for fault in ["participants 50 to 300 ms away", "databases 5 to 25 ms away"] {
        let network = &scene.system.network;
        match fault.starts_with("participants") {
            true => {
                delay(Service::PARTICIPANTS.iter().flat_map(|it| network.between("coordinator-1", it.name())), FAR_MS)
            }
            false => delay(scene.system.servers().iter().map(|server| network.to_database(&server.name)), NEAR_MS),
        }
        let load = scene.load(&fault.replace(' ', "-")).await;
        confirms(&load, 20).await;
        // Every order was placed on slow links; the decisions of the last ones may follow on fast ones.
        let requests = load.stop().await;
        network.all().for_each(Proxy::open);
        let after = scene.conclude_with(fault, requests, Instant::now()).await;
        assert!(
            after.answers.keys().all(|kind| ["confirmed", "refused"].contains(kind)),
            "{fault}: {:?}",
            after.answers
        );
    }
}

/// An order's time limit, set here where the links are too slow for most.
const TIMEOUT_MS: u64 = 1_000;
/// The time limit; then the record is to be aborted, which the coordinator's own database gets 2 s for; and some slack.
const TOLD_WITHIN: Duration = Duration::from_millis(TIMEOUT_MS + 2_000 + 500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_too_slow_for_leases_and_limits_cost_orders_and_no_truth() {
    let set_up = System::set_up().proxied().coordinators(2);
    let set_up = set_up.set(Service::Coordinator, "ASSENT_TRANSACTION_TIMEOUT_MS", TIMEOUT_MS);
    let mut scene = Scene::start(set_up).await;
    let load = scene.load("everything-far").await;
    delay(scene.system.network.all(), FAR_MS);
    // Coordinators take each other for dead meanwhile, and recover what the other one drives.
    tokio::time::sleep(Duration::from_secs(5)).await;
    scene.system.network.all().for_each(Proxy::open);
    let healed = Instant::now();
    confirms(&load, 1).await;
    let after = scene.conclude("everything 50 to 300 ms away", load, healed).await;
    assert!(after.slowest < TOLD_WITHIN, "an answer took {:?}: {}", after.slowest, after.slowest_was);
}
