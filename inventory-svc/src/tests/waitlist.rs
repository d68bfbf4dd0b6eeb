//! The waitlist: what is freed goes to who has waited longest, and nobody gets in between.
mod fairness;

use proto::assent::inventory::v1::reservation_service_server::ReservationService;
use proto::assent::inventory::v1::waitlist_service_server::WaitlistService;
use uuid::Uuid;

use super::ledger::{movements, replayed};
use super::*;
use crate::grpc::{Reservations, Waitlist};
use crate::store::reservations;
use crate::store::waitlist::Defaults;

const DEFAULTS: Defaults = Defaults { offer_ttl_ms: 600_000, max_waiting: 5, max_per_customer: 50 };

fn line(pool: &Pool) -> Waitlist {
    Waitlist::new(pool.clone(), DEFAULTS)
}

async fn join_as(
    line: &Waitlist,
    customer: &str,
    quantity: i64,
    min_quantity: i64,
) -> Result<api::WaitlistEntry, Status> {
    let (sku, customer, request_id) = ("a".to_owned(), customer.to_owned(), String::new());
    let request = api::JoinWaitlistRequest { sku, quantity, customer, request_id, min_quantity };
    Ok(line.join_waitlist(Request::new(request)).await?.into_inner().entry.unwrap())
}

/// Waits for so many, and is offered any part of it.
async fn join(line: &Waitlist, customer: &str, quantity: i64) -> String {
    join_as(line, customer, quantity, 0).await.unwrap().entry_id
}

async fn leave(line: &Waitlist, entry_id: &str) -> api::WaitlistEntry {
    let request = api::LeaveWaitlistRequest { entry_id: entry_id.to_owned() };
    line.leave_waitlist(Request::new(request)).await.unwrap().into_inner().entry.unwrap()
}

async fn get(line: &Waitlist, entry_id: &str) -> api::WaitlistEntry {
    let request = api::GetWaitlistEntryRequest { entry_id: entry_id.to_owned() };
    line.get_waitlist_entry(Request::new(request)).await.unwrap().into_inner().entry.unwrap()
}

/// State, place, and what it may order now.
async fn seen(line: &Waitlist, entry_id: &str) -> (&'static str, i64, i64) {
    let entry = get(line, entry_id).await;
    let state = entry.state().as_str_name().trim_start_matches("WAITLIST_STATE_");
    (state, entry.position, entry.offers.iter().map(|offer| offer.quantity).sum())
}

async fn offers(line: &Waitlist, entry_id: &str) -> Vec<Uuid> {
    let offers = get(line, entry_id).await.offers;
    offers.iter().map(|offer| Uuid::parse_str(&offer.reservation_id).unwrap()).collect()
}

/// An order for so many, from offers.
fn order(quantity: i64, offers: &[Uuid]) -> PreparedBranch<Holds> {
    testing::branch(Holds::sum([("a".to_owned(), quantity)]).of_reservations(offers.to_vec()))
}

async fn vote(pool: &Pool, order: &PreparedBranch<Holds>) -> bool {
    prepare(&Inventory::default(), pool, std::slice::from_ref(order)).await[0].is_ok()
}

/// Has every offer of a wait run out.
async fn time_passes(pool: &Pool, entry_id: &str) {
    sqlx::query("UPDATE reservation SET expire_time = now() - interval '1 ms' WHERE entry_id = $1::uuid")
        .bind(entry_id)
        .execute(&**pool)
        .await
        .unwrap();
    while reservations::expire(pool).await.unwrap() > 0 {}
}

/// On hand, held and reserved.
async fn all_figures(pool: &Pool) -> (i64, i64, i64) {
    let balance = store::stock::get(pool, "a").await.unwrap().unwrap().balance;
    (balance.on_hand, balance.held, balance.reserved)
}

async fn is_sound(pool: &Pool, prepared: &[PreparedBranch<Holds>]) {
    assert_eq!(replayed(pool).await, [""; 0]);
    assert_eq!(audit(&Inventory::default(), pool, prepared).await, [""; 0]);
}

#[tokio::test]
async fn every_way_of_freeing_stock_offers_it_to_the_next_in_line() {
    let (_postgres, pool, service) = start().await;
    let (line, carts) = (line(&pool), Reservations::new(pool.clone(), Inventory::default().reservations));
    set(&service, "a", 3).await.unwrap();
    let buffer = async |buffer| {
        service.set_buffer(Request::new(api::SetBufferRequest { sku: "a".into(), buffer })).await.unwrap();
    };
    let move_one = async |from: api::StockState, to: api::StockState| {
        let (sku, request_id) = ("a".to_owned(), String::new());
        let request = api::MoveStockRequest {
            sku,
            from: from.into(),
            to: to.into(),
            quantity: 1,
            request_id,
            location: String::new(),
        };
        service.move_stock(Request::new(request)).await.unwrap();
    };
    move_one(api::StockState::OnHand, api::StockState::QualityControl).await;
    buffer(1).await;
    let lines = vec![api::ReservationLine { sku: "a".into(), quantity: 1 }];
    let cart = api::CreateReservationRequest { customer: "cart".into(), lines, ..Default::default() };
    let cart = carts.create_reservation(Request::new(cart)).await.unwrap().into_inner().reservation.unwrap();
    adjust(&service, "a", 1, "").await.unwrap();
    let held = order(1, &[]);
    assert!(vote(&pool, &held).await);
    adjust(&service, "a", 1, "").await.unwrap();
    let sold = order(1, &[]);
    let step = testing::step("stock", &sold);
    assert!(testing::execute(&Inventory::default(), &pool, std::slice::from_ref(&step)).await[0].is_ok());

    let mut waiting = Vec::new();
    for number in 0..8 {
        waiting.push(join(&line, &format!("c{number}"), 1).await);
    }
    assert_eq!(seen(&line, &waiting[7]).await, ("WAITING", 8, 0));
    for (number, entry_id) in waiting.iter().enumerate().take(7) {
        assert_eq!(seen(&line, entry_id).await, ("WAITING", 1, 0), "{number}");
        match number {
            0 => abort(&Inventory::default(), &pool, std::slice::from_ref(&held)).await,
            1 => {
                let request = api::ReleaseReservationRequest { reservation_id: cart.reservation_id.clone() };
                carts.release_reservation(Request::new(request)).await.unwrap();
            }
            2 => buffer(0).await,
            3 => move_one(api::StockState::QualityControl, api::StockState::OnHand).await,
            4 => testing::compensate(&Inventory::default(), &pool, std::slice::from_ref(&step)).await,
            5 => {
                let answered = adjust(&service, "a", 1, "").await.unwrap();
                assert_eq!((answered.available, answered.reserved), (0, 6), "the answer knows of the offer");
            }
            _ => assert_eq!(set(&service, "a", 7).await.unwrap().available, 0),
        }
        assert_eq!(seen(&line, entry_id).await, ("OFFERED", 0, 1), "{number}");
        assert!(!vote(&pool, &order(1, &[])).await, "nobody else gets it");
    }
    assert_eq!(seen(&line, &waiting[7]).await, ("WAITING", 1, 0));
    // The first does not come in time: his goes to the last.
    time_passes(&pool, &waiting[0]).await;
    assert_eq!(seen(&line, &waiting[0]).await, ("LAPSED", 0, 0));
    assert_eq!(seen(&line, &waiting[7]).await, ("OFFERED", 0, 1));
    is_sound(&pool, &[]).await;
    // Nobody waits any more: what is freed now is for sale, and the SKU is as cheap as before.
    leave(&line, &waiting[1]).await;
    assert!(vote(&pool, &order(1, &[])).await);
    let marks: Option<i32> = sqlx::query_scalar("SELECT marks FROM stock").fetch_one(&*pool).await.unwrap();
    assert_eq!(marks, None);
}

#[tokio::test]
async fn an_offer_is_ordered_like_any_reservation() {
    let (_postgres, pool, service) = start().await;
    let line = line(&pool);
    set(&service, "a", 0).await.unwrap();
    let mine = join(&line, "alice", 3).await;
    adjust(&service, "a", 2, "").await.unwrap();
    adjust(&service, "a", 1, "").await.unwrap();
    assert_eq!(seen(&line, &mine).await, ("OFFERED", 0, 3));
    let taken = order(3, &offers(&line, &mine).await);
    assert!(vote(&pool, &taken).await);
    assert_eq!(seen(&line, &mine).await, ("TAKEN", 0, 0));
    abort(&Inventory::default(), &pool, std::slice::from_ref(&taken)).await;
    assert_eq!(seen(&line, &mine).await, ("OFFERED", 0, 3), "the order was not to be, and the offer stands");
    let again = order(3, &offers(&line, &mine).await);
    assert!(vote(&pool, &again).await);
    commit(&Inventory::default(), &pool, std::slice::from_ref(&again)).await;
    time_passes(&pool, &mine).await;
    assert_eq!(seen(&line, &mine).await, ("TAKEN", 0, 0));
    assert_eq!(all_figures(&pool).await, (0, 0, 0));
    let expected =
        ["1 counted 0: 0 0", "2 received 2: 2 0", "3 reserved 2: 2 0", "4 received 1: 3 0", "5 reserved 1: 3 0"];
    assert_eq!(movements(&pool, "a").await[..5], expected);
    is_sound(&pool, &[]).await;
}

#[tokio::test]
async fn the_head_of_the_line_is_served_in_parts_and_keeps_its_place_for_the_rest() {
    let (_postgres, pool, service) = start().await;
    let line = line(&pool);
    set(&service, "a", 2).await.unwrap();
    let first = join(&line, "alice", 5).await;
    assert_eq!(seen(&line, &first).await, ("WAITING", 1, 2), "what is free already is offered at once");
    let whole = join_as(&line, "bob", 4, 4).await.unwrap().entry_id;
    let last = join(&line, "carol", 2).await;
    assert_eq!(get(&line, &last).await.units_ahead, 7);
    adjust(&service, "a", 3, "").await.unwrap();
    assert_eq!(seen(&line, &first).await, ("OFFERED", 0, 5));
    adjust(&service, "a", 3, "").await.unwrap();
    assert_eq!(seen(&line, &whole).await, ("WAITING", 1, 0), "who takes four at least is passed over by three");
    assert_eq!(seen(&line, &last).await, ("OFFERED", 0, 2));
    assert!(vote(&pool, &order(1, &[])).await, "and what nobody in the line takes is for sale");
    adjust(&service, "a", 4, "").await.unwrap();
    assert_eq!(seen(&line, &whole).await, ("OFFERED", 0, 4));
    // One of alice's two offers runs out: she has had her turn.
    let one = offers(&line, &first).await[0];
    sqlx::query("UPDATE reservation SET expire_time = now() WHERE reservation_id = $1")
        .bind(one)
        .execute(&*pool)
        .await
        .unwrap();
    while reservations::expire(&pool).await.unwrap() > 0 {}
    let (state, ..) = seen(&line, &first).await;
    assert_eq!(state, "LAPSED");
    let rest = order(3, &offers(&line, &first).await);
    assert!(vote(&pool, &rest).await, "what she was offered otherwise is still hers");
}

#[tokio::test]
async fn who_leaves_gives_way() {
    let (_postgres, pool, service) = start().await;
    let line = line(&pool);
    set(&service, "a", 2).await.unwrap();
    let first = join(&line, "alice", 3).await;
    let second = join(&line, "bob", 1).await;
    let third = join(&line, "carol", 5).await;
    let left = leave(&line, &first).await;
    assert_eq!((left.state(), left.offers.len()), (api::WaitlistState::Left, 0));
    assert_eq!(leave(&line, &first).await, left, "twice is no error");
    assert_eq!(seen(&line, &second).await, ("OFFERED", 0, 1));
    assert_eq!(seen(&line, &third).await, ("WAITING", 1, 1));
    // Releasing the offer is leaving as well.
    let carts = Reservations::new(pool.clone(), Inventory::default().reservations);
    let reservation_id = offers(&line, &second).await[0].to_string();
    let extend = api::ExtendReservationRequest { reservation_id: reservation_id.clone(), ttl_ms: 86_400_000 };
    let refused = carts.extend_reservation(Request::new(extend)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "OFFER_IS_TIMED".to_owned()));
    carts.release_reservation(Request::new(api::ReleaseReservationRequest { reservation_id })).await.unwrap();
    assert_eq!(seen(&line, &second).await, ("LEFT", 0, 0));
    assert_eq!(seen(&line, &third).await, ("WAITING", 1, 2));
    let request = api::ListWaitlistRequest { sku: "a".into(), page_size: 1, show_ended: true, ..Default::default() };
    let page = line.list_waitlist(Request::new(request.clone())).await.unwrap().into_inner();
    assert_eq!(page.entries.iter().map(|entry| &entry.entry_id).collect::<Vec<_>>(), [&first]);
    let next = api::ListWaitlistRequest { page_token: page.next_page_token, ..request };
    let page = line.list_waitlist(Request::new(next)).await.unwrap().into_inner();
    assert_eq!(page.entries.iter().map(|entry| &entry.entry_id).collect::<Vec<_>>(), [&second]);
    is_sound(&pool, &[]).await;
}

#[tokio::test]
async fn a_customer_waits_only_so_often_and_for_so_many() {
    let (_postgres, pool, service) = start().await;
    let line = line(&pool);
    assert_eq!(reason(&join_as(&line, "alice", 1, 0).await.unwrap_err()).1, "UNKNOWN_SKU");
    set(&service, "a", 0).await.unwrap();
    let repeated = || async {
        let (sku, customer, request_id) = ("a".to_owned(), "alice".to_owned(), "w1".to_owned());
        let request = api::JoinWaitlistRequest { sku, quantity: 40, customer, request_id, min_quantity: 0 };
        line.join_waitlist(Request::new(request)).await.unwrap().into_inner()
    };
    assert_eq!(repeated().await, repeated().await);
    let limit = join_as(&line, "alice", 11, 0).await.unwrap_err();
    assert_eq!(reason(&limit), (Code::FailedPrecondition, "RESERVATION_LIMIT".to_owned()));
    for _ in 0..4 {
        join(&line, "alice", 1).await;
    }
    let often = join_as(&line, "alice", 1, 0).await.unwrap_err();
    assert_eq!(reason(&often), (Code::FailedPrecondition, "WAITLIST_LIMIT".to_owned()));
    join(&line, "bob", 50).await;
    for (quantity, min_quantity) in [(0, 0), (1, 2), (1, -1)] {
        assert_eq!(join_as(&line, "bob", quantity, min_quantity).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let unknown = api::GetWaitlistEntryRequest { entry_id: Uuid::new_v4().to_string() };
    let unknown = line.get_waitlist_entry(Request::new(unknown)).await.unwrap_err();
    assert_eq!(reason(&unknown), (Code::NotFound, "UNKNOWN_WAITLIST_ENTRY".to_owned()));
}

#[tokio::test]
async fn a_wait_is_followed_until_it_ends() {
    let (_postgres, pool, service) = start().await;
    let line = line(&pool);
    set(&service, "a", 0).await.unwrap();
    let before = join(&line, "alice", 1).await;
    let mine = join(&line, "bob", 1).await;
    let watch = api::WatchWaitlistRequest { entry_id: mine.clone() };
    let mut events = line.watch_waitlist(Request::new(watch)).await.unwrap().into_inner();
    let mut next = async || {
        let told = tokio::time::timeout(Duration::from_secs(10), futures::StreamExt::next(&mut events)).await.unwrap();
        told.map(|told| told.unwrap().entry.unwrap()).map(|entry| (entry.state(), entry.position, entry.offers.len()))
    };
    assert_eq!(next().await, Some((api::WaitlistState::Waiting, 2, 0)));
    leave(&line, &before).await;
    assert_eq!(next().await, Some((api::WaitlistState::Waiting, 1, 0)));
    adjust(&service, "a", 1, "").await.unwrap();
    assert_eq!(next().await, Some((api::WaitlistState::Offered, 0, 1)));
    time_passes(&pool, &mine).await;
    let mut told = next().await;
    while told == Some((api::WaitlistState::Offered, 0, 1)) {
        told = next().await; // its time, which was changed by hand
    }
    assert_eq!(told, Some((api::WaitlistState::Lapsed, 0, 0)));
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn the_audit_finds_a_waitlist_that_is_not_served() {
    let (_postgres, pool, service) = start().await;
    let line = line(&pool);
    set(&service, "a", 0).await.unwrap();
    let whole = join_as(&line, "alice", 3, 3).await.unwrap().entry_id;
    adjust(&service, "a", 2, "").await.unwrap();
    is_sound(&pool, &[]).await;
    sqlx::query("UPDATE stock SET marks = NULL").execute(&*pool).await.unwrap();
    let unmarked = "waiters-first a: is waited for without its mark";
    assert_eq!(audit(&Inventory::default(), &pool, &[]).await, [unmarked]);
    adjust(&service, "a", 1, "").await.unwrap();
    let unserved = "waiters-first a: 3 are free, and 1 who would take some wait";
    assert_eq!(audit(&Inventory::default(), &pool, &[]).await, [unserved, unmarked]);
    sqlx::query("UPDATE waitlist_entry SET state = 2, offered = quantity").execute(&*pool).await.unwrap();
    let lost = format!("waiters-first a: entry {whole} was offered all it wants, and has no offer");
    assert_eq!(audit(&Inventory::default(), &pool, &[]).await, [lost]);
}

#[tokio::test]
async fn a_line_longer_than_what_is_read_at_a_time_is_served_to_its_end() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 0).await.unwrap();
    join(&line(&pool), "first", 1).await;
    sqlx::query(
        "INSERT INTO waitlist_entry (entry_id, sku, customer, quantity, min_quantity, offer_ttl_ms, client_id)
         SELECT gen_random_uuid(), 'a', 'c' || n, 1, 1, 600000, 'default' FROM generate_series(2, 250) AS n",
    )
    .execute(&*pool)
    .await
    .unwrap();
    adjust(&service, "a", 230, "").await.unwrap();
    let offered = async || -> Vec<bool> {
        sqlx::query_scalar("SELECT state = 2 FROM waitlist_entry ORDER BY place").fetch_all(&*pool).await.unwrap()
    };
    assert_eq!(offered().await, (1..=250).map(|n| n <= 230).collect::<Vec<_>>());
    adjust(&service, "a", 30, "").await.unwrap();
    assert_eq!(offered().await, [true; 250]);
    let rest = order(10, &[]);
    assert!(vote(&pool, &rest).await, "and the rest is for sale");
    is_sound(&pool, &[rest]).await;
}
