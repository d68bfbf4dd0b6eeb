//! A Postgres whose disk is full: it can't write its log, dies of that, and can't come up before there is room again.
use std::io::Write;
use std::time::{Duration, Instant};

use participant::testing::{Disk, Postgres};
use sqlx::{Connection, PgConnection};
use tests::{Scene, Service, System, confirms, until};

/// Room for a cluster, its log, and the orders of the load.
const DISK_MEGABYTES: u32 = 40;
/// An order's time limit, set here.
const TIMEOUT_MS: u64 = 1_000;
/// The time limit; then the record is to be aborted, which the coordinator's own database gets 2 s for; and some slack.
const TOLD_WITHIN: Duration = Duration::from_millis(TIMEOUT_MS + 2_000 + 500);
/// Longer than the time limit.
const FULL_FOR: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_whose_disk_is_full_costs_orders_and_no_truth() {
    if let Err(why) = Disk::mount(1) {
        // Not by a macro: what those print of a test that passes is not shown.
        let test = "a_postgres_whose_disk_is_full_costs_orders_and_no_truth";
        writeln!(std::io::stderr(), "SKIPPED {test}: no disk can be mounted here: {why}").unwrap();
        return;
    }
    let set_up = System::set_up().on_disks_of(DISK_MEGABYTES);
    let set_up = set_up.set(Service::Coordinator, "ASSENT_TRANSACTION_TIMEOUT_MS", TIMEOUT_MS);
    // A record whose lazy end was lost in the crash waits for its deadline and two of these.
    let mut scene = Scene::start(set_up.set(Service::Coordinator, "ASSENT_LEASE_MS", 400)).await;
    for service in Service::ALL {
        let fault = format!("disk of the postgres of {} full", service.name());
        let load = scene.load(&fault.replace(' ', "-")).await;
        let database = scene.system.database(service);
        stays_full(&scene, service).await;
        database.disk().expect("its own disk").clear();
        comes_up(database, &scene, service).await;
        let back = Instant::now();
        confirms(&load, 1).await;
        let after = scene.conclude(&fault, load, back).await;
        // The coordinator's own orders may all be saved by who recovers them.
        assert!(after.hurt() > 0 || service == Service::Coordinator, "{fault}: {:?}", after.answers);
        assert!(after.slowest < TOLD_WITHIN, "{fault}: an answer took {:?}: {}", after.slowest, after.slowest_was);
    }
}

/// Takes the room, has Postgres need more until it panics, and goes on with that for a while.
async fn stays_full(scene: &Scene, service: Service) {
    let database = scene.system.database(service);
    let needs_more = async || {
        database.disk().expect("its own disk").fill();
        let _ = tokio::time::timeout(Duration::from_millis(200), switches(scene, service)).await;
    };
    let panics = || database.log().matches("PANIC").count();
    let before = panics();
    until("Postgres panics", Duration::from_secs(20), async || {
        needs_more().await;
        panics() > before
    })
    .await;
    assert!(database.log().contains("No space left on device"), "{}", database.log());
    let full = Instant::now();
    while full.elapsed() < FULL_FOR {
        needs_more().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until it can be written to; starts it again if it has given up.
async fn comes_up(database: &Postgres, scene: &Scene, service: Service) {
    until("Postgres is up", Duration::from_secs(20), async || {
        if database.ended() {
            database.kill();
            database.start_again();
        }
        matches!(tokio::time::timeout(Duration::from_secs(1), switches(scene, service)).await, Ok(Ok(_)))
    })
    .await;
}

/// Has the log go on in its next file, which may have to be made.
async fn switches(scene: &Scene, service: Service) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(&scene.system.database(service).url()).await?;
    sqlx::query("SELECT pg_switch_wal()").execute(&mut connection).await.map(|_| ())
}
