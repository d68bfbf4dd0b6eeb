//! Reservations: kept, claimed by orders, given back, and gone in time.
use proto::assent::inventory::v1::reservation_service_server::ReservationService;
use uuid::Uuid;

use super::ledger::{movements, replayed};
use super::*;
use crate::grpc::Reservations;
use crate::store::reservations::{self, Defaults};

/// A cart's service, with so many of a SKU for each customer.
fn carts(pool: &Pool, max_per_customer: i64) -> Reservations {
    Reservations::new(pool.clone(), Defaults { ttl_ms: 600_000, max_per_customer })
}

async fn reserve(carts: &Reservations, customer: &str, lines: &[(&str, i64)]) -> Result<Uuid, Status> {
    let line = |(sku, quantity): &(&str, i64)| api::ReservationLine { sku: (*sku).to_owned(), quantity: *quantity };
    let request = api::CreateReservationRequest {
        customer: customer.to_owned(),
        lines: lines.iter().map(line).collect(),
        ..Default::default()
    };
    let made = carts.create_reservation(Request::new(request)).await?.into_inner().reservation.unwrap();
    Ok(Uuid::parse_str(&made.reservation_id).unwrap())
}

async fn left(carts: &Reservations, reservation_id: Uuid) -> Option<Vec<(String, i64)>> {
    let request = api::GetReservationRequest { reservation_id: reservation_id.to_string() };
    let found = carts.get_reservation(Request::new(request)).await;
    let lines = found.ok()?.into_inner().reservation.unwrap().lines;
    Some(lines.into_iter().map(|line| (line.sku, line.quantity)).collect())
}

async fn release(carts: &Reservations, reservation_id: Uuid) {
    let request = api::ReleaseReservationRequest { reservation_id: reservation_id.to_string() };
    carts.release_reservation(Request::new(request)).await.unwrap();
}

fn order(lines: &[(&str, i64)], reservation_ids: &[Uuid]) -> PreparedBranch<Holds> {
    let lines = lines.iter().map(|(sku, quantity)| ((*sku).to_owned(), *quantity));
    testing::branch(Holds::sum(lines).of_reservations(reservation_ids.to_vec()))
}

/// On hand, held and reserved.
async fn all_figures(pool: &Pool, sku: &str) -> (i64, i64, i64) {
    let balance = store::stock::get(pool, sku).await.unwrap().unwrap().balance;
    (balance.on_hand, balance.held, balance.reserved)
}

/// Has every reservation run out.
async fn time_passes(pool: &Pool) {
    sqlx::query("UPDATE reservation SET expire_time = now() - interval '1 ms'").execute(pool).await.unwrap();
    while reservations::expire(pool).await.unwrap() > 0 {}
}

async fn nothing_is_wrong(pool: &Pool, prepared: &[PreparedBranch<Holds>]) {
    assert_eq!(replayed(pool).await, [""; 0]);
    assert_eq!(audit(&Inventory::default(), pool, prepared).await, [""; 0]);
}

async fn votes(pool: &Pool, batch: &[PreparedBranch<Holds>]) -> Vec<bool> {
    prepare(&Inventory::default(), pool, batch).await.iter().map(Result::is_ok).collect()
}

#[tokio::test]
async fn a_reservation_becomes_the_hold_of_its_order_and_nobody_gets_in_between() {
    let (_postgres, pool, service) = start().await;
    let carts = carts(&pool, 100);
    set(&service, "a", 5).await.unwrap();
    let mine = reserve(&carts, "alice", &[("a", 3), ("a", 2)]).await.unwrap();
    assert_eq!(all_figures(&pool, "a").await, (5, 0, 5));
    assert_eq!(reason(&reserve(&carts, "bob", &[("a", 1)]).await.unwrap_err()).1, "OUT_OF_STOCK");
    assert_eq!(reason(&set(&service, "a", 4).await.unwrap_err()).1, "BELOW_HELD");
    // Somebody else stands before me in the very same batch.
    let batch = [order(&[("a", 1)], &[]), order(&[("a", 5)], &[mine]), order(&[("a", 1)], &[])];
    assert_eq!(votes(&pool, &batch).await, [false, true, false]);
    assert_eq!(all_figures(&pool, "a").await, (5, 5, 0));
    assert_eq!(left(&carts, mine).await, Some(vec![("a".to_owned(), 0)]));
    nothing_is_wrong(&pool, &batch[1..2]).await;
    commit(&Inventory::default(), &pool, &batch[1..2]).await;
    assert_eq!(all_figures(&pool, "a").await, (0, 0, 0));
    assert_eq!(
        movements(&pool, "a").await,
        ["1 counted 5: 5 0", "2 reserved 5: 5 0", "3 claimed 5: 5 5", "4 sold 5: 0 0"]
    );
    time_passes(&pool).await;
    assert_eq!(left(&carts, mine).await, None);
    nothing_is_wrong(&pool, &[]).await;
}

#[tokio::test]
async fn an_abort_gives_units_back_to_the_reservation_while_it_lives() {
    let (_postgres, pool, service) = start().await;
    let carts = carts(&pool, 100);
    set(&service, "a", 10).await.unwrap();
    let mine = reserve(&carts, "alice", &[("a", 4)]).await.unwrap();
    let taken = [order(&[("a", 6)], &[mine])];
    assert_eq!(votes(&pool, &taken).await, [true]);
    assert_eq!(all_figures(&pool, "a").await, (10, 6, 0));
    abort(&Inventory::default(), &pool, &taken).await;
    assert_eq!(all_figures(&pool, "a").await, (10, 0, 4));
    assert_eq!(left(&carts, mine).await, Some(vec![("a".to_owned(), 4)]));
    let again = [order(&[("a", 4)], &[mine])];
    assert_eq!(votes(&pool, &again).await, [true]);
    time_passes(&pool).await;
    assert_eq!(all_figures(&pool, "a").await, (10, 4, 0), "what an order holds does not run out");
    abort(&Inventory::default(), &pool, &again).await;
    assert_eq!(all_figures(&pool, "a").await, (10, 0, 0), "the reservation is gone, so all can have it");
    let expected = [
        "1 counted 10: 10 0",
        "2 reserved 4: 10 0",
        "3 claimed 4: 10 4",
        "4 held 2: 10 6",
        "5 unclaimed 4: 10 2",
        "6 released 2: 10 0",
        "7 claimed 4: 10 4",
        "8 released 4: 10 0",
    ];
    assert_eq!(movements(&pool, "a").await, expected);
    nothing_is_wrong(&pool, &[]).await;
}

#[tokio::test]
async fn a_refused_order_leaves_the_reservation_as_it_was() {
    let (_postgres, pool, service) = start().await;
    let carts = carts(&pool, 100);
    for sku in ["a", "b"] {
        set(&service, sku, 5).await.unwrap();
    }
    let mine = reserve(&carts, "alice", &[("a", 3), ("b", 1)]).await.unwrap();
    // The first wants too much of b; the second gets what the first could not take; the third finds nothing left of it.
    let batch = [order(&[("a", 3), ("b", 6)], &[mine]), order(&[("a", 3)], &[mine]), order(&[("a", 3)], &[mine])];
    assert_eq!(votes(&pool, &batch).await, [false, true, false]);
    assert_eq!(left(&carts, mine).await, Some(vec![("a".to_owned(), 0), ("b".to_owned(), 1)]));
    assert_eq!((all_figures(&pool, "a").await, all_figures(&pool, "b").await), ((5, 3, 0), (5, 0, 1)));
    nothing_is_wrong(&pool, &batch[1..2]).await;
    let unknown = [order(&[("a", 2)], &[Uuid::new_v4(), mine])];
    assert_eq!(votes(&pool, &unknown).await, [true], "one that is gone has nothing, and does no harm");
    nothing_is_wrong(&pool, &[batch[1].clone(), unknown[0].clone()]).await;
}

#[tokio::test]
async fn a_customer_keeps_no_more_than_one_may() {
    let (_postgres, pool, service) = start().await;
    let carts = carts(&pool, 10);
    for sku in ["a", "b"] {
        set(&service, sku, 100).await.unwrap();
    }
    let policy =
        api::SetReservationPolicyRequest { sku: "b".to_owned(), ttl_ms: 5_000, max_per_customer: 2, offer_ttl_ms: 0 };
    carts.set_reservation_policy(Request::new(policy)).await.unwrap();
    let first = reserve(&carts, "alice", &[("a", 9), ("b", 2)]).await.unwrap();
    for lines in [&[("a", 2)][..], &[("b", 1)]] {
        let status = reserve(&carts, "alice", lines).await.unwrap_err();
        assert_eq!(reason(&status), (Code::FailedPrecondition, "RESERVATION_LIMIT".to_owned()));
    }
    reserve(&carts, "alice", &[("a", 1)]).await.unwrap();
    reserve(&carts, "bob", &[("a", 10)]).await.unwrap();
    let seconds: f64 = sqlx::query_scalar(
        "SELECT extract(epoch FROM expire_time - create_time)::float8 FROM reservation WHERE reservation_id = $1",
    )
    .bind(first)
    .fetch_one(&*pool)
    .await
    .unwrap();
    assert!((4.9..5.1).contains(&seconds), "the shortest of the policies counts: {seconds} s");
    release(&carts, first).await;
    release(&carts, first).await;
    assert_eq!((all_figures(&pool, "a").await, all_figures(&pool, "b").await), ((100, 0, 11), (100, 0, 0)));
    // At once, from many carts: the limit holds.
    let many = (0..8).map(|_| reserve(&carts, "carol", &[("a", 3)]));
    let made = futures::future::join_all(many).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(made, 3);
    nothing_is_wrong(&pool, &[]).await;
}

#[tokio::test]
async fn a_repeated_request_reserves_once_and_an_extension_counts_from_now() {
    let (_postgres, pool, service) = start().await;
    let carts = carts(&pool, 100);
    set(&service, "a", 10).await.unwrap();
    let make = || async {
        let lines = vec![api::ReservationLine { sku: "a".to_owned(), quantity: 4 }];
        let customer = "alice".to_owned();
        let request = api::CreateReservationRequest { customer, lines, ttl_ms: 1_000, request_id: "cart-1".to_owned() };
        carts.create_reservation(Request::new(request)).await
    };
    let first = make().await.unwrap().into_inner().reservation.unwrap();
    let again = make().await.unwrap().into_inner().reservation.unwrap();
    assert_eq!(first, again);
    assert_eq!(all_figures(&pool, "a").await, (10, 0, 4));
    let extend = api::ExtendReservationRequest { reservation_id: first.reservation_id.clone(), ttl_ms: 3_600_000 };
    let extended =
        carts.extend_reservation(Request::new(extend.clone())).await.unwrap().into_inner().reservation.unwrap();
    assert!(extended.expire_time.unwrap().seconds > first.expire_time.unwrap().seconds + 3_000);
    assert_eq!(reservations::expire(&pool).await.unwrap(), 0);
    time_passes(&pool).await;
    let gone = [carts.extend_reservation(Request::new(extend)).await.map(drop), make().await.map(drop)];
    for status in gone.map(Result::unwrap_err) {
        assert_eq!(reason(&status), (Code::NotFound, "UNKNOWN_RESERVATION".to_owned()));
    }
    assert_eq!(all_figures(&pool, "a").await, (10, 0, 0));
    nothing_is_wrong(&pool, &[]).await;
}

#[tokio::test]
async fn the_audit_finds_reservations_that_do_not_add_up() {
    let (_postgres, pool, service) = start().await;
    let carts = carts(&pool, 100);
    set(&service, "a", 10).await.unwrap();
    let mine = reserve(&carts, "alice", &[("a", 4)]).await.unwrap();
    let taken = [order(&[("a", 1)], &[mine])];
    assert_eq!(votes(&pool, &taken).await, [true]);
    commit(&Inventory::default(), &pool, &taken).await;
    sqlx::query("UPDATE reservation_line SET quantity = 2").execute(&*pool).await.unwrap();
    sqlx::query("INSERT INTO reservation_claim VALUES ($1, $2, 'a', 1)")
        .bind(taken[0].transaction_id)
        .bind(mine)
        .execute(&*pool)
        .await
        .unwrap();
    let expected = [
        "no-orphan-holds a: 3 reserved, but the reservations have 2",
        "no-orphan-holds reservations: has claimed of a reservation, and is not in doubt any more",
    ];
    assert_eq!(audit(&Inventory::default(), &pool, &[]).await, expected);
}

/// What went wrong elsewhere, and must not here.
mod known_bugs {
    use super::*;

    /// Vendure 1738: the check and the allocation ran in different transactions.
    #[tokio::test]
    async fn two_buyers_of_the_last_unit_who_both_saw_it() {
        let (_postgres, pool, service) = start().await;
        set(&service, "last", 1).await.unwrap();
        let buyer = || async { votes(&pool, &[order(&[("last", 1)], &[])]).await[0] };
        let bought = futures::future::join_all((0..8).map(|_| buyer())).await;
        assert_eq!(bought.into_iter().filter(|bought| *bought).count(), 1);
        assert_eq!(all_figures(&pool, "last").await, (1, 1, 0));
    }

    /// Medusa 16502: two lines of one cart that share an item were validated each for itself.
    #[tokio::test]
    async fn two_lines_of_one_cart_for_the_same_item() {
        let (_postgres, pool, service) = start().await;
        let carts = carts(&pool, 100);
        set(&service, "a", 3).await.unwrap();
        assert_eq!(votes(&pool, &[order(&[("a", 2), ("a", 2)], &[])]).await, [false]);
        assert_eq!(reason(&reserve(&carts, "alice", &[("a", 2), ("a", 2)]).await.unwrap_err()).1, "OUT_OF_STOCK");
        let mine = reserve(&carts, "alice", &[("a", 2)]).await.unwrap();
        assert_eq!(votes(&pool, &[order(&[("a", 2), ("a", 2)], &[mine])]).await, [false]);
        assert_eq!(all_figures(&pool, "a").await, (3, 0, 2));
    }

    /// Medusa 6500: what was reserved for an order kept that very order from being fulfilled.
    #[tokio::test]
    async fn your_own_reservation_does_not_stand_in_your_way() {
        let (_postgres, pool, service) = start().await;
        let carts = carts(&pool, 100);
        set(&service, "a", 5).await.unwrap();
        let mine = reserve(&carts, "alice", &[("a", 5)]).await.unwrap();
        // It has run out a moment ago, and nobody has noticed yet; and meanwhile all of the stock is to be kept back.
        sqlx::query("UPDATE reservation SET expire_time = now() - interval '1 ms'").execute(&*pool).await.unwrap();
        let buffer = api::SetBufferRequest { sku: "a".to_owned(), buffer: 5 };
        service.set_buffer(Request::new(buffer)).await.unwrap();
        assert_eq!(votes(&pool, &[order(&[("a", 5)], &[mine])]).await, [true]);
    }

    /// Magento PR 3036: stock was reserved before the order was placed, and never released when that failed.
    #[tokio::test]
    async fn an_order_that_fails_after_its_hold_leaves_nothing_held() {
        let (_postgres, pool, service) = start().await;
        set(&service, "a", 5).await.unwrap();
        let failed = [order(&[("a", 5)], &[])];
        assert_eq!(votes(&pool, &failed).await, [true]);
        abort(&Inventory::default(), &pool, &failed).await;
        assert_eq!(all_figures(&pool, "a").await, (5, 0, 0));
        assert_eq!(votes(&pool, &[order(&[("a", 5)], &[])]).await, [true]);
    }

    /// TigerBeetle 2118: a hold that had run out still counted in the balance.
    #[tokio::test]
    async fn what_has_run_out_counts_no_longer() {
        let (_postgres, pool, service) = start().await;
        let carts = carts(&pool, 100);
        set(&service, "a", 5).await.unwrap();
        for _ in 0..5 {
            reserve(&carts, "alice", &[("a", 1)]).await.unwrap();
        }
        time_passes(&pool).await;
        assert_eq!(all_figures(&pool, "a").await, (5, 0, 0));
        assert_eq!(adjust(&service, "a", 0, "").await.unwrap().available, 5);
        assert_eq!(votes(&pool, &[order(&[("a", 5)], &[])]).await, [true]);
        assert_eq!(replayed(&pool).await, [""; 0]);
    }
}
