//! Coordinators that die or sleep while another one shares their database.
use std::time::{Duration, Instant};

use tests::{Aftermath, Books, Load, Request, Scene, Service, System, until};

/// A lease (1 s by default) that runs out, the next look at abandoned records (500 ms), and the recovery itself.
const TAKEN_OVER_WITHIN: Duration = Duration::from_millis(2_500);

/// Has orders stand half way at the first coordinator: one participant is frozen, so they are recorded, but not decided.
async fn half_way(scene: &Scene, name: &str) -> Load {
    let load = Load::start(&scene.clients[..1], 8, name);
    until("some orders are answered", Duration::from_secs(20), async || load.answered() >= 10).await;
    scene.system.server(Service::Order).pause();
    let records = scene.system.pool(Service::Coordinator);
    until("orders stand half way", Duration::from_secs(5), async || {
        // Not those of this moment: they may be decided already.
        let staging = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM undecided_record WHERE create_time < now() - interval '200 milliseconds'",
        );
        staging.fetch_one(&records).await.unwrap() >= 6
    })
    .await;
    load
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_coordinator_finishes_what_a_dead_one_left() {
    let mut scene = Scene::start(System::set_up().coordinators(2)).await;
    let load = half_way(&scene, "left").await;
    scene.system.coordinator(0).kill();
    let died = Instant::now();
    scene.system.server(Service::Order).resume();
    load.wind_down();
    let took = scene.clients[1].settled(Duration::from_secs(10)).await;
    println!("the other coordinator finished everything {} ms after the death", died.elapsed().as_millis());
    assert!(took < TAKEN_OVER_WITHIN, "{took:?}");
    // The first one stays dead: clients that don't know ask the second.
    scene.conclude("a coordinator died", load, Instant::now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_slept_through_its_takeover_harms_nothing() {
    let mut scene = Scene::start(System::set_up().coordinators(2)).await;
    let load = half_way(&scene, "asleep").await;
    let sleeper = scene.system.coordinator(0);
    sleeper.pause();
    scene.system.server(Service::Order).resume();
    let took = scene.clients[1].settled(Duration::from_secs(10)).await;
    println!("the other coordinator finished everything {} ms after the first fell asleep", took.as_millis());
    // It wakes up with votes and decisions that it has not read yet, and with a lease that ran out.
    sleeper.resume();
    let woke = Instant::now();
    load.wind_down();
    scene.conclude("a coordinator slept", load, woke).await;
}

/// The server ends the sleeper's transaction 2 s after it fell asleep; the takeover comes on top.
const WRITABLE_AGAIN_WITHIN: Duration = Duration::from_millis(6_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_falls_asleep_in_mid_batch_keeps_its_locks_from_nobody_for_long() {
    let mut scene = Scene::start(System::set_up().coordinators(2)).await;
    let load = Load::start(&scene.clients[..1], 8, "mid-batch");
    let (sleeper, records) = (scene.system.coordinator(0), scene.system.pool(Service::Coordinator));
    until("the first coordinator sleeps within a batch of records", Duration::from_secs(20), async || {
        sleeper.pause();
        let locked = sqlx::query_scalar::<_, bool>(
            "SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid)
             WHERE state = 'idle in transaction' AND application_name = 'coordinator-1'
               AND relation = 'record'::regclass AND mode = 'RowExclusiveLock'",
        );
        let locked = locked.fetch_one(&records).await.unwrap();
        if !locked {
            sleeper.resume();
        }
        locked
    })
    .await;
    let asleep = Instant::now();
    let took = scene.clients[1].settled(Duration::from_secs(20)).await;
    println!(
        "the other coordinator finished everything {} ms after the first fell asleep in a batch",
        took.as_millis()
    );
    assert!(took < WRITABLE_AGAIN_WITHIN, "{took:?}");
    let answer = scene.clients[1].place("mid-batch-other", &Books::basket(0, 1)).await;
    assert!(answer.confirmed().is_some(), "{answer:?} {} ms after", asleep.elapsed().as_millis());
    sleeper.resume();
    let woke = Instant::now();
    let mut requests = load.stop().await;
    requests.push(Request {
        request_id: "mid-batch-other".to_owned(),
        basket: Books::basket(0, 1),
        answers: vec![(answer, Duration::ZERO)],
    });
    let client = &scene.clients[1];
    let after = Aftermath::see(&scene.system, client, &mut scene.books, requests, woke).await;
    after.is_sound("a coordinator slept in mid-batch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_made_through_both_coordinators_while_one_dies_place_one_order_each() {
    let mut scene = Scene::start(System::set_up().coordinators(2)).await;
    for round in 0..3 {
        let load = scene.load(&format!("both-{round}")).await;
        scene.system.coordinator(0).kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        scene.system.coordinator(0).start_healthy().await;
        let up = Instant::now();
        let after = scene.conclude("a coordinator died and came back", load, up).await;
        assert!(after.answers["confirmed"] > 0, "{:?}", after.answers);
    }
}
