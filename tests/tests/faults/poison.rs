//! Orders that fail the batch they are in: those around them are placed all the same, and hardly later.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tests::{BALANCE_MINOR, Basket, Client, Request, STOCK, Scene, Service, System};

/// Clients at work at one time: that many orders may share a batch.
const CLIENTS: usize = 48;
/// Orders with poisonous ones among them, and as many without.
const ORDERS: usize = 2_000;
/// One order in so many is poisonous.
const ONE_IN: usize = 100;
/// In the way of nobody but who orders it, pays with it.
const POISON_SKU: &str = "sku-poison";
const POISON_PAYER: &str = "account-poison";
const POISON_CUSTOMER: &str = "account-poison-order";

/// No valid order fails a batch, so the tables are made to refuse some.
async fn poison(system: &System) {
    let poisons = [
        (Service::Inventory, "ALTER TABLE stock ADD CHECK (sku <> 'sku-poison' OR held = 0)"),
        (Service::Payment, "ALTER TABLE account ADD CHECK (account <> 'account-poison' OR held_minor = 0)"),
        (Service::Order, "ALTER TABLE orders ADD CHECK (account <> 'account-poison-order')"),
    ];
    for (service, poison) in poisons {
        sqlx::query(poison).execute(&system.pool(service)).await.unwrap();
    }
}

/// An order: its request id, its basket, and the kind of answer that it must get, at once.
fn order(name: &str, number: usize, poisonous: bool) -> (String, Basket, &'static str) {
    let sku = format!("sku-{}", number % 12);
    let own = format!("{name}-{number}");
    let good = Basket::of(&format!("account-{}", number % 6)).line(&sku, 1, 250);
    if !poisonous || !number.is_multiple_of(ONE_IN) {
        return (own, good, "confirmed");
    }
    match number / ONE_IN % 8 {
        // These three fail their batch.
        0 => (own, good.line(POISON_SKU, 1, 1), "aborted"),
        1 => (own, Basket::of(POISON_PAYER).line(&sku, 1, 250), "aborted"),
        2 => (own, Basket::of(POISON_CUSTOMER).line(&sku, 1, 250), "aborted"),
        // The others are as near to that as the services let anybody come. The largest quantity and sum that there can be.
        3 => (own, good.line(&sku, 1_000_000_000, 9_000_000_000), "refused"),
        4 => (own, good.line("sku-unheard-of", 1, 1), "refused"),
        5 => (own, Basket::of("account-unheard-of").line(&sku, 1, 1), "refused"),
        6 => (own, (0..199).fold(good, |basket, line| basket.line(&format!("sku-{}", line % 12), 1, 1)), "confirmed"),
        // Long since answered, with another content.
        _ => (format!("{name}-{}", number - 699), good.line(&sku, 1, 1), "other"),
    }
}

/// Places the orders, so many at one time.
async fn place(client: &Client, name: &str, count: usize, poisonous: bool) -> Vec<(Request, &'static str)> {
    let next = Arc::new(AtomicUsize::new(0));
    let worker = |_| async {
        let mut placed = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return placed;
            }
            let (request_id, basket, expected) = order(name, number, poisonous);
            let began = Instant::now();
            let answer = client.place(&request_id, &basket).await;
            placed.push((Request { request_id, basket, answers: vec![(answer, began.elapsed())] }, expected));
        }
    };
    join_all((0..CLIENTS).map(worker)).await.into_iter().flatten().collect()
}

/// The time within which that share of the ordinary orders was answered.
fn within(placed: &[(Request, &'static str)], percent: usize) -> Duration {
    let ordinary = placed.iter().map(|(request, _)| request).filter(|request| request.basket.lines.len() == 1);
    let mut took: Vec<Duration> = ordinary.map(Request::slowest).collect();
    took.sort_unstable();
    took[took.len() * percent / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_order_in_a_hundred_that_fails_its_batch_costs_the_others_moments_at_most() {
    let set_up = System::set_up().set(Service::Coordinator, "ASSENT_TRANSACTION_TIMEOUT_MS", 10_000);
    let mut scene = Scene::start(set_up).await;
    let client = scene.clients[0].clone();
    client.set_stock(POISON_SKU, STOCK).await;
    client.open_account(POISON_PAYER, BALANCE_MINOR).await;
    client.open_account(POISON_CUSTOMER, BALANCE_MINOR).await;
    poison(&scene.system).await;
    // The first ones are slower, with poisonous ones or without.
    let warm = place(&client, "warm", ORDERS / 4, false).await;
    let without = place(&client, "without", ORDERS, false).await;
    let with = place(&client, "with", ORDERS, true).await;
    for percent in [50, 99] {
        println!(
            "{percent} % of ordinary orders within {:?}, {:?} beside poisonous ones",
            within(&without, percent),
            within(&with, percent)
        );
    }
    for (request, expected) in warm.iter().chain(&without).chain(&with) {
        assert!(request.answers.iter().all(|(answer, _)| answer.kind() == *expected), "not {expected}: {request:?}");
    }
    assert!(within(&with, 99) < within(&without, 99) * 5 + Duration::from_millis(500));
    let log = scene.system.server(Service::Inventory).log();
    assert!(log.contains("a batch failed; trying its halves"), "no batch has failed:\n{log}");
    let told = warm
        .into_iter()
        .chain(without)
        .chain(with)
        .filter(|(_, expected)| *expected != "other")
        .map(|(request, _)| request);
    scene.conclude_with("one poisonous order in a hundred", told.collect(), Instant::now()).await;
}
