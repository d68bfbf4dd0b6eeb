//! A closed loop against an OrderService that answers as the test says.
use std::collections::BTreeSet;

use super::*;
use crate::ask::PlaceOrder;
use crate::outcome::Counts;
use crate::shop::{Plan, Shop, Workload};
use crate::testing::{Scripted, overloaded, refused};
use tonic::Status;

/// Runs the loop against `script`.
async fn played(script: fn(usize) -> Result<(), Status>, takes_ms: u64, settings: Settings) -> (Seen, Arc<Scripted>) {
    let (scripted, connections) = Scripted::new(script).taking(Duration::from_millis(takes_ms)).serve().await;
    let shop = Arc::new(Shop::new(&Plan::of_test(Workload::Uniform)).unwrap());
    let (seen, _) = run(&PlaceOrder::over(&connections, &shop), settings, &Watch::default()).await;
    (seen, scripted)
}

fn settings(clients: usize, warm_up_ms: u64, measured_ms: u64) -> Settings {
    Settings { clients, warm_up: Duration::from_millis(warm_up_ms), measured: Duration::from_millis(measured_ms) }
}

#[tokio::test]
async fn every_client_waits_for_its_answer_and_only_the_measured_time_counts() {
    let (seen, scripted) = played(|_| Ok(()), 10, settings(8, 200, 300)).await;
    assert_eq!(scripted.most_under_way(), 8, "all clients at once, and none more than once");
    let asked = scripted.request_ids();
    assert_eq!(asked.iter().collect::<BTreeSet<_>>().len(), asked.len(), "every order has a request id of its own");
    assert_eq!(scripted.client_ids(), BTreeSet::from(["bench".to_owned()]));
    let confirmed = seen.counts.confirmed;
    assert_eq!(seen.counts, Counts { confirmed, ..Counts::default() });
    let asked = u64::try_from(asked.len()).unwrap();
    // At least one round of the warm-up is left out; in 300 ms no client can have more than 30 answers of 10 ms each.
    assert!(0 < confirmed && confirmed + 8 <= asked && confirmed <= 8 * 30, "{confirmed} of {asked}");
    let latency = seen.confirmed.summary().unwrap();
    assert_eq!(latency.count, confirmed);
    assert!(latency.p50_us >= 10_000, "{latency:?}");
    assert_eq!(seen.refused.summary(), None);
}

#[tokio::test]
async fn answers_are_told_apart_from_the_lack_of_one() {
    let script = |number| match number % 5 {
        4 => Err(overloaded()),
        0 => Ok(()),
        1 => Err(refused("OUT_OF_STOCK")),
        2 => Err(Status::aborted("timed out")),
        _ => Err(Status::unavailable("lost")),
    };
    let (seen, _) = played(script, 0, settings(2, 0, 300)).await;
    let Counts { confirmed, refused, overloaded, aborted, unknown, failed } = seen.counts;
    assert!(confirmed > 0 && aborted["Aborted"] > 0 && unknown["Unavailable"] > 0);
    assert_eq!(seen.overloaded.summary().unwrap().count, overloaded["OVERLOADED"]);
    assert!(failed.is_empty());
    assert_eq!(seen.confirmed.summary().unwrap().count, confirmed);
    assert_eq!(seen.refused.summary().unwrap().count, refused["OUT_OF_STOCK"], "a doubt has no latency");
}

#[tokio::test]
async fn a_system_that_is_down_is_not_hammered() {
    let (seen, scripted) = played(|_| Err(Status::unavailable("down")), 0, settings(1, 0, 200)).await;
    let asked = scripted.asked();
    assert!((1..=11).contains(&asked), "{asked} calls in 200 ms"); // 20 ms between two of them
    assert_eq!(seen.counts.confirmed, 0);
}

#[tokio::test]
async fn samples_are_parts_of_the_measured_time_and_lose_nothing() {
    let (_, connections) = Scripted::new(|_| Ok(())).taking(Duration::from_millis(5)).serve().await;
    let shop = Arc::new(Shop::new(&Plan::of_test(Workload::Uniform)).unwrap());
    let asks = PlaceOrder::over(&connections, &shop);
    let every = Duration::from_millis(100);
    let Ran { seen, samples, .. } = sampled(&asks, settings(4, 50, 450), &Watch::default(), every).await;
    let (count, from) = (samples.len(), |place: usize| if place == 0 { 0.0 } else { samples[place - 1].until_seconds });
    // On a busy machine a look comes late, and there is one sample less.
    assert!((2..=4).contains(&count) && (0.449..0.451).contains(&samples[count - 1].until_seconds), "{samples:?}");
    let lasted = |place: usize| samples[place].until_seconds - from(place);
    let answered: f64 = (0..count).map(|place| samples[place].orders_per_second * lasted(place)).sum();
    // What came while the last look was taken is in no sample.
    assert!((answered - seen.answered_meanwhile as f64).abs() <= 4.0, "{answered} of {}", seen.answered_meanwhile);
    assert!(samples.iter().all(|sample| sample.p99_us.is_some_and(|p99_us| p99_us >= 5_000)), "{samples:?}");
}
