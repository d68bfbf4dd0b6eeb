//! Several locations: what is where, who ships what, and that all of it sums up.
use std::collections::BTreeMap;

use proto::assent::inventory::v1::location_service_server::LocationService;
use proto::assent::inventory::v1::waitlist_service_server::WaitlistService;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::ledger::{movements, replayed};
use super::*;
use crate::grpc::{Locations, Waitlist};

async fn add_at(service: &StockService, sku: &str, delta: i64, location: &str) -> Result<api::StockItem, Status> {
    let (sku, location, request_id) = (sku.to_owned(), location.to_owned(), String::new());
    let request = api::AdjustStockRequest { sku, delta, request_id, location, ..Default::default() };
    Ok(service.adjust_stock(Request::new(request)).await?.into_inner().item.unwrap())
}

/// What a SKU has where, as `location on_hand held`.
async fn places(pool: &Pool, sku: &str) -> Vec<String> {
    let request = api::GetLocationStockRequest { sku: sku.to_owned() };
    let found = Locations::new(pool.clone()).get_location_stock(Request::new(request)).await.unwrap().into_inner();
    found.locations.into_iter().map(|at| format!("{} {} {}", at.location, at.on_hand, at.held)).collect()
}

/// Who ships what of an order, as `quantity sku location`.
async fn shipped(pool: &Pool, order: &PreparedBranch<Holds>) -> Vec<String> {
    let request = api::GetAllocationRequest { order_id: order.transaction_id.to_string() };
    let found = Locations::new(pool.clone()).get_allocation(Request::new(request)).await.unwrap().into_inner();
    found.parts.into_iter().map(|part| format!("{} {} {}", part.quantity, part.sku, part.location)).collect()
}

async fn transfer(pool: &Pool, quantity: i64, from: &str, to: &str, request_id: &str) -> Result<(), Status> {
    let request = api::TransferStockRequest {
        sku: "a".to_owned(),
        quantity,
        from: from.to_owned(),
        to: to.to_owned(),
        request_id: request_id.to_owned(),
    };
    Locations::new(pool.clone()).transfer_stock(Request::new(request)).await.map(drop)
}

async fn vote(pool: &Pool, order: &PreparedBranch<Holds>) -> bool {
    prepare(&Inventory::default(), pool, std::slice::from_ref(order)).await[0].is_ok()
}

async fn is_sound(pool: &Pool, prepared: &[PreparedBranch<Holds>]) {
    assert_eq!(replayed(pool).await, [""; 0]);
    assert_eq!(audit(&Inventory::default(), pool, prepared).await, [""; 0]);
}

#[tokio::test]
async fn a_sku_of_one_place_has_no_rows_of_locations() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 5).await.unwrap();
    let order = branch(&[("a", 2)]);
    assert!(vote(&pool, &order).await);
    commit(&Inventory::default(), &pool, std::slice::from_ref(&order)).await;
    let rows = "SELECT (SELECT count(*) FROM location_stock) + (SELECT count(*) FROM location_movement)
                     + (SELECT count(*) FROM allocation)";
    let rows: i64 = sqlx::query_scalar(rows).fetch_one(&*pool).await.unwrap();
    assert_eq!(rows, 0);
    assert_eq!(places(&pool, "a").await, ["main 3 0"]);
    assert_eq!(shipped(&pool, &order).await, [""; 0]);
}

#[tokio::test]
async fn an_order_is_shipped_from_one_location_if_one_has_all_of_it() {
    let (_postgres, pool, service) = start().await;
    for (sku, at, quantity) in [("a", "east", 5), ("a", "west", 9), ("b", "east", 1), ("b", "west", 9)] {
        add_at(&service, sku, quantity, at).await.unwrap();
    }
    set(&service, "c", 9).await.unwrap();
    let whole = branch(&[("a", 2), ("b", 3), ("c", 1)]);
    let split = branch(&[("a", 8)]);
    // One batch: the second sees what the first has taken.
    let batch = [whole.clone(), split.clone(), branch(&[("a", 5)])];
    let votes = prepare(&Inventory::default(), &pool, &batch).await;
    assert_eq!(votes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(shipped(&pool, &whole).await, ["2 a west", "3 b west"]);
    assert_eq!(shipped(&pool, &split).await, ["1 a east", "7 a west"]);
    assert_eq!(places(&pool, "a").await, ["east 5 1", "west 9 9"]);
    is_sound(&pool, &batch[..2]).await;
    abort(&Inventory::default(), &pool, std::slice::from_ref(&split)).await;
    assert_eq!(shipped(&pool, &split).await, [""; 0]);
    commit(&Inventory::default(), &pool, std::slice::from_ref(&whole)).await;
    assert_eq!(places(&pool, "a").await, ["east 5 0", "west 7 0"]);
    assert_eq!(places(&pool, "b").await, ["east 1 0", "west 6 0"]);
    let first = api::SetLocationRequest { location: "east".to_owned(), priority: 1 };
    Locations::new(pool.clone()).set_location(Request::new(first)).await.unwrap();
    let nearest = branch(&[("a", 1)]);
    assert!(vote(&pool, &nearest).await);
    assert_eq!(shipped(&pool, &nearest).await, ["1 a east"]);
    is_sound(&pool, &[nearest]).await;
}

#[tokio::test]
async fn what_was_held_before_there_were_locations_is_at_the_main_one() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 10).await.unwrap();
    let (sold, given_back) = (branch(&[("a", 4)]), branch(&[("a", 3)]));
    assert!(vote(&pool, &sold).await && vote(&pool, &given_back).await);
    add_at(&service, "a", 6, "west").await.unwrap();
    assert_eq!(places(&pool, "a").await, ["main 10 7", "west 6 0"]);
    is_sound(&pool, &[sold.clone(), given_back.clone()]).await;
    let short = transfer(&pool, 4, "main", "west", "").await.unwrap_err();
    assert_eq!(reason(&short), (Code::FailedPrecondition, "TOO_FEW".to_owned()));
    commit(&Inventory::default(), &pool, &[sold]).await;
    abort(&Inventory::default(), &pool, &[given_back]).await;
    assert_eq!(places(&pool, "a").await, ["main 6 0", "west 6 0"]);
    is_sound(&pool, &[]).await;
}

#[tokio::test]
async fn a_transfer_moves_units_once_and_loses_none() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 10).await.unwrap();
    transfer(&pool, 4, "main", "west", "t1").await.unwrap();
    transfer(&pool, 4, "main", "west", "t1").await.unwrap();
    assert_eq!(places(&pool, "a").await, ["main 6 0", "west 4 0"]);
    assert_eq!(
        movements(&pool, "a").await,
        ["1 counted 10: 10 0", "2 transferred_out 4: 10 0", "3 transferred_in 4: 10 0"]
    );
    for (quantity, from, to, expected) in [
        (7, "main", "west", "TOO_FEW"),
        (1, "nowhere", "west", "TOO_FEW"),
        (0, "main", "west", "INVALID_ARGUMENT"),
        (1, "main", "main", "INVALID_ARGUMENT"),
        (1, "a b", "west", "INVALID_ARGUMENT"),
    ] {
        assert_eq!(reason(&transfer(&pool, quantity, from, to, "").await.unwrap_err()).1, expected);
    }
    // Counts, receipts and losses at a location leave the others alone; those without one are at the main one.
    let request = api::SetStockRequest { sku: "a".into(), on_hand: 1, location: "west".into() };
    assert_eq!(service.set_stock(Request::new(request)).await.unwrap().into_inner().item.unwrap().on_hand, 7);
    assert_eq!(add_at(&service, "a", -2, "west").await.unwrap_err().code(), Code::FailedPrecondition);
    add_at(&service, "a", 2, "").await.unwrap();
    add_at(&service, "a", -1, "west").await.unwrap();
    add_at(&service, "a", -8, "").await.unwrap();
    assert_eq!(places(&pool, "a").await, ["main 0 0", "west 0 0"]);
    is_sound(&pool, &[]).await;
}

#[tokio::test]
async fn what_a_saga_undoes_goes_back_to_where_it_came_from() {
    let (_postgres, pool, service) = start().await;
    add_at(&service, "a", 2, "east").await.unwrap();
    add_at(&service, "a", 2, "west").await.unwrap();
    let order = branch(&[("a", 3)]);
    let step = testing::step("stock", &order);
    assert!(testing::execute(&Inventory::default(), &pool, std::slice::from_ref(&step)).await[0].is_ok());
    assert_eq!(shipped(&pool, &order).await, ["2 a east", "1 a west"]);
    testing::compensate(&Inventory::default(), &pool, std::slice::from_ref(&step)).await;
    assert_eq!(places(&pool, "a").await, ["east 2 0", "west 2 0"]);
    is_sound(&pool, &[]).await;
}

#[tokio::test]
async fn what_a_customer_returns_goes_back_to_where_it_came_from() {
    let (_postgres, pool, service) = start().await;
    add_at(&service, "a", 2, "east").await.unwrap();
    add_at(&service, "a", 2, "west").await.unwrap();
    let order = branch(&[("a", 3)]);
    assert!(vote(&pool, &order).await);
    commit(&Inventory::default(), &pool, std::slice::from_ref(&order)).await;
    for _ in 0..2 {
        let put_back = crate::domain::PutBack {
            order_id: order.transaction_id,
            sellable: vec![("a".to_owned(), 1)],
            damaged: Vec::new(),
            cancelled: false,
        };
        let returned = testing::branch(Holds::of_put_back(put_back));
        assert!(vote(&pool, &returned).await);
        commit(&Inventory::default(), &pool, &[returned]).await;
    }
    assert_eq!(places(&pool, "a").await, ["east 2 0", "west 1 0"]);
    is_sound(&pool, &[]).await;
}

/// Whatever happens in whatever order, the locations sum up to the stock, and who waits is served from them.
#[tokio::test]
async fn locations_sum_up_to_the_stock_whatever_happens() {
    let (_postgres, pool, service) = start().await;
    let line = Waitlist::new(pool.clone(), Inventory::default().waitlist);
    let mut random = StdRng::seed_from_u64(7);
    let mut held: Vec<PreparedBranch<Holds>> = Vec::new();
    for sku in ["a", "b", "plain"] {
        set(&service, sku, 20).await.unwrap();
    }
    for number in 0..120 {
        let at = ["east", "west", "north", ""][random.random_range(0..4)];
        let sku = ["a", "b"][random.random_range(0..2)];
        match random.random_range(0..7) {
            0 => drop(add_at(&service, sku, random.random_range(-4..=6), at).await),
            1 => drop(transfer(&pool, random.random_range(1..=4), "main", "west", "").await),
            2 | 3 => {
                let mut lines: BTreeMap<&str, i64> = BTreeMap::new();
                for sku in ["a", "b", "plain"].into_iter().take(random.random_range(1..=3)) {
                    lines.insert(sku, random.random_range(1..=5));
                }
                let order = branch(&lines.into_iter().collect::<Vec<_>>());
                if vote(&pool, &order).await {
                    held.push(order);
                }
            }
            4 if number > 60 => {
                let (sku, customer) = (sku.to_owned(), format!("c{number}"));
                let joining = api::JoinWaitlistRequest { sku, quantity: 2, customer, ..Default::default() };
                line.join_waitlist(Request::new(joining)).await.unwrap();
            }
            _ if !held.is_empty() => {
                let order = held.swap_remove(random.random_range(0..held.len()));
                match random.random_bool(0.5) {
                    true => commit(&Inventory::default(), &pool, &[order]).await,
                    false => abort(&Inventory::default(), &pool, &[order]).await,
                }
            }
            _ => (),
        }
        if number % 10 == 0 {
            is_sound(&pool, &held).await;
        }
    }
    is_sound(&pool, &held).await;
}

#[tokio::test]
async fn the_audit_finds_locations_that_do_not_sum_up() {
    let (_postgres, pool, service) = start().await;
    add_at(&service, "a", 5, "east").await.unwrap();
    add_at(&service, "a", 5, "west").await.unwrap();
    let order = branch(&[("a", 2)]);
    assert!(vote(&pool, &order).await);
    sqlx::query("UPDATE location_stock SET on_hand = 4 WHERE location = 'west'").execute(&*pool).await.unwrap();
    sqlx::query("UPDATE location_stock SET held = 0 WHERE location = 'east'").execute(&*pool).await.unwrap();
    let expected = [
        "stock-conserved a: east has 0 held, and 2 are allotted there",
        "stock-conserved a: the locations have 9 on hand and 0 held, the stock 10 and 2",
        "stock-conserved a: west has 4 on hand, by its movements 5",
    ];
    assert_eq!(audit(&Inventory::default(), &pool, &[order]).await, expected);
}
