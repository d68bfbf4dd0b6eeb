//! What is freed goes to those who wait, under every strategy, whatever dies in the middle of it.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proto::assent::inventory::v1::{JoinWaitlistRequest, ListWaitlistRequest, WaitlistState};
use tests::timed;

use crate::shop::{Shop, Voted, transaction};

const UNITS: i64 = 12;
const WAITING: i64 = 16;
/// Locks run out soon, and everybody who waits for one gives up in time.
const SHORT_LOCKS: [(&str, &str); 2] = [("ASSENT_LOCK_TTL_MS", "200"), ("ASSENT_LOCK_WAIT_MS", "1000")];

/// All is held by orders in doubt, and somebody waits for more than all. The orders are aborted one after the other, at two
/// processes of which one dies within its local transaction and the other is frozen for a while; others want the same all the
/// time. Those who wait get it, in their order, and nobody else.
async fn freed_stock_goes_to_the_line(strategy: &str) {
    let Some(shop) = Shop::start(strategy, &SHORT_LOCKS).await else { return };
    let shop = Arc::new(shop);
    shop.set("hot", UNITS).await;
    let mut held = Vec::new();
    while held.len() < usize::try_from(UNITS).unwrap() {
        let one = transaction();
        let vote = match shop.prepare(shop.next(), &one, &[("hot", 1)]).await {
            Voted::Unknown => shop.fence(&one).await,
            vote => vote,
        };
        if vote == Voted::Yes {
            held.push(one);
        }
    }
    for number in 0..WAITING {
        let (sku, customer, request_id) = ("hot".to_owned(), format!("c{number}"), format!("wait-{number}"));
        let joining = JoinWaitlistRequest { sku, quantity: 1, customer, request_id, min_quantity: 0 };
        shop.waitlist(shop.next()).join_waitlist(timed(joining)).await.unwrap();
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let buyer = {
        let (shop, is_over) = (shop.clone(), is_over.clone());
        tokio::spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                assert!(!shop.buy(&[("hot", 1)]).await, "somebody got in between");
            }
        })
    };
    for (number, one) in held.iter().enumerate() {
        match number {
            3 => {
                // It dies with everything written and nothing committed.
                shop.servers[1].kill();
                shop.servers[1].start_with(&[("ASSENT_CRASH_POINT", "batch.before_commit")]);
                assert!(shop.servers[1].halts_at("batch.before_commit", Duration::from_secs(30)).await);
            }
            6 => shop.servers[1].start_healthy().await,
            8 => {
                shop.postgres.kill();
                shop.postgres.start_again();
            }
            _ => (),
        }
        shop.abort(one).await;
    }
    is_over.store(true, Ordering::SeqCst);
    buyer.await.expect("a buyer");
    let list = ListWaitlistRequest { sku: "hot".to_owned(), page_size: 100, ..Default::default() };
    let line = shop.waitlist(0).list_waitlist(timed(list)).await.unwrap().into_inner().entries;
    let offered: Vec<bool> = line.iter().map(|entry| entry.state() == WaitlistState::Offered).collect();
    let expected: Vec<bool> = (0..WAITING).map(|number| number < UNITS).collect();
    assert_eq!(offered, expected);
    assert_eq!(shop.figures("hot").await, (UNITS, 0));
    shop.holds().await;
}

macro_rules! served {
    ($($strategy:ident $name:literal)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $strategy() {
            super::freed_stock_goes_to_the_line($name).await;
        }
    )* };
}

mod freed_stock_goes_to_the_line_under {
    served! {
        escrow "escrow"
        atomic "atomic"
        pessimistic "pessimistic"
        optimistic "optimistic"
        redis_lock "redis-lock"
        zookeeper_lock "zookeeper-lock"
    }
}
