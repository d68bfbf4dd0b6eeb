//! Backorders: what an order is owed, and that it gets it in its turn, exactly once.
mod courier;

use proto::assent::inventory::v1::backorder_service_server::BackorderService;
use proto::assent::inventory::v1::waitlist_service_server::WaitlistService;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::ledger::{movements, replayed};
use super::*;
use crate::domain::Allowed;
use crate::grpc::{Backorders, Waitlist};

async fn policy(pool: &Pool, kind: api::SupplyKind, max_owed: i64) {
    let policy = Some(api::SupplyPolicy { kind: kind.into(), max_owed, ..Default::default() });
    let request = api::SetSupplyPolicyRequest { sku: "a".to_owned(), policy };
    Backorders::new(pool.clone()).set_supply_policy(Request::new(request)).await.unwrap();
}

fn order(allowed: Allowed, lines: &[(&str, i64)]) -> PreparedBranch<Holds> {
    let lines = lines.iter().map(|(sku, quantity)| ((*sku).to_owned(), *quantity));
    testing::branch(Holds::sum(lines).allowing(allowed))
}

async fn vote(pool: &Pool, order: &PreparedBranch<Holds>) -> Result<(), String> {
    let mut votes = prepare(&Inventory::default(), pool, std::slice::from_ref(order)).await;
    votes.pop().unwrap().map_err(|refusal| refusal.reason)
}

async fn place(pool: &Pool, order: &PreparedBranch<Holds>) {
    vote(pool, order).await.unwrap();
    commit(&Inventory::default(), pool, std::slice::from_ref(order)).await;
}

/// How many an order still waits for of its SKUs.
async fn owed(pool: &Pool, order: &PreparedBranch<Holds>) -> i64 {
    let request = api::GetBackorderRequest { order_id: order.transaction_id.to_string() };
    let found = Backorders::new(pool.clone()).get_backorder(Request::new(request)).await.unwrap().into_inner();
    found.backorders.iter().map(|backorder| backorder.owed).sum()
}

/// What an order was allotted, as `quantity sku after first`, in the order in which it got it.
async fn allotted(pool: &Pool, order: &PreparedBranch<Holds>) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT quantity || ' ' || sku || ' after ' || first FROM allotment JOIN allotment_line USING (allotment_id)
         WHERE order_id = $1 ORDER BY sku, first",
    )
    .bind(order.transaction_id)
    .fetch_all(&**pool)
    .await
    .unwrap()
}

async fn is_sound(pool: &Pool, prepared: &[PreparedBranch<Holds>]) {
    assert_eq!(replayed(pool).await, [""; 0]);
    assert_eq!(audit(&Inventory::default(), pool, prepared).await, [""; 0]);
}

#[tokio::test]
async fn an_order_for_more_than_there_is_takes_what_there_is_and_waits_for_the_rest() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 3).await.unwrap();
    set(&service, "b", 9).await.unwrap();
    let wanted: &[(&str, i64)] = &[("a", 5), ("b", 2)];
    assert_eq!(vote(&pool, &order(Allowed::Partial, wanted)).await, Err("OUT_OF_STOCK".to_owned()), "no policy");
    policy(&pool, api::SupplyKind::Backorder, 10).await;
    assert_eq!(vote(&pool, &order(Allowed::Nothing, wanted)).await, Err("OUT_OF_STOCK".to_owned()), "not allowed");
    assert_eq!(vote(&pool, &order(Allowed::Partial, &[("a", 14)])).await, Err("BACKORDER_LIMIT".to_owned()));
    assert_eq!(vote(&pool, &order(Allowed::Partial, &[("none", 1)])).await, Err("UNKNOWN_SKU".to_owned()));
    let mine = order(Allowed::Partial, wanted);
    vote(&pool, &mine).await.unwrap();
    assert_eq!((figures(&pool, "a").await, figures(&pool, "b").await), ((3, 3), (9, 2)));
    is_sound(&pool, std::slice::from_ref(&mine)).await;
    commit(&Inventory::default(), &pool, std::slice::from_ref(&mine)).await;
    assert_eq!((figures(&pool, "a").await, owed(&pool, &mine).await), ((0, 0), 2));
    assert_eq!(allotted(&pool, &mine).await, ["3 a after 0", "2 b after 0"]);
    assert_eq!(adjust(&service, "a", 1, "").await.unwrap().on_hand, 0, "what comes is the order's at once");
    assert_eq!(adjust(&service, "a", 5, "").await.unwrap().available, 4);
    assert_eq!(allotted(&pool, &mine).await, ["3 a after 0", "1 a after 3", "1 a after 4", "2 b after 0"]);
    let expected = [
        "1 counted 3: 3 0",
        "2 held 3: 3 3",
        "3 sold 3: 0 0",
        "4 received 1: 1 0",
        "5 allotted 1: 0 0",
        "6 received 5: 5 0",
        "7 allotted 1: 4 0",
    ];
    assert_eq!(movements(&pool, "a").await, expected);
    let marks: Option<i32> =
        sqlx::query_scalar("SELECT marks FROM stock WHERE sku = 'a'").fetch_one(&*pool).await.unwrap();
    assert_eq!(marks, None, "nobody waits any more");
    is_sound(&pool, &[]).await;
}

#[tokio::test]
async fn what_is_wanted_whole_is_given_when_all_of_it_is_there() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 1).await.unwrap();
    policy(&pool, api::SupplyKind::Preorder, 10).await;
    let whole = order(Allowed::Whole, &[("a", 3)]);
    place(&pool, &whole).await;
    adjust(&service, "a", 1, "").await.unwrap();
    assert_eq!((figures(&pool, "a").await, owed(&pool, &whole).await), ((0, 0), 1), "kept for the order");
    assert_eq!(allotted(&pool, &whole).await, [""; 0], "and not given in parts");
    is_sound(&pool, &[]).await;
    adjust(&service, "a", 1, "").await.unwrap();
    assert_eq!(allotted(&pool, &whole).await, ["3 a after 0"]);
    is_sound(&pool, &[]).await;
}

#[tokio::test]
async fn orders_are_served_in_the_order_of_placement_and_before_the_waitlist() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 0).await.unwrap();
    policy(&pool, api::SupplyKind::Backorder, 100).await;
    let line = Waitlist::new(pool.clone(), Inventory::default().waitlist);
    let joining = api::JoinWaitlistRequest { sku: "a".into(), quantity: 1, customer: "c".into(), ..Default::default() };
    line.join_waitlist(Request::new(joining)).await.unwrap();
    let all: Vec<_> = (0..4).map(|_| order(Allowed::Partial, &[("a", 2)])).collect();
    for one in &all {
        vote(&pool, one).await.unwrap();
    }
    // Decided in another order; the second is aborted, the third stays in doubt.
    commit(&Inventory::default(), &pool, &all[3..]).await;
    commit(&Inventory::default(), &pool, &all[..1]).await;
    abort(&Inventory::default(), &pool, &all[1..2]).await;
    adjust(&service, "a", 3, "").await.unwrap();
    assert_eq!((owed(&pool, &all[0]).await, owed(&pool, &all[3]).await), (0, 1));
    commit(&Inventory::default(), &pool, &all[2..3]).await;
    adjust(&service, "a", 1, "").await.unwrap();
    assert_eq!((owed(&pool, &all[2]).await, owed(&pool, &all[3]).await), (1, 1), "it was placed before");
    let request = api::ListBackordersRequest { sku: "a".into(), page_size: 1, ..Default::default() };
    let page = Backorders::new(pool.clone()).list_backorders(Request::new(request)).await.unwrap().into_inner();
    assert_eq!(page.backorders[0].order_id, all[2].transaction_id.to_string());
    adjust(&service, "a", 4, "").await.unwrap();
    let balance = store::stock::get(&pool, "a").await.unwrap().unwrap().balance;
    assert_eq!((balance.on_hand, balance.reserved), (2, 1), "then who waits, and the rest is for sale");
    is_sound(&pool, &[]).await;
}

#[tokio::test]
async fn a_commit_takes_what_has_come_since_its_vote() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 0).await.unwrap();
    policy(&pool, api::SupplyKind::Backorder, 100).await;
    let mine = order(Allowed::Partial, &[("a", 2)]);
    vote(&pool, &mine).await.unwrap();
    adjust(&service, "a", 5, "").await.unwrap();
    commit(&Inventory::default(), &pool, std::slice::from_ref(&mine)).await;
    assert_eq!((figures(&pool, "a").await, owed(&pool, &mine).await), ((3, 0), 0));
    is_sound(&pool, &[]).await;
}

#[tokio::test]
async fn a_cancelled_order_waits_no_more() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 1).await.unwrap();
    policy(&pool, api::SupplyKind::Backorder, 3).await;
    let (first, second) = (order(Allowed::Partial, &[("a", 3)]), order(Allowed::Partial, &[("a", 1)]));
    place(&pool, &first).await;
    place(&pool, &second).await;
    let put_back = crate::domain::PutBack {
        order_id: first.transaction_id,
        sellable: vec![("a".to_owned(), 3)],
        damaged: Vec::new(),
        cancelled: true,
    };
    place(&pool, &testing::branch(Holds::of_put_back(put_back))).await;
    assert_eq!(figures(&pool, "a").await, (0, 0), "the one that it had got is the next order's");
    assert_eq!((owed(&pool, &second).await, owed(&pool, &first).await), (0, 2));
    is_sound(&pool, &[]).await;
    assert_eq!(adjust(&service, "a", 1, "").await.unwrap().available, 1);
    is_sound(&pool, &[]).await;
}

/// Whatever happens in whatever order: every unit goes to one order, in the order of placement, or is for sale.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_unit_is_given_once_whoever_asks_at_the_same_time() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 5).await.unwrap();
    policy(&pool, api::SupplyKind::Backorder, 1_000).await;
    let part = |number: u64| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let service = StockService::new(pool.clone(), Inventory::default().strategy);
            let (mut random, mut sold, mut came) = (StdRng::seed_from_u64(number), 0, 0);
            for _ in 0..30 {
                if random.random_bool(0.4) {
                    let units = random.random_range(1..=4);
                    adjust(&service, "a", units, "").await.unwrap();
                    came += units;
                    continue;
                }
                let units = random.random_range(1..=4);
                let one =
                    order(if random.random_bool(0.5) { Allowed::Partial } else { Allowed::Whole }, &[("a", units)]);
                vote(&pool, &one).await.unwrap();
                match random.random_bool(0.7) {
                    true => {
                        commit(&Inventory::default(), &pool, &[one]).await;
                        sold += units;
                    }
                    false => abort(&Inventory::default(), &pool, &[one]).await,
                }
            }
            (sold, came)
        })
    };
    let ended = futures::future::join_all((0..4).map(part)).await;
    let (sold, came) = ended.into_iter().map(Result::unwrap).fold((0, 5), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let owed: i64 = sqlx::query_scalar("SELECT coalesce(sum(owed), 0)::bigint FROM backorder WHERE state = 2")
        .fetch_one(&*pool)
        .await
        .unwrap();
    assert_eq!(figures(&pool, "a").await, (came - (sold - owed), 0));
    is_sound(&pool, &[]).await;
    adjust(&service, "a", owed, "").await.unwrap();
    let places: Vec<i64> =
        sqlx::query_scalar("SELECT place FROM backorder WHERE state = 2").fetch_all(&*pool).await.unwrap();
    assert_eq!(places, [0; 0], "all have got what they were owed");
    is_sound(&pool, &[]).await;
}

#[tokio::test]
async fn the_audit_finds_backorders_that_are_not_served() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 1).await.unwrap();
    policy(&pool, api::SupplyKind::Backorder, 10).await;
    let mine = order(Allowed::Partial, &[("a", 3)]);
    place(&pool, &mine).await;
    sqlx::query("UPDATE stock SET marks = NULL").execute(&*pool).await.unwrap();
    adjust(&service, "a", 1, "").await.unwrap();
    sqlx::query("UPDATE allotment_line SET quantity = 2").execute(&*pool).await.unwrap();
    let expected = [
        "waiters-first a: 1 are free, and 1 orders wait".to_owned(),
        format!("waiters-first a: order {} has 1, and was allotted 2", mine.transaction_id),
        "waiters-first a: orders wait for it without its mark".to_owned(),
    ];
    assert_eq!(audit(&Inventory::default(), &pool, &[]).await, expected);
}
