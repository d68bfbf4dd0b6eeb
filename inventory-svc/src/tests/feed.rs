//! Every movement arrives in the stream once, in the order of its SKU, whatever is missing for a time.
use async_nats::jetstream::{self, Context};
use participant::testing::Nats;
use serde_json::Value;

use super::*;
use crate::feed::{Condition, Feed, Settings};

fn start_feed(nats: &Nats, postgres: &Postgres, name: &str) -> Feed {
    let settings =
        Settings { urls: vec![nats.url()], stream: "ASSENT_STOCK".to_owned(), subject: "assent.stock".to_owned() };
    let feed = Feed::new(Some(settings));
    feed.start(name.to_owned(), participant::postgres::connect_options(&postgres.url(), "feed").unwrap()).unwrap();
    feed
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !is().await {
        assert!(std::time::Instant::now() < deadline, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn broker(nats: &Nats) -> Context {
    jetstream::new(async_nats::connect(nats.url()).await.unwrap())
}

/// The messages so far: subject and body.
async fn messages(context: &Context) -> Vec<(String, Value)> {
    let Ok(mut stream) = context.get_stream("ASSENT_STOCK").await else { return Vec::new() };
    let last = stream.info().await.unwrap().state.last_sequence;
    let mut messages = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.unwrap();
        messages.push((message.subject.to_string(), serde_json::from_slice(&message.payload).unwrap()));
    }
    messages
}

/// Waits until the stream has all movements, and compares it with the ledger.
async fn agree(context: &Context, pool: &Pool) -> Vec<(String, Value)> {
    until("all is passed on", async || store::feed::lag(pool).await.unwrap().behind_count == 0).await;
    let messages = messages(context).await;
    let all = store::stock::list(pool, "", 1_000).await.unwrap();
    for stock in &all {
        let mut ledger = store::ledger::list(pool, &stock.sku, i64::MAX, 10_000).await.unwrap();
        ledger.reverse();
        let told: Vec<_> = messages.iter().filter(|(_, body)| body["sku"] == stock.sku.as_str()).collect();
        let told: Vec<_> = told.iter().map(|(_, body)| (body["sequence"].as_i64(), body["on_hand"].as_i64())).collect();
        let written: Vec<_> =
            ledger.iter().map(|movement| (Some(movement.sequence), Some(movement.after.on_hand))).collect();
        assert_eq!(told, written, "{}", stock.sku);
    }
    let movements: i64 = all.iter().map(|stock| stock.version).sum();
    assert_eq!(i64::try_from(messages.len()).unwrap(), movements);
    messages
}

#[tokio::test]
async fn what_happened_before_and_what_happens_now_arrives_in_order() {
    let (postgres, pool, service) = start().await;
    let Some(nats) = Nats::start() else { return };
    set(&service, "a.b > c*", 10).await.unwrap();
    adjust(&service, "a.b > c*", 5, "delivery-1").await.unwrap();
    let feed = start_feed(&nats, &postgres, "one");
    let order = branch(&[("a.b > c*", 2)]);
    prepare(&Inventory::default(), &pool, std::slice::from_ref(&order)).await;
    commit(&Inventory::default(), &pool, std::slice::from_ref(&order)).await;
    let context = broker(&nats).await;
    let messages = agree(&context, &pool).await;
    assert_eq!(feed.state().now().0, Condition::Relaying);
    assert_eq!(messages[0].0, "assent.stock.a%2Eb%20%3E%20c%2A");
    let kinds: Vec<_> = messages.iter().map(|(_, body)| body["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["counted", "received", "held", "sold"]);
    assert_eq!(messages[1].1["request_id"], "delivery-1");
    assert_eq!(messages[3].1["transaction_id"], order.transaction_id.to_string());
    let expected = serde_json::json!({"held": 2, "on_hand": 15, "available": 13, "quantity": 2, "sequence": 3});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&messages[2].1[field], value, "{field}");
    }
    // Rolled back: nobody hears of it.
    let mut local = pool.begin().await.unwrap();
    Inventory::default().prepare(&mut local, &[branch(&[("a.b > c*", 1)])]).await.unwrap();
    local.rollback().await.unwrap();
    for place in 0..500 {
        set(&service, &format!("sku-{}", place % 50), place).await.unwrap();
    }
    agree(&context, &pool).await;
}

#[tokio::test]
async fn a_broker_that_comes_late_freezes_or_loses_all_is_given_what_it_lacks() {
    let (postgres, pool, service) = start().await;
    let Some(nats) = Nats::stopped() else { return };
    let feed = start_feed(&nats, &postgres, "one");
    until("it fails", async || matches!(feed.state().now().0, Condition::Failing(_))).await;
    for place in 0..20 {
        set(&service, "a", place).await.unwrap();
    }
    assert_eq!(store::feed::lag(&pool).await.unwrap().behind_count, 20);
    nats.start_again();
    agree(&broker(&nats).await, &pool).await;
    nats.pause();
    for place in 0..20 {
        set(&service, "b", place).await.unwrap();
    }
    nats.resume();
    agree(&broker(&nats).await, &pool).await;
    nats.kill();
    nats.forget();
    set(&service, "c", 1).await.unwrap();
    nats.start_again();
    let messages = agree(&broker(&nats).await, &pool).await;
    assert_eq!(messages.len(), 41, "a stream that is new is given all");
}

#[tokio::test]
async fn a_stream_that_others_write_to_or_that_has_lost_its_end_is_completed() {
    let (postgres, pool, service) = start().await;
    let Some(nats) = Nats::start() else { return };
    for place in 0..10 {
        set(&service, ["a", "b"][place % 2], 1).await.unwrap();
    }
    let feed = start_feed(&nats, &postgres, "one");
    let context = broker(&nats).await;
    agree(&context, &pool).await;
    context.publish("assent.stock.stranger", "{}".into()).await.unwrap().await.unwrap();
    set(&service, "a", 7).await.unwrap();
    let after = |sequence: i64| {
        let (pool, context) = (pool.clone(), context.clone());
        async move {
            until("all is passed on", async || store::feed::lag(&pool).await.unwrap().behind_count == 0).await;
            let told = messages(&context).await.into_iter().filter(|(_, body)| body["sku"] == "a");
            let sequences: Vec<_> = told.map(|(_, body)| body["sequence"].as_i64().unwrap()).collect();
            assert_eq!(sequences, (1..=sequence).collect::<Vec<_>>());
        }
    };
    after(6).await;
    // The relay has been told of more than the stream has, as after a crash of the broker's machine.
    until("it relays", async || feed.state().now().0 == Condition::Relaying).await;
    sqlx::query("UPDATE feed_relay SET stream_sequence = 1000").execute(&*pool).await.unwrap();
    sqlx::query("UPDATE feed_cursor SET sequence = 100").execute(&*pool).await.unwrap();
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'feed'";
    sqlx::query(terminate).execute(&*pool).await.unwrap();
    until("the cursors are right again", async || {
        let cursors: Vec<i64> =
            sqlx::query_scalar("SELECT sequence FROM feed_cursor ORDER BY sku").fetch_all(&*pool).await.unwrap();
        cursors == [6, 5]
    })
    .await;
    set(&service, "a", 8).await.unwrap();
    after(7).await;
}

#[tokio::test]
async fn one_passes_on_at_a_time_and_the_other_goes_on_where_it_ended() {
    let (postgres, pool, service) = start().await;
    let Some(nats) = Nats::start() else { return };
    let feeds = ["one", "other"].map(|name| start_feed(&nats, &postgres, name));
    let conditions = || feeds.each_ref().map(|feed| feed.state().now().0);
    until("one relays", async || {
        conditions().contains(&Condition::Relaying) && conditions().contains(&Condition::StandingBy)
    })
    .await;
    let context = broker(&nats).await;
    for turn in 0..6 {
        for place in 0..40 {
            set(&service, &format!("sku-{}", place % 7), place).await.unwrap();
        }
        // Whoever relays loses its connection, now and then in the middle of something.
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted";
        sqlx::query(cut).execute(&*pool).await.unwrap();
        set(&service, "last", turn).await.unwrap();
    }
    agree(&context, &pool).await;
}
