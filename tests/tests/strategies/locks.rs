//! Locks of another server: what holds when they don't.
use std::sync::Arc;
use std::time::{Duration, Instant};

use tests::until;

use crate::shop::{Shop, Voted, transaction};

/// How soon doubt must have been told: the wait for a lock, and some slack for a busy machine.
const IN_TIME: Duration = Duration::from_millis(4_000);

/// A process that stands still between its look at the stock and its update, for longer than its lock lives, must not sell
/// what another one has sold meanwhile. Only the fencing token stands against it here: the table's own guard is off.
async fn a_holder_that_was_paused_is_refused_by_its_token(strategy: &str) {
    let settings = [("ASSENT_LOCK_TTL_MS", "300"), ("ASSENT_LOCK_WAIT_MS", "2000")];
    let Some(shop) = Shop::start(strategy, &settings).await else { return };
    let shop = Arc::new(shop);
    shop.set("last", 1).await;
    shop.sql("ALTER TABLE stock DROP CONSTRAINT no_oversell").await;
    for _ in 0..5 {
        shop.servers[1].stop().await;
        shop.servers[1].start_with(&[("ASSENT_CRASH_POINT", "stock.read:stop")]);
        shop.servers[1].healthy().await;
        let (paused, other) = (transaction(), transaction());
        let asked = {
            let (shop, paused) = (shop.clone(), paused.clone());
            tokio::spawn(async move { shop.prepare(1, &paused, &[("last", 1)]).await })
        };
        assert!(shop.servers[1].halts_at("stock.read", Duration::from_secs(30)).await, "it holds the lock");
        let answer = shop.prepare(0, &other, &[("last", 1)]).await;
        assert_eq!(answer, Voted::Yes, "the lock has run out, and the other one has got it");
        shop.servers[1].resume();
        let answer = asked.await.unwrap();
        assert_eq!(shop.figures("last").await, (1, 1), "one unit is held once; the paused one was told {answer:?}");
        if shop.counters(1).await.1 == 1 {
            // Not a no: it is not for a lost lock to say what there is.
            assert_eq!(answer, Voted::Unknown);
            return;
        }
        // It took so long that Postgres had ended the session meanwhile: the next try of the same batch looked anew.
        assert_eq!(answer, Voted::No("OUT_OF_STOCK".to_owned()));
        shop.commit(&other).await;
        shop.set("last", 1).await;
    }
    panic!("the paused one never came in time to be refused by its token");
}

/// Doubt in time, never a no, and what needs no lock goes on.
async fn without_its_lock_server_a_prepare_is_in_doubt(strategy: &str) {
    let Some(shop) = Shop::start(strategy, &[]).await else { return };
    shop.set("a", 10).await;
    let before = transaction();
    assert_eq!(shop.prepare(0, &before, &[("a", 1)]).await, Voted::Yes);
    type Act = fn(&Shop);
    let kill: Act = |shop| {
        shop.redis.iter().for_each(|redis| redis.kill());
        shop.zookeeper.iter().for_each(|zookeeper| zookeeper.kill());
    };
    let start: Act = |shop| {
        shop.redis.iter().for_each(|redis| redis.start_again());
        shop.zookeeper.iter().for_each(|zookeeper| zookeeper.start_again());
    };
    let pause: Act = |shop| {
        shop.redis.iter().for_each(|redis| redis.pause());
        shop.zookeeper.iter().for_each(|zookeeper| zookeeper.pause());
    };
    let resume: Act = |shop| {
        shop.redis.iter().for_each(|redis| redis.resume());
        shop.zookeeper.iter().for_each(|zookeeper| zookeeper.resume());
    };
    for (hurt, heal) in [(pause, resume), (kill, start)] {
        hurt(&shop);
        for _ in 0..2 {
            let (asked, doubted) = (Instant::now(), transaction());
            assert_eq!(shop.prepare(0, &doubted, &[("a", 1)]).await, Voted::Unknown);
            assert!(asked.elapsed() < IN_TIME, "doubt took {:?}", asked.elapsed());
            assert_eq!(shop.fence(&doubted).await, Voted::No("FENCED".to_owned()));
        }
        if hurt as usize == pause as usize {
            shop.commit(&before).await;
        }
        heal(&shop);
        let bought = async || {
            let transaction = transaction();
            let voted = shop.prepare(0, &transaction, &[("a", 1)]).await;
            assert!(matches!(voted, Voted::Yes | Voted::Unknown), "{voted:?}");
            match shop.fence(&transaction).await {
                Voted::Yes => shop.commit(&transaction).await,
                _ => return false,
            }
            true
        };
        until("it sells again", Duration::from_secs(30), bought).await;
    }
    let (on_hand, held) = shop.figures("a").await;
    assert_eq!((on_hand, held), (7, 0));
    shop.holds().await;
}

/// A lock server that counts from the beginning again gives tokens that Postgres refuses, until it was told how far it
/// had come.
async fn a_lock_server_that_forgot_is_told_how_far_it_had_counted(strategy: &str) {
    let Some(shop) = Shop::start(strategy, &[]).await else { return };
    shop.set("a", 100).await;
    for _ in 0..10 {
        assert!(shop.buy(&[("a", 1)]).await);
    }
    if let Some(redis) = &shop.redis {
        redis.kill();
        redis.start_again();
    }
    if let Some(zookeeper) = &shop.zookeeper {
        zookeeper.kill();
        zookeeper.forget();
        zookeeper.start_again();
    }
    for _ in 0..10 {
        assert!(shop.buy(&[("a", 1)]).await);
    }
    let fenced = shop.counters(0).await.1 + shop.counters(1).await.1;
    assert!((1..=4).contains(&fenced), "refused {fenced} times before it had counted on");
    assert_eq!(shop.figures("a").await, (80, 0));
    shop.holds().await;
}

/// Whoever waits for a lock that does not come holds up nobody who wants another one.
async fn a_stuck_lock_holds_up_nobody_else(strategy: &str) {
    let settings = [("ASSENT_LOCK_TTL_MS", "20000"), ("ASSENT_LOCK_WAIT_MS", "3000"), ("ASSENT_WRITERS", "2")];
    let Some(shop) = Shop::start(strategy, &settings).await else { return };
    let shop = Arc::new(shop);
    shop.set("stuck", 100).await;
    shop.set("free", 100).await;
    shop.servers[1].stop().await;
    shop.servers[1].start_with(&[("ASSENT_CRASH_POINT", "stock.read:stop")]);
    shop.servers[1].healthy().await;
    let ask = |place: usize| {
        let shop = shop.clone();
        tokio::spawn(async move { shop.prepare(place, &transaction(), &[("stuck", 1)]).await })
    };
    let frozen = ask(1);
    assert!(shop.servers[1].halts_at("stock.read", Duration::from_secs(30)).await, "it holds the lock");
    let waiting: Vec<_> = (0..20).map(|_| ask(0)).collect();
    for _ in 0..5 {
        assert!(shop.prepare(0, &transaction(), &[("free", 1)]).await == Voted::Yes);
    }
    assert!(waiting.iter().all(|one| !one.is_finished()), "they wait still: nobody had to wait for them");
    for one in waiting {
        assert_eq!(one.await.unwrap(), Voted::Unknown);
    }
    shop.servers[1].kill();
    frozen.abort();
    assert_eq!(shop.figures("stuck").await, (100, 0));
}

macro_rules! locks {
    ($($strategy:ident $name:literal)*) => { $(
        mod $strategy {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_holder_that_was_paused_is_refused_by_its_token() {
                super::a_holder_that_was_paused_is_refused_by_its_token($name).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn without_its_lock_server_a_prepare_is_in_doubt() {
                super::without_its_lock_server_a_prepare_is_in_doubt($name).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_lock_server_that_forgot_is_told_how_far_it_had_counted() {
                super::a_lock_server_that_forgot_is_told_how_far_it_had_counted($name).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_stuck_lock_holds_up_nobody_else() {
                super::a_stuck_lock_holds_up_nobody_else($name).await;
            }
        }
    )* };
}

locks! {
    redis_lock "redis-lock"
    zookeeper_lock "zookeeper-lock"
}
