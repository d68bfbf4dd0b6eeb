//! Participants that are down for long, or frozen past every deadline, while orders keep coming.
use std::time::{Duration, Instant};

use tests::{CLIENTS, Scene, Service, System, confirms};

const DOWN_FOR: Duration = Duration::from_secs(10);
/// What an order may take while a participant is down: nothing answers at its port, so that is known at once.
const DOWN_IS_TOLD_WITHIN: Duration = Duration::from_millis(1_500);
/// What an order may take while a participant is frozen: its own time limit, set here, and what writing down that it is
/// given up may take, as long as that is tried (2 s; some milliseconds where the machine is not busy).
const TIMEOUT_MS: u64 = 1_000;
const FROZEN_IS_TOLD_WITHIN: Duration = Duration::from_millis(TIMEOUT_MS + 2_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_refused_in_bounded_time_while_a_participant_is_down_for_ten_seconds() {
    let down = Service::PARTICIPANTS.map(|service| async move {
        let mut scene = Scene::start(System::set_up()).await;
        let load = scene.load("down").await;
        scene.system.server(service).kill();
        let confirmed = load.confirmed();
        tokio::time::sleep(DOWN_FOR).await;
        nothing_is_held(&scene, service).await;
        assert!(load.confirmed() <= confirmed + CLIENTS, "orders were confirmed without {}", service.name());
        scene.system.server(service).start_healthy().await;
        let up = Instant::now();
        confirms(&load, 1).await;
        let after = scene.conclude(&format!("{} down for 10 s", service.name()), load, up).await;
        assert!(after.answers["aborted"] > 100, "{:?}", after.answers);
        assert!(after.slowest < DOWN_IS_TOLD_WITHIN, "an answer took {:?}: {}", after.slowest, after.slowest_was);
    });
    futures::future::join_all(down).await;
}

/// Of orders that were given up nothing is held where that can be told: only those of this moment may be.
async fn nothing_is_held(scene: &Scene, down: Service) {
    for service in Service::PARTICIPANTS.into_iter().filter(|service| *service != down) {
        let held = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM branch_in_doubt WHERE create_time < now() - interval '1 second'",
        );
        let held = held.fetch_one(&scene.system.pool(service)).await.unwrap();
        assert_eq!(held, 0, "{} still holds for orders that were given up", service.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_frozen_past_every_deadline_is_met_by_fences_when_it_goes_on() {
    let set_up = System::set_up().set(Service::Coordinator, "ASSENT_TRANSACTION_TIMEOUT_MS", TIMEOUT_MS);
    let mut scene = Scene::start(set_up).await;
    for service in Service::PARTICIPANTS {
        let fault = format!("{} frozen for 3 s", service.name());
        let load = scene.load(&fault.replace(' ', "-")).await;
        scene.system.server(service).pause();
        tokio::time::sleep(Duration::from_secs(3)).await;
        scene.system.server(service).resume();
        let awake = Instant::now();
        confirms(&load, 1).await;
        let after = scene.conclude(&fault, load, awake).await;
        assert!(after.answers["aborted"] > 0, "{:?}", after.answers);
        assert!(
            after.slowest < FROZEN_IS_TOLD_WITHIN,
            "{fault}: an answer took {:?}: {}",
            after.slowest,
            after.slowest_was
        );
    }
}
