//! Coordinators that die or sleep while they drive sagas.
use std::time::{Duration, Instant};

use tests::{Aftermath, Load, Scene, Service, System, until};

/// A lease (1 s by default) that runs out, the next look at abandoned sagas (500 ms), and what is left of them, with the
/// pause before a step is asked again.
const TAKEN_OVER_WITHIN: Duration = Duration::from_millis(3_500);

/// Has sagas stand half way at the first coordinator: the payment, their pivot, is frozen.
async fn half_way(scene: &Scene, name: &str) -> Load {
    let client = scene.clients[0].in_saga_mode();
    let load = Load::start(&[client], 8, name);
    until("some orders are answered", Duration::from_secs(20), async || load.answered() >= 10).await;
    scene.system.server(Service::Payment).pause();
    let sagas = scene.system.pool(Service::Coordinator);
    until("sagas stand half way", Duration::from_secs(5), async || {
        let open = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM open_saga JOIN record USING (transaction_id)
             WHERE state = 1 AND create_time < now() - interval '200 milliseconds'",
        );
        open.fetch_one(&sagas).await.unwrap() >= 6
    })
    .await;
    load
}

async fn conclude(scene: &mut Scene, fault: &str, load: Load) {
    let requests = load.stop().await;
    let client = scene.clients.last().unwrap().in_saga_mode();
    let within = Duration::from_secs(5);
    let up = Instant::now();
    let after = Aftermath::see_later(&scene.system, &client, &mut scene.books, requests, up, within).await;
    after.is_sound(fault);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_coordinator_goes_on_with_the_sagas_of_a_dead_one() {
    let mut scene = Scene::start(System::set_up().coordinators(2)).await;
    let load = half_way(&scene, "left").await;
    scene.system.coordinator(0).kill();
    scene.system.server(Service::Payment).resume();
    load.wind_down();
    let other = scene.clients[1].in_saga_mode();
    let took = other.settled(Duration::from_secs(15)).await;
    println!("the other coordinator ended all sagas {} ms after the death", took.as_millis());
    assert!(took < TAKEN_OVER_WITHIN, "{took:?}");
    conclude(&mut scene, "a coordinator with sagas died", load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_slept_through_its_takeover_harms_no_saga() {
    let mut scene = Scene::start(System::set_up().coordinators(2)).await;
    let load = half_way(&scene, "asleep").await;
    let sleeper = scene.system.coordinator(0);
    sleeper.pause();
    scene.system.server(Service::Payment).resume();
    let other = scene.clients[1].in_saga_mode();
    let took = other.settled(Duration::from_secs(15)).await;
    println!("the other coordinator ended all sagas {} ms after the first fell asleep", took.as_millis());
    // It wakes up with results that it has not read yet, with steps to ask again, and with an epoch that is over.
    sleeper.resume();
    load.wind_down();
    conclude(&mut scene, "a coordinator with sagas slept", load).await;
}
