//! What processes tell Prometheus.
use std::time::Duration;

use participant::testing::Port;
use tests::{Basket, Service, System, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A figure, by its name and labels; none if it is not told, or nobody answers.
async fn figure(port: &Port, name: &str) -> Option<f64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port.number())).await.ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_votes_batches_what_is_in_doubt_and_a_database_that_is_away() {
    let (coordinator, payment) = (Port::reserve(), Port::reserve());
    let at = |port: &Port| format!("127.0.0.1:{}", port.number());
    let set_up = System::set_up().set(Service::Coordinator, "ASSENT_METRICS", at(&coordinator));
    let system = set_up.set(Service::Payment, "ASSENT_METRICS", at(&payment)).start().await;
    let client = system.client();
    client.set_stock("mug", 10).await;
    client.open_account("ann", 1_000).await;
    let order = |pence| Basket::of("ann").line("mug", 1, pence);
    assert!(client.place("paid", &order(400)).await.confirmed().is_some());
    assert!(client.place("refused", &order(700)).await.confirmed().is_none());
    client.settled(Duration::from_secs(5)).await;
    for (name, least) in [
        ("assent_votes_total{vote=\"yes\"}", 1.0),
        ("assent_votes_total{vote=\"no\"}", 1.0),
        ("assent_batches_total", 2.0),
        ("assent_batch_entries_total", 2.0),
        ("assent_batch_microseconds_total", 1.0),
    ] {
        let value = figure(&payment, name).await;
        assert!(value.is_some_and(|value| value >= least), "{name}: {value:?}");
    }
    for port in [&coordinator, &payment] {
        assert_eq!(figure(port, "assent_in_doubt").await, Some(0.0));
        assert_eq!(figure(port, "assent_database_up").await, Some(1.0));
    }
    // Voted yes, and its coordinator is gone before anybody is told.
    system.server(Service::Coordinator).kill();
    system.server(Service::Coordinator).start_with(&[("ASSENT_CRASH_POINT", "decide.before_answer")]);
    system.server(Service::Coordinator).healthy().await;
    let _ = client.place("in-doubt", &order(100)).await;
    until("something is in doubt", Duration::from_secs(10), async || {
        figure(&payment, "assent_in_doubt").await == Some(1.0)
            && figure(&payment, "assent_in_doubt_oldest_seconds").await.is_some_and(|age| age > 0.1)
    })
    .await;
    system.database(Service::Payment).kill();
    until("a database that is away is told", Duration::from_secs(20), async || {
        figure(&payment, "assent_database_up").await == Some(0.0)
    })
    .await;
}
