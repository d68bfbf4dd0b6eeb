//! Restarts in order, one process after the other, as in an upgrade.
use std::time::Instant;

use tests::{Scene, System, confirms};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_loses_nothing() {
    let mut scene = Scene::start(System::set_up().coordinators(2)).await;
    let load = scene.load("rolling").await;
    for server in scene.system.servers() {
        let began = Instant::now();
        server.stop().await;
        let stopped = began.elapsed();
        server.start_healthy().await;
        println!("{}: stopped in {} ms, back in {} ms", server.name, stopped.as_millis(), began.elapsed().as_millis());
        confirms(&load, 5).await;
    }
    scene.conclude("a rolling restart", load, Instant::now()).await;
}
