//! An open loop against an OrderService that answers as the test says.
use super::*;
use crate::shop::{Plan, Workload};
use crate::testing::{Scripted, overloaded};

fn phase(orders_per_second: f64, lasts_ms: u64) -> Phase {
    Phase { orders_per_second, lasts: Duration::from_millis(lasts_ms) }
}

async fn played(scripted: Scripted, max_under_way: usize, phases: Vec<Phase>) -> (Vec<Seen>, Arc<Scripted>) {
    let (scripted, connections) = scripted.serve().await;
    let shop = Arc::new(Shop::new(&Plan::of_test(Workload::Uniform)).unwrap());
    let settings = Settings { arrivals: Arrivals::Steady, phases, max_under_way };
    let seen = run(&connections, &shop, &settings, &Watch::default()).await;
    (seen.into_iter().map(|(seen, _)| seen).collect(), scripted)
}

#[tokio::test]
async fn orders_come_at_their_rate_however_long_the_answers_take() {
    let scripted = Scripted::new(|_| Ok(())).taking(Duration::from_millis(400));
    let (seen, scripted) = played(scripted, 1_000, vec![phase(100.0, 300), phase(200.0, 300)]).await;
    // Nobody waits for the answers, which are all there only after the first phase.
    assert_eq!([seen[0].counts.confirmed, seen[1].counts.confirmed], [29, 59]);
    assert_eq!(seen[0].answered_meanwhile, 0);
    assert!(scripted.most_under_way() > 29, "{}", scripted.most_under_way());
    for seen in &seen {
        let latency = seen.confirmed.summary().unwrap();
        assert!(latency.p50_us >= 400_000, "{latency:?}");
        assert_eq!(seen.sent_late.summary().unwrap().count, latency.count);
    }
}

#[tokio::test]
async fn a_latency_counts_from_the_time_at_which_the_order_was_due() {
    // The single thread that sends and serves stands still for a while: nothing is sent, though orders are due.
    let scripted = Scripted::new(|number| {
        if number == 0 {
            std::thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    });
    let (seen, _) = played(scripted, 1_000, vec![phase(100.0, 400)]).await;
    let latency = seen[0].confirmed.summary().unwrap();
    assert_eq!(latency.count, 39);
    assert!(latency.p50_us > 50_000 && latency.max_us >= 250_000, "{latency:?}");
}

#[tokio::test]
async fn what_is_turned_away_or_not_sent_is_no_confirmation() {
    let script = |number| if number % 2 == 0 { Ok(()) } else { Err(overloaded()) };
    let (seen, _) = played(Scripted::new(script), 1_000, vec![phase(200.0, 300)]).await;
    let (confirmed, overloaded) = (seen[0].counts.confirmed, seen[0].counts.overloaded["OVERLOADED"]);
    assert_eq!(confirmed + overloaded, 59);
    assert!(confirmed.abs_diff(overloaded) <= 1);
    assert_eq!(seen[0].overloaded.summary().unwrap().count, overloaded);

    let scripted = Scripted::new(|_| Ok(())).taking(Duration::from_millis(500));
    let (seen, _) = played(scripted, 4, vec![phase(100.0, 300)]).await;
    assert_eq!((seen[0].counts.confirmed, seen[0].counts.failed[NOT_SENT]), (4, 25));
}

#[test]
fn customers_come_independently_and_at_the_rate_on_average() {
    let mut rng = StdRng::seed_from_u64(1);
    let gaps: Vec<f64> = (0..20_000).map(|_| gap(Arrivals::Poisson, 50.0, &mut rng).as_secs_f64()).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    assert!((0.0195..0.0205).contains(&mean), "{mean}");
    assert!((0.95..1.05).contains(&(variance.sqrt() / mean)), "as spread out as it is long on average");
    assert_eq!(gap(Arrivals::Steady, 50.0, &mut rng), Duration::from_millis(20));
}
