//! Restarts in order, one process after the other, as in an upgrade.
use std::time::Instant;

use tests::{Answer, Scene, System, confirms};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_gives_only_answers_that_a_client_can_act_on() {
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
    let up = Instant::now();
    let requests = load.stop().await;
    for (answer, _) in requests.iter().flat_map(|request| &request.answers) {
        // Refused because it can't be had, given up so that it may be placed again, or to be repeated: nothing else.
        let fine = match answer {
            Answer::Confirmed { .. } | Answer::Unknown { .. } => true,
            Answer::Refused { reason, .. } => ["OUT_OF_STOCK", "INSUFFICIENT_FUNDS"].contains(&reason.as_str()),
            Answer::Aborted { cause, .. } => ["PARTICIPANT_UNAVAILABLE", "RECOVERED"].contains(&cause.as_str()),
            Answer::Other { .. } => false,
        };
        assert!(fine, "{answer:?}");
    }
    scene.conclude_with("a rolling restart", requests, up).await;
}
