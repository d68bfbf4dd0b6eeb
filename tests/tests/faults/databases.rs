//! A Postgres that is killed, or hangs, under a service that goes on.
use std::time::{Duration, Instant};

use tests::{Scene, Service, System, confirms};

/// A new database server answers, and the service has found its way to it.
const WORKS_AGAIN_WITHIN: Duration = Duration::from_secs(2);
/// An order's time limit, set here.
const TIMEOUT_MS: u64 = 1_000;
/// Longer than a client may be kept waiting.
const HANGS_FOR: Duration = Duration::from_secs(4);
/// The time limit; then the record is to be aborted, which the coordinator's own database gets 2 s for; and some slack.
const TOLD_WITHIN: Duration = Duration::from_millis(TIMEOUT_MS + 2_000 + 500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_killed_under_load_costs_nothing_but_time() {
    let mut scene = Scene::start(System::set_up()).await;
    for service in Service::ALL {
        let fault = format!("postgres of {} killed", service.name());
        let load = scene.load(&fault.replace(' ', "-")).await;
        scene.system.database(service).kill();
        tokio::time::sleep(Duration::from_millis(700)).await;
        scene.system.database(service).start_again();
        let back = Instant::now();
        let works = confirms(&load, 1).await;
        println!("{fault}: orders are confirmed {} ms after it is back", works.as_millis());
        assert!(works < WORKS_AGAIN_WITHIN, "{fault}: {works:?}");
        scene.conclude(&fault, load, back).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_hangs_longer_than_any_deadline_is_waited_for_in_bounded_time() {
    let set_up = System::set_up().set(Service::Coordinator, "ASSENT_TRANSACTION_TIMEOUT_MS", TIMEOUT_MS);
    let mut scene = Scene::start(set_up).await;
    for service in Service::ALL {
        let fault = format!("postgres of {} hangs", service.name());
        let load = scene.load(&fault.replace(' ', "-")).await;
        scene.system.database(service).pause();
        tokio::time::sleep(HANGS_FOR).await;
        scene.system.database(service).resume();
        let back = Instant::now();
        confirms(&load, 1).await;
        let after = scene.conclude(&fault, load, back).await;
        assert!(after.slowest < TOLD_WITHIN, "{fault}: an answer took {:?}: {}", after.slowest, after.slowest_was);
    }
}
