//! Garbage that is collected as early as can be, while processes die: what is collected must not be missed by anyone.
use std::time::{Duration, Instant};

use tests::{Scene, Service, SetUp, System, bystander};

/// Orders live so long at most, so watermarks that stay nowhere behind the clock pass many that are still open.
const TIMEOUT_MS: u64 = 400;
/// Longer than that: whoever comes back finds its transactions at or below every watermark.
const AWAY_FOR: Duration = Duration::from_millis(1_200);
const COLLECTED_WITHIN: Duration = Duration::from_secs(10);

fn set_up() -> SetUp {
    let set_up = System::set_up().coordinators(2).collected_after_ms(0);
    set_up.set(Service::Coordinator, "ASSENT_TRANSACTION_TIMEOUT_MS", TIMEOUT_MS)
}

async fn scene() -> Scene {
    Scene::start(set_up()).await
}

/// The participants that were told END up to a horizon.
async fn told_a_horizon(system: &System) -> usize {
    let mut told = 0;
    for service in Service::PARTICIPANTS {
        let is_told = sqlx::query_scalar::<_, bool>("SELECT ended_unix_ms > 0 FROM log_watermark");
        told += usize::from(is_told.fetch_one(&system.pool(service)).await.unwrap());
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_that_knows_no_horizons_keeps_no_garbage_of_the_others() {
    let mut scene = Scene::start(set_up().participant_too("bystander", &bystander().await)).await;
    let load = scene.load("beside-a-bystander").await;
    tokio::time::sleep(AWAY_FOR).await;
    scene.conclude("a participant that knows no horizons", load, Instant::now()).await;
    scene.system.collected(COLLECTED_WITHIN).await;
    assert_eq!(told_a_horizon(&scene.system).await, 0, "not without the one that knows of none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_comes_back_to_collected_transactions_misses_nothing() {
    let mut scene = scene().await;
    for place in 0..scene.system.servers().len() {
        let name = scene.system.servers()[place].name.clone();
        let load = scene.load(&format!("killed-{name}")).await;
        scene.system.servers()[place].kill();
        tokio::time::sleep(AWAY_FOR).await;
        scene.system.servers()[place].start_healthy().await;
        scene.conclude(&format!("{name} killed, with watermarks at the clock"), load, Instant::now()).await;
    }
    scene.system.collected(COLLECTED_WITHIN).await;
    assert_eq!(told_a_horizon(&scene.system).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_sleeps_past_the_watermark_misses_nothing() {
    let mut scene = scene().await;
    for place in 0..scene.system.servers().len() {
        let name = scene.system.servers()[place].name.clone();
        let load = scene.load(&format!("asleep-{name}")).await;
        scene.system.servers()[place].pause();
        tokio::time::sleep(AWAY_FOR).await;
        scene.system.servers()[place].resume();
        let fault = format!("{name} asleep, with watermarks at the clock");
        scene.conclude(&fault, load, Instant::now()).await;
    }
    scene.system.collected(COLLECTED_WITHIN).await;
}
