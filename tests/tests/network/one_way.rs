//! Requests that arrive while their answers are lost, and requests that are lost themselves.
use std::time::{Duration, Instant};

use participant::testing::{Proxy, Way};
use tests::{CLIENTS, Scene, Service, System, confirms};

/// An order's time limit, set here.
const TIMEOUT_MS: u64 = 1_000;
/// Longer than that.
const LASTS: Duration = Duration::from_millis(1_300);
/// The time limit; then the record is to be aborted, which the coordinator's own database gets 2 s for; and some slack.
const TOLD_WITHIN: Duration = Duration::from_millis(TIMEOUT_MS + 2_000 + 500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_lost_leave_no_wrong_answer() {
    each_link_loses(Way::Back, "answers").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_lost_leave_no_wrong_answer() {
    each_link_loses(Way::There, "requests").await;
}

async fn each_link_loses(way: Way, what: &str) {
    let set_up = System::set_up().proxied().set(Service::Coordinator, "ASSENT_TRANSACTION_TIMEOUT_MS", TIMEOUT_MS);
    let mut scene = Scene::start(set_up).await;
    let coordinator = scene.system.server(Service::Coordinator).name.clone();
    for service in Service::PARTICIPANTS {
        let fault = format!("{what} lost between coordinator and {}", service.name());
        loses(&mut scene, way, &fault, |scene| scene.system.network.between(&coordinator, service.name()).collect())
            .await;
    }
    for service in Service::ALL {
        let fault = format!("{what} lost between {} and its postgres", service.name());
        let name = scene.system.server(service).name.clone();
        loses(&mut scene, way, &fault, |scene| vec![scene.system.network.to_database(&name)]).await;
    }
}

async fn loses(scene: &mut Scene, way: Way, fault: &str, links: impl Fn(&Scene) -> Vec<&Proxy>) {
    let load = scene.load(&fault.replace(' ', "-")).await;
    links(scene).iter().for_each(|link| link.hold(way));
    let confirmed = load.confirmed();
    tokio::time::sleep(LASTS).await;
    // Those that were all but confirmed.
    assert!(load.confirmed() <= confirmed + CLIENTS, "{fault}: orders were confirmed meanwhile");
    for link in links(scene) {
        // What did not arrive never will.
        link.reset();
        link.open();
    }
    let healed = Instant::now();
    let works = confirms(&load, 1).await;
    println!("{fault}: orders are confirmed {} ms after it is over", works.as_millis());
    let after = scene.conclude(fault, load, healed).await;
    assert!(after.slowest < TOLD_WITHIN, "{fault}: an answer took {:?}: {}", after.slowest, after.slowest_was);
}
