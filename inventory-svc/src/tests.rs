//! The inventory on a real Postgres.
mod backorders;
mod feed;
mod ledger;
mod locations;
mod reads;
mod reservations;
mod saga;
mod states;
mod waitlist;
mod watch;

use std::time::Duration;

use participant::testing::{self, Postgres, abort, audit, commit, prepare};
use participant::{Pool, PreparedBranch, Resource};
use prost::Message;
use proto::assent::inventory::v1 as api;
use proto::assent::inventory::v1::inventory_service_server::InventoryService;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::domain::{Balance, Holds, Stock};
use crate::grpc::StockService;
use crate::resource::Inventory;
use crate::store;

async fn start() -> (Postgres, Pool, StockService) {
    let postgres = Postgres::start();
    let pool = postgres.pool(store::migrator()).await;
    let service = StockService::new(pool.clone(), Inventory::default().strategy);
    (postgres, pool, service)
}

fn branch(lines: &[(&str, i64)]) -> PreparedBranch<Holds> {
    testing::branch(Holds::sum(lines.iter().map(|(sku, quantity)| ((*sku).to_owned(), *quantity))))
}

async fn set(service: &StockService, sku: &str, on_hand: i64) -> Result<api::StockItem, Status> {
    let request = api::SetStockRequest { sku: sku.to_owned(), on_hand, ..Default::default() };
    Ok(service.set_stock(Request::new(request)).await?.into_inner().item.unwrap())
}

async fn adjust(service: &StockService, sku: &str, delta: i64, request_id: &str) -> Result<api::StockItem, Status> {
    let request =
        api::AdjustStockRequest { sku: sku.to_owned(), delta, request_id: request_id.to_owned(), ..Default::default() };
    Ok(service.adjust_stock(Request::new(request)).await?.into_inner().item.unwrap())
}

/// On hand and held.
async fn figures(pool: &Pool, sku: &str) -> (i64, i64) {
    let Balance { on_hand, held, .. } = store::stock::get(pool, sku).await.unwrap().unwrap().balance;
    (on_hand, held)
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().unwrap().reason)
}

#[tokio::test]
async fn a_sellout_is_decided_in_the_order_of_arrival() {
    let (_postgres, pool, service) = start().await;
    set(&service, "hot", 10).await.unwrap();
    set(&service, "cold", 100).await.unwrap();
    let batch = [
        branch(&[("hot", 4), ("cold", 1)]),
        branch(&[("hot", 7), ("cold", 1)]),
        branch(&[("cold", 5)]),
        branch(&[("hot", 6)]),
        branch(&[("hot", 1)]),
    ];
    let votes = prepare(&Inventory::default(), &pool, &batch).await;
    assert_eq!(votes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true, false]);
    let refusal = votes[1].as_ref().unwrap_err();
    assert_eq!(refusal.reason, "OUT_OF_STOCK");
    let metadata = ["sku", "requested", "available"].map(|key| refusal.metadata[key].as_str());
    assert_eq!(metadata, ["hot", "7", "6"]);
    assert_eq!(votes[4].as_ref().unwrap_err().metadata["available"], "0");
    assert_eq!(figures(&pool, "hot").await, (10, 10));
    assert_eq!(figures(&pool, "cold").await, (100, 6));
    let prepared = [batch[0].clone(), batch[2].clone(), batch[3].clone()];
    assert_eq!(audit(&Inventory::default(), &pool, &prepared).await, [""; 0]);
}

#[tokio::test]
async fn two_writers_at_once_never_oversell() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 60).await.unwrap();
    set(&service, "b", 60).await.unwrap();
    let writer = |first: &'static str, second: &'static str| {
        let pool = pool.clone();
        async move {
            let mut held = 0;
            for _ in 0..10 {
                let batch: Vec<_> = (0..8).map(|_| branch(&[(first, 1), (second, 1)])).collect();
                held += prepare(&Inventory::default(), &pool, &batch).await.iter().filter(|vote| vote.is_ok()).count();
            }
            held
        }
    };
    let (one, other) = tokio::join!(tokio::spawn(writer("a", "b")), tokio::spawn(writer("b", "a")));
    assert_eq!(one.unwrap() + other.unwrap(), 60);
    assert_eq!((figures(&pool, "a").await, figures(&pool, "b").await), ((60, 60), (60, 60)));
}

#[tokio::test]
async fn a_refusal_leaves_nothing_behind() {
    let (_postgres, pool, service) = start().await;
    set(&service, "plenty", 100).await.unwrap();
    set(&service, "scarce", 1).await.unwrap();
    let before = store::stock::list(&pool, "", 10).await.unwrap();
    // Two lines of one SKU are one demand: each alone would fit.
    let batch = [branch(&[("plenty", 5), ("scarce", 1), ("scarce", 1)]), branch(&[("plenty", 5), ("nowhere", 1)])];
    let votes = prepare(&Inventory::default(), &pool, &batch).await;
    let reasons: Vec<_> = votes.iter().map(|vote| vote.as_ref().unwrap_err().reason.as_str()).collect();
    assert_eq!(reasons, ["OUT_OF_STOCK", "UNKNOWN_SKU"]);
    let after = store::stock::list(&pool, "", 10).await.unwrap();
    let figures =
        |stock: &[Stock]| stock.iter().map(|item| (item.balance.on_hand, item.balance.held)).collect::<Vec<_>>();
    assert_eq!(figures(&before), figures(&after));
}

#[tokio::test]
async fn commit_sells_and_abort_gives_back() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 10).await.unwrap();
    set(&service, "b", 10).await.unwrap();
    let batch = [branch(&[("a", 3), ("b", 1)]), branch(&[("a", 2)]), branch(&[("b", 4), ("a", 1)])];
    assert!(prepare(&Inventory::default(), &pool, &batch).await.iter().all(Result::is_ok));
    assert_eq!((figures(&pool, "a").await, figures(&pool, "b").await), ((10, 6), (10, 5)));
    commit(&Inventory::default(), &pool, &batch[..2]).await;
    assert_eq!((figures(&pool, "a").await, figures(&pool, "b").await), ((5, 1), (9, 4)));
    abort(&Inventory::default(), &pool, &batch[2..]).await;
    assert_eq!((figures(&pool, "a").await, figures(&pool, "b").await), ((5, 0), (9, 0)));
    assert_eq!(audit(&Inventory::default(), &pool, &[]).await, [""; 0]);
}

#[tokio::test]
async fn the_audit_finds_planted_differences() {
    let (_postgres, pool, service) = start().await;
    for sku in ["a", "b", "c"] {
        set(&service, sku, 10).await.unwrap();
    }
    let batch = [branch(&[("a", 3)]), branch(&[("b", 2)])];
    prepare(&Inventory::default(), &pool, &batch).await;
    assert_eq!(audit(&Inventory::default(), &pool, &batch).await, [""; 0]);
    // A hold without its transaction, a transaction without its hold, more held than there is.
    assert_eq!(
        audit(&Inventory::default(), &pool, &batch[1..]).await,
        ["no-orphan-holds a: 3 held, but the 0 prepared transactions hold 0"]
    );
    sqlx::query("UPDATE stock SET held = 0 WHERE sku = 'b'").execute(&pool).await.unwrap();
    assert_eq!(
        audit(&Inventory::default(), &pool, &batch).await,
        [
            "no-orphan-holds b: 0 held, but the 1 prepared transactions hold 2",
            "stock-conserved b: the stock says 0 held, the ledger 2; no movement explains it",
        ]
    );
    sqlx::query("ALTER TABLE stock DROP CONSTRAINT no_oversell").execute(&pool).await.unwrap();
    sqlx::query("UPDATE stock SET held = CASE sku WHEN 'a' THEN 3 WHEN 'b' THEN 2 ELSE 0 END, on_hand = 2")
        .execute(&pool)
        .await
        .unwrap();
    let not_by_movements = ["a", "b", "c"]
        .map(|sku| format!("stock-conserved {sku}: the stock says 2 on hand, the ledger 10; no movement explains it"));
    let mut expected = vec!["no-oversell a: 3 held of 2 on hand".to_owned()];
    expected.extend(not_by_movements);
    assert_eq!(audit(&Inventory::default(), &pool, &batch).await, expected);
}

#[tokio::test]
async fn shops_change_and_read_stock() {
    let (_postgres, pool, service) = start().await;
    assert_eq!(adjust(&service, "85123A", 5, "r1").await.unwrap().on_hand, 5);
    assert_eq!(adjust(&service, "85123A", 5, "r1").await.unwrap().on_hand, 5, "a repeat changes nothing more");
    assert_eq!(adjust(&service, "85123A", -2, "").await.unwrap().on_hand, 3);
    let reused = adjust(&service, "85123A", 6, "r1").await.unwrap_err();
    assert_eq!(reason(&reused), (Code::AlreadyExists, "REQUEST_ID_REUSED".to_owned()));
    let mut other = Request::new(api::AdjustStockRequest {
        sku: "x".into(),
        delta: 6,
        request_id: "r1".into(),
        ..Default::default()
    });
    other.metadata_mut().insert("assent-client-id", "other".parse().unwrap());
    assert_eq!(service.adjust_stock(other).await.unwrap().into_inner().item.unwrap().on_hand, 6);

    prepare(&Inventory::default(), &pool, &[branch(&[("85123A", 2)])]).await;
    for denied in [set(&service, "85123A", 1).await, adjust(&service, "85123A", -2, "r2").await] {
        assert_eq!(reason(&denied.unwrap_err()), (Code::FailedPrecondition, "BELOW_HELD".to_owned()));
    }
    assert_eq!(adjust(&service, "85123A", -1, "r2").await.unwrap().available, 0, "a denied request was not noted");
    let too_many = adjust(&service, "85123A", 1_000_000_000_000, "").await.unwrap_err();
    assert_eq!(reason(&too_many), (Code::OutOfRange, "STOCK_OUT_OF_RANGE".to_owned()));
    let unknown = adjust(&service, "none", -1, "").await.unwrap_err();
    assert_eq!(reason(&unknown), (Code::NotFound, "UNKNOWN_SKU".to_owned()));

    for sku in ["b", "a", "Z"] {
        set(&service, sku, 1).await.unwrap();
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = api::ListStockRequest { page_size: 2, page_token };
        let page = service.list_stock(Request::new(request)).await.unwrap().into_inner();
        seen.extend(page.items.into_iter().map(|item| item.sku));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["85123A", "Z", "a", "b", "x"]);
}

#[tokio::test]
async fn a_client_that_goes_away_cannot_cut_a_write_in_two() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 1).await.unwrap();
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM stock FOR UPDATE").execute(&mut *lock).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(50), adjust(&service, "a", 1, "r1")).await;
    assert!(waiting.is_err(), "the write waits for the lock, and its caller has gone away");
    lock.rollback().await.unwrap();
    let done = async {
        while figures(&pool, "a").await != (2, 0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), done).await.expect("the write is carried out all the same");
    assert_eq!(adjust(&service, "a", 1, "r1").await.unwrap().on_hand, 2, "the repeat meets the first");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_told_as_unknown() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 1).await.unwrap();
    // A deferred trigger runs within COMMIT: the session ends there.
    for statement in [
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'",
        "CREATE CONSTRAINT TRIGGER die AFTER UPDATE ON stock DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION die()",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    let status = adjust(&service, "a", 1, "r1").await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unavailable, "OUTCOME_UNKNOWN".to_owned()));
    assert!(status.get_details_retry_info().is_some());
    sqlx::query("DROP TRIGGER die ON stock").execute(&pool).await.unwrap();
    assert_eq!(adjust(&service, "a", 1, "r1").await.unwrap().on_hand, 2, "repeating this very call settles it");
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let (_postgres, _pool, service) = start().await;
    let long = "x".repeat(65);
    for sku in ["", " a", "a\0", "a\nb", long.as_str()] {
        let status = set(&service, sku, 1).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{sku:?}");
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "sku");
    }
    for status in [
        set(&service, "a", -1).await.unwrap_err(),
        set(&service, "a", i64::MAX).await.unwrap_err(),
        adjust(&service, "a", i64::MIN, "").await.unwrap_err(),
        adjust(&service, "a", 1, "no spaces").await.unwrap_err(),
        service
            .list_stock(Request::new(api::ListStockRequest { page_size: -1, ..Default::default() }))
            .await
            .unwrap_err(),
        service
            .list_stock(Request::new(api::ListStockRequest { page_size: 1, page_token: "made up".into() }))
            .await
            .unwrap_err(),
    ] {
        assert_eq!(reason(&status), (Code::InvalidArgument, "INVALID_ARGUMENT".to_owned()), "{status:?}");
    }
}

#[test]
fn branches_are_checked_as_they_are_read() {
    let decode = |lines: Vec<(&str, i64)>| {
        let lines = lines.into_iter().map(|(sku, quantity)| api::StockLine { sku: sku.to_owned(), quantity });
        Inventory::default()
            .decode(&api::InventoryBranch { lines: lines.collect(), ..Default::default() }.encode_to_vec())
    };
    let read = decode(vec![("b", 1), ("a", 2), ("b", 3)]).unwrap();
    assert_eq!(read.iter().collect::<Vec<_>>(), [("b", 4), ("a", 2)]);
    for sku in ["85123A", "15056bl", "gift_0001_20", "DCGS0076", "a b", "ü"] {
        assert!(decode(vec![(sku, 1)]).is_ok(), "{sku}");
    }
    let field = |lines| decode(lines).unwrap_err().field;
    assert_eq!(field(vec![]), "branch.lines");
    assert_eq!(field(vec![("a", 1); 2_001]), "branch.lines");
    assert_eq!(field(vec![("a", 1), ("", 1)]), "branch.lines[1].sku");
    for quantity in [0, -1, 1_000_000_001, i64::MIN] {
        assert_eq!(field(vec![("a", quantity)]), "branch.lines[0].quantity");
    }
    assert_eq!(Inventory::default().decode(b"\xff\xff").unwrap_err().field, "branch");
}
