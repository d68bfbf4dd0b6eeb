//! What every strategy promises, whatever happens to its processes.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tests::until;

use crate::shop::{Shop, Voted, transaction};

const UNITS: i64 = 100;
const BUYERS: usize = 200;
/// Locks run out while their holder is frozen, and everybody who waits for one gives up in time.
const SHORT_LOCKS: [(&str, &str); 2] = [("ASSENT_LOCK_TTL_MS", "200"), ("ASSENT_LOCK_WAIT_MS", "1000")];

/// Buyers at both processes at once; meanwhile one process is killed and comes back, the other is frozen for longer than
/// a lock lives, and the lock server forgets or loses everything.
async fn two_hundred_buyers_of_a_hundred_units(strategy: &str) {
    let Some(shop) = Shop::start(strategy, &SHORT_LOCKS).await else { return };
    shop.set("hot", UNITS).await;
    // The strategy must do without the table's own guard.
    shop.sql("ALTER TABLE stock DROP CONSTRAINT no_oversell").await;
    let (shop, sold) = (Arc::new(shop), Arc::new(AtomicUsize::new(0)));
    let buyer = |_| {
        let (shop, sold) = (shop.clone(), sold.clone());
        tokio::spawn(async move {
            let bought = shop.buy(&[("hot", 1)]).await;
            sold.fetch_add(usize::from(bought), Ordering::SeqCst);
        })
    };
    let buyers = join_all((0..BUYERS).map(buyer));
    let trouble = async {
        let sold_at_least = async |count: usize| {
            until("so many are sold", Duration::from_secs(60), async || sold.load(Ordering::SeqCst) >= count).await;
        };
        sold_at_least(10).await;
        shop.servers[1].kill();
        shop.servers[1].start_healthy().await;
        sold_at_least(30).await;
        shop.servers[0].pause();
        tokio::time::sleep(Duration::from_millis(400)).await;
        shop.servers[0].resume();
        sold_at_least(50).await;
        if let Some(redis) = &shop.redis {
            redis.kill();
            redis.start_again();
        }
        if let Some(zookeeper) = &shop.zookeeper {
            zookeeper.kill();
            zookeeper.start_again();
        }
    };
    let (bought, ()) = futures::join!(buyers, trouble);
    bought.into_iter().for_each(|buyer| buyer.expect("a buyer"));
    assert_eq!(sold.load(Ordering::SeqCst), usize::try_from(UNITS).unwrap());
    assert_eq!(shop.figures("hot").await, (0, 0));
    shop.holds().await;
}

/// Baskets that name the same SKUs in another order, and more of one than there is: all or nothing, and nobody waits in a
/// circle.
async fn baskets_are_taken_whole_or_not_at_all(strategy: &str) {
    let Some(shop) = Shop::start(strategy, &[]).await else { return };
    shop.set("a", 40).await;
    shop.set("b", 20).await;
    let baskets: [&[(&str, i64)]; 4] =
        [&[("a", 1), ("b", 1)], &[("b", 1), ("a", 1)], &[("a", 2)], &[("b", 1), ("a", 1), ("b", 30)]];
    let bought = join_all((0..80).map(|number: usize| shop.buy(baskets[number % baskets.len()]))).await;
    let sold = |kind: usize| {
        let each = bought.iter().enumerate().filter(|(number, bought)| number % baskets.len() == kind && **bought);
        i64::try_from(each.count()).unwrap()
    };
    assert_eq!(sold(3), 0, "nobody gets 31 of 20");
    assert_eq!(shop.figures("a").await, (40 - sold(0) - sold(1) - 2 * sold(2), 0));
    assert_eq!(shop.figures("b").await, (20 - sold(0) - sold(1), 0));
    assert!(shop.figures("a").await.0 < 2 || shop.figures("b").await.0 == 0, "what could be sold was");
    assert_eq!(shop.prepare(0, &transaction(), &[("none", 1)]).await, Voted::No("UNKNOWN_SKU".to_owned()));
    shop.holds().await;
}

/// A vote that was cut off by the death of the database is settled by a fence, and what was said stays said.
async fn votes_outlive_their_database(strategy: &str) {
    let Some(shop) = Shop::start(strategy, &[]).await else { return };
    shop.set("a", 10).await;
    let held = transaction();
    assert_eq!(shop.prepare(0, &held, &[("a", 3)]).await, Voted::Yes);
    assert_eq!(shop.prepare(1, &held, &[("a", 3)]).await, Voted::Yes, "a repeat is told the same by another process");
    let refused = transaction();
    assert_eq!(shop.prepare(1, &refused, &[("a", 8)]).await, Voted::No("OUT_OF_STOCK".to_owned()));
    shop.postgres.kill();
    let cut_off = transaction();
    assert_eq!(shop.prepare(0, &cut_off, &[("a", 1)]).await, Voted::Unknown);
    shop.postgres.start_again();
    assert_eq!(shop.fence(&cut_off).await, Voted::No("FENCED".to_owned()));
    assert_eq!(shop.fence(&held).await, Voted::Yes);
    assert_eq!(shop.fence(&refused).await, Voted::No("OUT_OF_STOCK".to_owned()));
    assert_eq!(shop.figures("a").await, (10, 3));
    shop.commit(&held).await;
    assert_eq!(shop.figures("a").await, (7, 0));
    shop.holds().await;
}

macro_rules! conformance {
    ($($strategy:ident $name:literal)*) => { $(
        mod $strategy {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn two_hundred_buyers_of_a_hundred_units() {
                super::two_hundred_buyers_of_a_hundred_units($name).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn baskets_are_taken_whole_or_not_at_all() {
                super::baskets_are_taken_whole_or_not_at_all($name).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn votes_outlive_their_database() {
                super::votes_outlive_their_database($name).await;
            }
        }
    )* };
}

conformance! {
    escrow "escrow"
    atomic "atomic"
    pessimistic "pessimistic"
    optimistic "optimistic"
    redis_lock "redis-lock"
    zookeeper_lock "zookeeper-lock"
}
