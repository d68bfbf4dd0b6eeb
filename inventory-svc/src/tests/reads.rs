//! What is read of stock is never older than what was written here, and never older than a moment.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use participant::testing::Redis;
use uuid::Uuid;

use super::*;
use crate::reads::{Reads, Settings};

/// SKUs that no other test of this process writes to: all are told to all caches.
fn own(name: &str) -> String {
    format!("{name}-{}", Uuid::new_v4().simple())
}

fn reads(pool: &Pool, max_age_ms: u64, redis: Option<&Redis>) -> Reads {
    let redis = redis.map(|redis| redis::Client::open(redis.url()).unwrap());
    Reads::with(pool.clone(), Settings { max_age: Duration::from_millis(max_age_ms), redis })
}

async fn read(reads: &Reads, sku: &str, min_version: i64) -> Result<(i64, i64), Status> {
    let found = reads.read(&HashMap::from([(sku.to_owned(), min_version)])).await?;
    Ok(found.get(sku).map_or((0, 0), |reading| (reading.stock.version, reading.stock.balance.on_hand)))
}

/// As another process does it: nobody here is told.
async fn write_elsewhere(pool: &Pool, sku: &str) -> i64 {
    let update = "UPDATE stock SET on_hand = on_hand + 1, version = version + 1 WHERE sku = $1 RETURNING version";
    sqlx::query_scalar(update).bind(sku).fetch_one(&**pool).await.unwrap()
}

#[tokio::test]
async fn what_is_read_again_costs_nothing_and_what_was_written_here_is_read_at_once() {
    let (_postgres, pool, service) = start().await;
    let (sku, reads) = (own("a"), reads(&pool, 10_000, None));
    set(&service, &sku, 100).await.unwrap();
    for _ in 0..100 {
        assert_eq!(read(&reads, &sku, 0).await.unwrap(), (1, 100));
    }
    assert_eq!(reads.questions(), 1);
    let mut questions = 1;
    for delta in 1..=200 {
        let version = adjust(&service, &sku, 1, "").await.unwrap().version;
        assert_eq!(read(&reads, &sku, 0).await.unwrap(), (version, 100 + delta));
        assert_eq!(read(&reads, &sku, 0).await.unwrap(), (version, 100 + delta));
        questions += 1;
    }
    assert_eq!(reads.questions(), questions);
    // Batches tell it too, before they are committed: until then the old is true, and is not kept.
    let (inventory, order) = (Inventory::default(), [branch(&[(&sku, 1)])]);
    let mut local = pool.begin().await.unwrap();
    inventory.prepare(&mut local, &order).await.unwrap();
    assert_eq!(read(&reads, &sku, 0).await.unwrap().0, 201);
    local.commit().await.unwrap();
    assert_eq!(read(&reads, &sku, 0).await.unwrap().0, 202);
    // What is rolled back was never there.
    let mut local = pool.begin().await.unwrap();
    inventory.prepare(&mut local, &order).await.unwrap();
    local.rollback().await.unwrap();
    assert_eq!(read(&reads, &sku, 0).await.unwrap().0, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_less_than_was_written_while_many_read_and_write() {
    let (_postgres, pool, service) = start().await;
    let (sku, reads) = (own("a"), Arc::new(reads(&pool, 60_000, None)));
    set(&service, &sku, 0).await.unwrap();
    let readers = (0..4).map(|_| {
        let (sku, reads) = (sku.clone(), reads.clone());
        tokio::spawn(async move {
            let mut last = 0;
            while last < 300 {
                let (version, _) = read(&reads, &sku, 0).await.unwrap();
                assert!(version >= last, "{version} after {last}");
                last = version;
                tokio::task::yield_now().await;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for _ in 0..300 {
        let version = adjust(&service, &sku, 1, "").await.unwrap().version;
        let (seen, _) = read(&reads, &sku, 0).await.unwrap();
        assert!(seen >= version, "{seen} was read after {version} was written");
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn what_another_process_writes_is_read_when_a_reading_is_old_or_when_it_is_asked_for() {
    let (_postgres, pool, service) = start().await;
    let (sku, reads) = (own("a"), reads(&pool, 300, None));
    set(&service, &sku, 1).await.unwrap();
    assert_eq!(read(&reads, &sku, 0).await.unwrap().0, 1);
    let written = Instant::now();
    write_elsewhere(&pool, &sku).await;
    while read(&reads, &sku, 0).await.unwrap().0 < 2 {
        assert!(written.elapsed() < Duration::from_millis(1_000), "a reading is kept too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let version = write_elsewhere(&pool, &sku).await;
    assert_eq!(read(&reads, &sku, version).await.unwrap().0, version);
    // One that is not there yet is waited for.
    let (pool, of) = (pool.clone(), sku.clone());
    let later = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        write_elsewhere(&pool, &of).await
    });
    assert_eq!(read(&reads, &sku, version + 1).await.unwrap().0, version + 1);
    later.await.unwrap();
    let asked = Instant::now();
    let status = read(&reads, &sku, version + 2).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unavailable, "VERSION_NOT_REACHED".to_owned()));
    assert!(asked.elapsed() < Duration::from_secs(3));
    assert!(read(&reads, "nowhere", 1).await.is_err());
    assert_eq!(read(&reads, "nowhere", 0).await.unwrap(), (0, 0));
}

#[tokio::test]
async fn a_redis_helps_others_and_is_never_needed_whether_it_is_killed_or_frozen() {
    let (_postgres, pool, service) = start().await;
    let Some(redis) = Redis::start() else { return };
    let (sku, one) = (own("a"), reads(&pool, 10_000, Some(&redis)));
    set(&service, &sku, 5).await.unwrap();
    assert_eq!(read(&one, &sku, 0).await.unwrap(), (1, 5));
    // What one has loaded another need not; until it is there it asks the database, as ever.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let other = reads(&pool, 10_000, Some(&redis));
        assert_eq!(read(&other, &sku, 0).await.unwrap(), (1, 5));
        if other.questions() == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "nothing comes from Redis");
    }
    // Redis has the old one for long, but what was written here is known.
    let other = reads(&pool, 10_000, Some(&redis));
    let version = adjust(&service, &sku, 1, "").await.unwrap().version;
    assert_eq!(read(&other, &sku, 0).await.unwrap(), (version, 6));
    let elsewhere = write_elsewhere(&pool, &sku).await;
    assert_eq!(read(&other, &sku, elsewhere).await.unwrap().0, elsewhere);

    let hurt = async |what: &str| {
        for _ in 0..30 {
            let version = adjust(&service, &sku, 1, "").await.unwrap().version;
            let asked = Instant::now();
            assert_eq!(read(&other, &sku, 0).await.unwrap().0, version, "{what}");
            assert_eq!(read(&one, &sku, version).await.unwrap().0, version, "{what}");
            assert!(asked.elapsed() < Duration::from_millis(1_000), "{what}: {:?}", asked.elapsed());
        }
    };
    hurt("Redis is there").await;
    redis.pause();
    hurt("Redis is frozen").await;
    redis.resume();
    hurt("Redis goes on").await;
    redis.kill();
    hurt("Redis is dead").await;
    redis.start_again();
    hurt("Redis is back, and has forgotten").await;
}

#[tokio::test]
async fn a_thousand_are_read_at_a_time_with_what_a_page_says_of_each() {
    let (_postgres, pool, service) = start().await;
    let prefix = own("p");
    let sku = |number: usize| format!("{prefix}-{number}");
    sqlx::query("INSERT INTO stock (sku, on_hand) SELECT $1 || '-' || n, n FROM generate_series(0, 997) n")
        .bind(&prefix)
        .execute(&*pool)
        .await
        .unwrap();
    let threshold = async |sku: String, threshold: i64| {
        let request = api::SetLowStockThresholdRequest { sku, threshold };
        service.set_low_stock_threshold(Request::new(request)).await
    };
    let batch = async |skus: Vec<String>, view: api::StockView| {
        let wanted = skus.into_iter().map(|sku| api::WantedStock { sku, min_version: 0 }).collect();
        let request = api::BatchGetStockRequest { wanted, view: view.into() };
        service.batch_get_stock(Request::new(request)).await.map(tonic::Response::into_inner)
    };
    let all: Vec<String> = (0..1_000).map(sku).collect();
    let answer = batch(all.clone(), api::StockView::Unspecified).await.unwrap();
    assert_eq!(answer.unknown_skus, [sku(998), sku(999)]);
    assert_eq!(answer.readings.len(), 998);
    assert!(answer.readings.iter().all(|reading| reading.available.is_none() && reading.version == 1));
    assert_eq!(answer.readings[0].status(), api::StockStatus::OutOfStock);
    assert_eq!(answer.readings[5].status(), api::StockStatus::InStock);
    // How it is shown changes at once.
    threshold(sku(5), 5).await.unwrap();
    let answer = batch(vec![sku(5), sku(6)], api::StockView::Full).await.unwrap();
    assert_eq!(answer.readings[0].status(), api::StockStatus::LowStock);
    assert_eq!((answer.readings[0].available, answer.readings[1].status()), (Some(5), api::StockStatus::InStock));
    threshold(sku(5), 0).await.unwrap();
    let one = api::GetStockRequest { sku: sku(5), ..Default::default() };
    let one = service.get_stock(Request::new(one)).await.unwrap().into_inner();
    assert_eq!((one.status(), one.low_stock_threshold), (api::StockStatus::InStock, 0));
    assert!(one.as_of.is_some());

    let status = threshold(sku(999), 1).await.unwrap_err();
    assert_eq!(reason(&status), (Code::NotFound, "UNKNOWN_SKU".to_owned()));
    assert_eq!(threshold(sku(5), -1).await.unwrap_err().code(), Code::InvalidArgument);
    let too_many = (0..1_001).map(sku).collect();
    for wrong in [Vec::new(), too_many, vec![sku(1), sku(1)], vec![String::new()]] {
        let status = batch(wrong, api::StockView::Full).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    let both =
        api::GetStockRequest { sku: sku(5), read_time: Some(std::time::SystemTime::now().into()), min_version: 1 };
    assert_eq!(service.get_stock(Request::new(both)).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn how_many_readings_a_second() {
    let (_postgres, pool, service) = start().await;
    let sku = own("a");
    set(&service, &sku, 5).await.unwrap();
    for max_age_ms in [0, 250] {
        let reads = Arc::new(reads(&pool, max_age_ms, None));
        let began = Instant::now();
        let readers = (0..16).map(|_| {
            let (reads, sku) = (reads.clone(), sku.clone());
            tokio::spawn(async move {
                let mut count = 0_u64;
                while began.elapsed() < Duration::from_secs(3) {
                    read(&reads, &sku, 0).await.unwrap();
                    count += 1;
                    if count.is_multiple_of(64) {
                        tokio::task::yield_now().await;
                    }
                }
                count
            })
        });
        let mut count = 0;
        for reader in readers.collect::<Vec<_>>() {
            count += reader.await.unwrap();
        }
        println!("kept for {max_age_ms} ms: {} readings/s, {} questions", count / 3, reads.questions());
    }
}
