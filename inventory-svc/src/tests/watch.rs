//! Whoever watches stock sees each movement once, in order, wherever the stream was cut.
use std::collections::BTreeMap;

use futures::StreamExt;
use proto::assent::inventory::v1::watch_stock_response::Event;
use sqlx::PgConnection;

use super::*;
use crate::domain::Kind;
use crate::store::ledger::Asked;

async fn watch(
    service: &StockService,
    watched: &[(&str, Option<i64>)],
) -> Result<tonic::codegen::BoxStream<api::WatchStockResponse>, Status> {
    let watched = watched
        .iter()
        .map(|(sku, after_sequence)| api::WatchedStock { sku: (*sku).to_owned(), after_sequence: *after_sequence });
    let request = api::WatchStockRequest { watched: watched.collect() };
    Ok(service.watch_stock(Request::new(request)).await?.into_inner())
}

/// The next event, as `SKU is ON_HAND at VERSION` or `SKU SEQUENCE KIND`.
async fn next(events: &mut tonic::codegen::BoxStream<api::WatchStockResponse>) -> String {
    let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await.expect("an event in time");
    match event.unwrap().unwrap().event.unwrap() {
        Event::Item(item) => format!("{} is {} at {}", item.sku, item.on_hand, item.version),
        Event::Movement(movement) => {
            let kind = movement.kind().as_str_name().trim_start_matches("MOVEMENT_KIND_").to_lowercase();
            format!("{} {} {kind}", movement.sku, movement.sequence)
        }
    }
}

#[tokio::test]
async fn a_watcher_sees_what_is_there_and_then_each_movement_once() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 10).await.unwrap();
    let mut events = watch(&service, &[("a", None), ("later", None)]).await.unwrap();
    assert_eq!(next(&mut events).await, "a is 10 at 1");
    adjust(&service, "a", 1, "").await.unwrap();
    assert_eq!(next(&mut events).await, "a 2 received");
    adjust(&service, "later", 1, "").await.unwrap();
    assert_eq!(next(&mut events).await, "later 1 received");
    let order = [branch(&[("a", 1)])];
    prepare(&Inventory::default(), &pool, &order).await;
    assert_eq!(next(&mut events).await, "a 3 held");
    drop(events);
    commit(&Inventory::default(), &pool, &order).await;
    set(&service, "a", 5).await.unwrap();
    let mut resumed = watch(&service, &[("a", Some(2)), ("later", Some(1))]).await.unwrap();
    for expected in ["a 3 held", "a 4 sold", "a 5 counted"] {
        assert_eq!(next(&mut resumed).await, expected);
    }
    for watched in [&[][..], &[("a", None), ("a", None)], &[("a", Some(-1))], &[("", None)]] {
        assert_eq!(watch(&service, watched).await.err().unwrap().code(), Code::InvalidArgument, "{watched:?}");
    }
}

#[tokio::test]
async fn a_watcher_that_reads_nothing_holds_up_nobody_and_misses_nothing() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 10_000).await.unwrap();
    let mut slow = watch(&service, &[("a", Some(0))]).await.unwrap();
    let mut quick = watch(&service, &[("a", None)]).await.unwrap();
    next(&mut quick).await;
    for _ in 0..20 {
        let batch: Vec<_> = (0..20).map(|_| branch(&[("a", 1)])).collect();
        prepare(&Inventory::default(), &pool, &batch).await;
    }
    for sequence in 2..=401 {
        assert_eq!(next(&mut quick).await, format!("a {sequence} held"));
    }
    assert_eq!(next(&mut slow).await, "a 1 counted");
    for sequence in 2..=401 {
        assert_eq!(next(&mut slow).await, format!("a {sequence} held"));
    }
}

#[tokio::test]
async fn what_a_watcher_is_told_is_on_disk_though_it_was_committed_lazily() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 10).await.unwrap();
    for sequence in 1..=20 {
        let mut lazily = pool.begin().await.unwrap();
        sqlx::query("SET LOCAL synchronous_commit TO off").execute(&mut *lazily).await.unwrap();
        let touched = crate::store::stock::touch(&mut lazily, "a").await.unwrap();
        let asked = Asked { kind: Kind::Received, quantity: 0, request_id: "", client_id: "test" };
        crate::store::ledger::write_one(&mut lazily, &asked, touched).await.unwrap();
        lazily.commit().await.unwrap();
        let seen = BTreeMap::from([("a".to_owned(), sequence)]);
        let read = async |connection: &mut PgConnection| crate::store::ledger::news(connection, &seen, 9).await;
        let until: String =
            sqlx::query_scalar("SELECT pg_current_wal_insert_lsn()::text").fetch_one(&pool).await.unwrap();
        assert_eq!(crate::store::durable::read(&pool, read).await.unwrap().len(), 1);
        let is_flushed = "SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn";
        assert!(sqlx::query_scalar::<_, bool>(is_flushed).bind(until).fetch_one(&pool).await.unwrap());
    }
}
