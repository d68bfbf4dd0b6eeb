//! The ledger: what each change writes, time travel, and what a replay finds.
use std::time::SystemTime;

use sqlx::AssertSqlSafe;

use super::*;
use crate::domain::{Differs, Movement};

/// A SKU's movements, oldest first, as `sequence kind quantity: on_hand held`.
pub async fn movements(pool: &Pool, sku: &str) -> Vec<String> {
    let shown = |movement: Movement| {
        let Movement { sequence, kind, quantity, after, .. } = movement;
        format!("{sequence} {} {quantity}: {} {}", kind.name(), after.on_hand, after.held)
    };
    let mut movements: Vec<String> =
        store::ledger::list(pool, sku, i64::MAX, 1_000).await.unwrap().into_iter().map(shown).collect();
    movements.reverse();
    movements
}

/// What a replay finds, as `sku differs sequence: detail`.
pub async fn replayed(pool: &Pool) -> Vec<String> {
    let page = store::replay::snapshot(pool, "", 1_000).await.unwrap();
    let shown = |found: crate::domain::Difference| {
        let sequence = found.sequence.map(|sequence| sequence.to_string()).unwrap_or_default();
        format!("{} {} {sequence}: {}", found.sku, found.differs.name(), found.detail)
    };
    page.differences.into_iter().map(shown).collect()
}

/// Does what only a hand in the tables can do.
async fn tamper(pool: &Pool, statements: &str) {
    let statements = format!("SET LOCAL session_replication_role = replica; {statements}");
    let mut local = pool.begin().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *local).await.unwrap();
    local.commit().await.unwrap();
}

async fn get_at(service: &StockService, sku: &str, time: SystemTime) -> Result<(i64, i64, i64), Status> {
    let request = api::GetStockRequest { sku: sku.to_owned(), read_time: Some(time.into()), ..Default::default() };
    let item = service.get_stock(Request::new(request)).await?.into_inner().item.unwrap();
    Ok((item.on_hand, item.held, item.version))
}

#[tokio::test]
async fn what_is_held_and_what_is_sold_in_one_statement_is_in_the_ledger() {
    let (_postgres, pool, service) = start().await;
    let inventory = Inventory::default();
    set(&service, "a", 10).await.unwrap();
    set(&service, "b", 5).await.unwrap();
    let first = [branch(&[("a", 4)]), branch(&[("a", 1), ("b", 2)])];
    assert!(testing::prepare_at_once(&inventory, &pool, &first, &[]).await);
    assert_eq!((figures(&pool, "a").await, figures(&pool, "b").await), ((10, 5), (5, 2)));
    // The test's batches are closed one by one, and these two came together.
    assert!(!testing::prepare_at_once(&inventory, &pool, &[branch(&[("a", 1)])], &first).await);

    let second = [branch(&[("a", 2)]), branch(&[("b", 1)])];
    prepare(&inventory, &pool, &second).await;
    let third = [branch(&[("a", 3)]), branch(&[("a", 1)])];
    assert!(!testing::prepare_at_once(&inventory, &pool, &[branch(&[("a", 4)])], &second).await, "3 are left");
    assert_eq!((figures(&pool, "a").await, figures(&pool, "b").await), ((10, 7), (5, 3)), "nothing was done");
    assert!(testing::prepare_at_once(&inventory, &pool, &third[..1], &second).await);
    assert_eq!((figures(&pool, "a").await, figures(&pool, "b").await), ((8, 8), (4, 2)));
    assert!(!testing::prepare_at_once(&inventory, &pool, &third[1..], &[]).await, "nothing is left");
    let expected =
        ["1 counted 10: 10 0", "2 held 4: 10 4", "3 held 1: 10 5", "4 held 2: 10 7", "5 sold 2: 8 5", "6 held 3: 8 8"];
    assert_eq!(movements(&pool, "a").await, expected);
    assert_eq!(replayed(&pool).await, [""; 0]);
    let prepared = [&first[..], &third[..1]].concat();
    assert_eq!(audit(&inventory, &pool, &prepared).await, [""; 0]);

    let missing = [branch(&[("nowhere", 1)])];
    assert!(!testing::prepare_at_once(&inventory, &pool, &missing, &[]).await);
    assert_eq!(audit(&inventory, &pool, &prepared).await, [""; 0]);
}

#[tokio::test]
async fn every_request_of_a_shop_writes_its_movement() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 10).await.unwrap();
    set(&service, "a", 10).await.unwrap();
    adjust(&service, "a", 5, "r1").await.unwrap();
    adjust(&service, "a", 5, "r1").await.unwrap();
    adjust(&service, "a", -3, "").await.unwrap();
    adjust(&service, "a", 0, "").await.unwrap();
    adjust(&service, "a", -13, "r2").await.unwrap_err();
    adjust(&service, "a", 1, "r1").await.unwrap_err();
    adjust(&service, "nowhere", -1, "").await.unwrap_err();
    prepare(&Inventory::default(), &pool, &[branch(&[("a", 4)])]).await;
    set(&service, "a", 3).await.unwrap_err();
    set(&service, "a", 20).await.unwrap();
    adjust(&service, "b", 7, "").await.unwrap();
    let expected = [
        "1 counted 10: 10 0",
        "2 counted 10: 10 0",
        "3 received 5: 15 0",
        "4 adjusted -3: 12 0",
        "5 adjusted 0: 12 0",
        "6 held 4: 12 4",
        "7 counted 20: 20 4",
    ];
    assert_eq!(movements(&pool, "a").await, expected);
    assert_eq!(movements(&pool, "b").await, ["1 received 7: 7 0"]);
    assert_eq!(movements(&pool, "nowhere").await, [""; 0]);
    let received = store::ledger::list(&pool, "a", 4, 1).await.unwrap().remove(0);
    assert_eq!((received.request_id.as_deref(), received.actor.as_deref()), (Some("r1"), Some("default")));
    assert_eq!(replayed(&pool).await, [""; 0]);
}

#[tokio::test]
async fn every_fate_of_a_branch_writes_its_movements_in_the_order_of_the_batch() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 10).await.unwrap();
    set(&service, "b", 10).await.unwrap();
    // Two lines of one SKU are one movement.
    let batch = [branch(&[("b", 1), ("a", 3), ("b", 1)]), branch(&[("a", 2)]), branch(&[("b", 4), ("a", 1)])];
    assert!(prepare(&Inventory::default(), &pool, &batch).await.iter().all(Result::is_ok));
    commit(&Inventory::default(), &pool, &batch[..2]).await;
    abort(&Inventory::default(), &pool, &batch[2..]).await;
    let expected = [
        "1 counted 10: 10 0",
        "2 held 3: 10 3",
        "3 held 2: 10 5",
        "4 held 1: 10 6",
        "5 sold 3: 7 3",
        "6 sold 2: 5 1",
        "7 released 1: 5 0",
    ];
    assert_eq!(movements(&pool, "a").await, expected);
    let expected = ["1 counted 10: 10 0", "2 held 2: 10 2", "3 held 4: 10 6", "4 sold 2: 8 4", "5 released 4: 8 0"];
    assert_eq!(movements(&pool, "b").await, expected);
    let of_transactions = store::ledger::list(&pool, "a", i64::MAX, 6).await.unwrap();
    let ids: Vec<_> = of_transactions.iter().rev().map(|movement| movement.transaction_id.unwrap()).collect();
    let [first, second, third] = [0, 1, 2].map(|place: usize| batch[place].transaction_id);
    assert_eq!(ids, [first, second, third, first, second, third]);
    let reasons: Vec<_> = of_transactions.iter().rev().map(|movement| movement.reason.as_deref()).collect();
    assert_eq!(reasons, [None, None, None, None, None, Some("TIMED_OUT")]);
    assert_eq!(replayed(&pool).await, [""; 0]);
}

#[tokio::test]
async fn what_is_refused_is_not_in_the_ledger_and_leaves_no_gap() {
    let (_postgres, pool, service) = start().await;
    set(&service, "hot", 10).await.unwrap();
    set(&service, "cold", 100).await.unwrap();
    set(&service, "other", 100).await.unwrap();
    let batch = [
        branch(&[("hot", 4), ("cold", 1)]),
        branch(&[("hot", 7), ("cold", 1)]),
        branch(&[("cold", 5), ("other", 2)]),
        branch(&[("other", 1), ("nowhere", 1)]),
        branch(&[("hot", 6)]),
    ];
    let votes = prepare(&Inventory::default(), &pool, &batch).await;
    assert_eq!(votes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, false, true]);
    assert_eq!(movements(&pool, "hot").await, ["1 counted 10: 10 0", "2 held 4: 10 4", "3 held 6: 10 10"]);
    assert_eq!(movements(&pool, "cold").await, ["1 counted 100: 100 0", "2 held 1: 100 1", "3 held 5: 100 6"]);
    assert_eq!(movements(&pool, "other").await, ["1 counted 100: 100 0", "2 held 2: 100 2"]);
    // Nothing of it can be had.
    let votes = prepare(&Inventory::default(), &pool, &[branch(&[("hot", 1), ("cold", 1)])]).await;
    assert!(votes[0].is_err());
    assert_eq!((movements(&pool, "hot").await.len(), movements(&pool, "cold").await.len()), (3, 3));
    assert_eq!(replayed(&pool).await, [""; 0]);
}

#[tokio::test]
async fn racing_writers_leave_no_gap_and_no_step_back() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 200).await.unwrap();
    set(&service, "b", 200).await.unwrap();
    let batches = |first: &'static str, second: &'static str| {
        let pool = pool.clone();
        async move {
            for turn in 0..20 {
                let batch: Vec<_> = (0..8).map(|_| branch(&[(first, 1), (second, 1)])).collect();
                let votes = prepare(&Inventory::default(), &pool, &batch).await;
                let held: Vec<_> = batch.into_iter().zip(votes).filter(|(_, vote)| vote.is_ok()).collect();
                let held: Vec<_> = held.into_iter().map(|(branch, _)| branch).collect();
                match turn % 2 {
                    0 => commit(&Inventory::default(), &pool, &held).await,
                    _ => abort(&Inventory::default(), &pool, &held).await,
                }
            }
        }
    };
    let shop = async {
        for turn in 0..40 {
            adjust(&service, ["a", "b"][turn % 2], 2, "").await.unwrap();
        }
    };
    let batches = [tokio::spawn(batches("a", "b")), tokio::spawn(batches("b", "a"))];
    shop.await;
    for done in batches {
        done.await.unwrap();
    }
    // Gaps, balances and times that go back: the replay looks for all of them.
    assert_eq!(replayed(&pool).await, [""; 0]);
    for sku in ["a", "b"] {
        let version = store::stock::get(&pool, sku).await.unwrap().unwrap().version;
        assert!(version > 21, "{sku} has moved {version} times");
        assert_eq!(i64::try_from(movements(&pool, sku).await.len()).unwrap(), version);
    }
}

#[tokio::test]
async fn stock_is_read_as_it_was() {
    let (_postgres, pool, service) = start().await;
    let now = async || {
        let now: chrono::DateTime<chrono::Utc> =
            sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&pool).await.unwrap();
        SystemTime::from(now)
    };
    let before = now().await;
    set(&service, "a", 10).await.unwrap();
    let counted = now().await;
    let batch = [branch(&[("a", 3)])];
    prepare(&Inventory::default(), &pool, &batch).await;
    let prepared = now().await;
    commit(&Inventory::default(), &pool, &batch).await;
    let committed = now().await;
    assert_eq!(reason(&get_at(&service, "a", before).await.unwrap_err()), (Code::NotFound, "UNKNOWN_SKU".to_owned()));
    assert_eq!(get_at(&service, "a", counted).await.unwrap(), (10, 0, 1));
    assert_eq!(get_at(&service, "a", prepared).await.unwrap(), (10, 3, 2));
    assert_eq!(get_at(&service, "a", committed).await.unwrap(), (7, 0, 3));
    assert_eq!(get_at(&service, "a", committed + Duration::from_secs(3_600)).await.unwrap(), (7, 0, 3));
    let beyond = api::GetStockRequest {
        sku: "a".to_owned(),
        read_time: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
        ..Default::default()
    };
    let status = service.get_stock(Request::new(beyond)).await.unwrap_err();
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "read_time");
}

#[tokio::test]
async fn a_clock_that_goes_back_does_not_reorder_the_ledger() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 10).await.unwrap();
    tamper(&pool, "UPDATE stock SET update_time = now() + interval '1 hour'; UPDATE movement SET create_time = now() + interval '1 hour'").await;
    set(&service, "a", 11).await.unwrap();
    adjust(&service, "a", 1, "").await.unwrap();
    let batch = [branch(&[("a", 3)]), branch(&[("a", 1)])];
    prepare(&Inventory::default(), &pool, &batch).await;
    commit(&Inventory::default(), &pool, &batch[..1]).await;
    abort(&Inventory::default(), &pool, &batch[1..]).await;
    assert_eq!(replayed(&pool).await, [""; 0]);
    let latest = SystemTime::now() + Duration::from_secs(7_200);
    assert_eq!(get_at(&service, "a", latest).await.unwrap(), (9, 0, 7));
}

#[tokio::test]
async fn history_is_read_page_by_page_newest_first() {
    let (_postgres, _pool, service) = start().await;
    for on_hand in 1..=5 {
        set(&service, "a", on_hand).await.unwrap();
        set(&service, "b", on_hand).await.unwrap();
    }
    let list = async |sku: &str, page_token: String| {
        let request = api::ListMovementsRequest { sku: sku.to_owned(), page_size: 2, page_token };
        service.list_movements(Request::new(request)).await.map(tonic::Response::into_inner)
    };
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = list("a", page_token).await.unwrap();
        assert!(page.movements.iter().all(|movement| movement.sku == "a"));
        seen.extend(page.movements.iter().map(|movement| (movement.sequence, movement.kind(), movement.on_hand)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        assert_eq!(list("b", page_token.clone()).await.unwrap_err().code(), Code::InvalidArgument, "another list's");
    }
    let expected: Vec<_> = (1..=5).rev().map(|count| (count, api::MovementKind::Counted, count)).collect();
    assert_eq!(seen, expected);
    let unknown = list("nowhere", String::new()).await.unwrap_err();
    assert_eq!(reason(&unknown), (Code::NotFound, "UNKNOWN_SKU".to_owned()));
}

#[tokio::test]
async fn a_replay_names_each_planted_difference() {
    let (_postgres, pool, service) = start().await;
    for sku in ["a", "b", "c"] {
        set(&service, sku, 10).await.unwrap();
    }
    let batch = [branch(&[("b", 3)])];
    prepare(&Inventory::default(), &pool, &batch).await;
    commit(&Inventory::default(), &pool, &batch).await;
    adjust(&service, "b", 2, "r").await.unwrap();
    assert_eq!(replayed(&pool).await, [""; 0]);
    // What is done to b, and what is found. Its movements: counted 10, held 3, sold 3, received 2.
    let plants: &[(&str, &[&str])] = &[
        (
            "UPDATE stock SET on_hand = 8 WHERE sku = 'b'",
            &["b on_hand : the stock says 8 on hand, the ledger 9; no movement explains it"],
        ),
        (
            "UPDATE stock SET held = 1 WHERE sku = 'b'",
            &["b held : the stock says 1 held, the ledger 0; no movement explains it"],
        ),
        (
            "UPDATE stock SET version = 3 WHERE sku = 'b'",
            &["b version : the stock says 3 as its version, the ledger 4; no movement explains it"],
        ),
        (
            "DELETE FROM stock WHERE sku = 'b'",
            &["b stock : there is no stock, and the ledger ends with 9 on hand and 0 held"],
        ),
        (
            "DELETE FROM movement WHERE sku = 'b'",
            &["b sequence : the stock says 9 on hand and 0 held, and there is no movement"],
        ),
        (
            "DELETE FROM movement WHERE sku = 'b' AND sequence = 4",
            &["b sequence 4: movement 4 is missing: by the stock, on hand changed by 2 and held by 0"],
        ),
        (
            "DELETE FROM movement WHERE sku = 'b' AND sequence IN (2, 3)",
            &[
                "b sequence 2: movements 2 to 3 are missing: with movement 4, received 2, on hand changed by -1 and held by 0",
            ],
        ),
        (
            "DELETE FROM movement WHERE sku = 'b' AND sequence = 1",
            &["b sequence 1: movement 1 is missing: the first that is there left 10 on hand and 3 held"],
        ),
        (
            "UPDATE movement SET quantity = 4 WHERE sku = 'b' AND sequence = 3",
            &["b movement 3: movement 3, sold 4, does not follow: 10 on hand and 3 held before it, 7 and 0 after it"],
        ),
        (
            "UPDATE movement SET kind = 4 WHERE sku = 'b' AND sequence = 3",
            &[
                "b movement 3: movement 3, released 3, does not follow: 10 on hand and 3 held before it, 7 and 0 after it",
            ],
        ),
        (
            "UPDATE movement SET quantity = 9 WHERE sku = 'b' AND sequence = 1",
            &[
                "b movement 1: movement 1, counted 9, begins the ledger: 0 on hand and 0 held before it, 10 and 0 after it",
            ],
        ),
        (
            "UPDATE movement SET on_hand = 99 WHERE sku = 'b' AND sequence = 4",
            &[
                "b movement 4: movement 4, received 2, does not follow: 7 on hand and 0 held before it, 99 and 0 after it",
                "b on_hand : the stock says 9 on hand, the ledger 99; no movement explains it",
            ],
        ),
        (
            "UPDATE movement SET create_time = create_time - interval '1 day' WHERE sku = 'b' AND sequence = 4",
            &["b movement 4: movement 4 is dated before the one before it"],
        ),
        (
            "UPDATE movement SET sequence = 5 WHERE sku = 'b' AND sequence = 4",
            &[
                "b sequence 4: movement 4 is missing: with movement 5, received 2, on hand changed by 2 and held by 0",
                "b version : the stock says 4 as its version, the ledger 5; no movement explains it",
            ],
        ),
        (
            "UPDATE movement SET sku = 'bb' WHERE sku = 'b' AND sequence = 4",
            &[
                "b sequence 4: movement 4 is missing: by the stock, on hand changed by 2 and held by 0",
                "bb sequence 1: movements 1 to 3 are missing: the first that is there left 9 on hand and 0 held",
                "bb stock : there is no stock, and the ledger ends with 9 on hand and 0 held",
            ],
        ),
    ];
    tamper(&pool, "CREATE TABLE kept_stock AS TABLE stock; CREATE TABLE kept AS TABLE movement").await;
    for (plant, found) in plants {
        tamper(&pool, plant).await;
        assert_eq!(replayed(&pool).await, *found, "{plant}");
        // The audit sees the same.
        let audited = audit(&Inventory::default(), &pool, &[]).await;
        for line in *found {
            let (head, detail) = line.split_once(": ").unwrap();
            let (sku, _) = head.split_once(' ').unwrap();
            assert!(audited.contains(&format!("stock-conserved {sku}: {detail}")), "{plant}: {audited:?}");
        }
        tamper(&pool, "DELETE FROM movement; INSERT INTO movement TABLE kept; DELETE FROM stock; INSERT INTO stock TABLE kept_stock").await;
        assert_eq!(replayed(&pool).await, [""; 0]);
    }
}

#[tokio::test]
async fn the_ledger_is_verified_page_by_page_with_what_lies_between_pages_and_behind_the_last() {
    let (_postgres, pool, service) = start().await;
    for sku in ["b", "d", "f"] {
        set(&service, sku, 1).await.unwrap();
    }
    tamper(&pool, "DELETE FROM stock WHERE sku = 'd'").await;
    for sku in ["a", "c", "e", "\u{10ffff}g"] {
        let orphan = "INSERT INTO movement (sku, sequence, quantity, on_hand, held, create_time, kind) VALUES ($1, 1, 1, 1, 0, now(), 6)";
        sqlx::query(orphan).bind(sku).execute(&pool).await.unwrap();
    }
    for page_size in [1, 2, 3, 0] {
        let (mut found, mut counts, mut page_token) = (Vec::new(), (0, 0), String::new());
        loop {
            let request = api::VerifyStockRequest { page_size, page_token };
            let page = service.verify_stock(Request::new(request)).await.unwrap().into_inner();
            found.extend(page.differences.into_iter().map(|found| (found.sku, found.differs)));
            counts = (counts.0 + page.sku_count, counts.1 + page.movement_count);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let expected =
            ["a", "c", "d", "e", "\u{10ffff}g"].map(|sku| (sku.to_owned(), Differs::Stock.name().to_owned()));
        assert_eq!((found, counts), (expected.to_vec(), (2, 7)), "{page_size} at a time");
    }
}

#[tokio::test]
async fn movements_can_be_added_only() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 1).await.unwrap();
    for statement in ["UPDATE movement SET quantity = 2", "DELETE FROM movement", "TRUNCATE movement"] {
        let refused = sqlx::query(statement).execute(&pool).await.unwrap_err();
        assert!(refused.to_string().contains("never changed or deleted"), "{refused}");
    }
    assert_eq!(movements(&pool, "a").await, ["1 counted 1: 1 0"]);
}

#[tokio::test]
async fn stock_from_before_the_ledger_is_opened_as_it_is() {
    let postgres = Postgres::start();
    let pool = postgres.pool(store::migrator()).await;
    // As it was before the ledger, and then the migrations themselves.
    let before = "DROP TABLE movement; DROP FUNCTION movements_stay CASCADE;
        ALTER TABLE stock DROP COLUMN reserved, DROP COLUMN buffer, DROP COLUMN damaged, DROP COLUMN quality_control,
            ADD CONSTRAINT no_oversell CHECK (0 <= held AND held <= on_hand);
        INSERT INTO stock (sku, on_hand, held, version, update_time) VALUES ('old', 10, 4, 17, now() - interval '1 day')";
    sqlx::raw_sql(before).execute(&pool).await.unwrap();
    sqlx::raw_sql(include_str!("../../migrations/0002_ledger.sql")).execute(&pool).await.unwrap();
    sqlx::raw_sql(include_str!("../../migrations/0004_states.sql")).execute(&pool).await.unwrap();
    assert_eq!(replayed(&pool).await, [""; 0]);
    let service = StockService::new(pool.clone(), Inventory::default().strategy);
    assert_eq!(get_at(&service, "old", SystemTime::now()).await.unwrap(), (10, 4, 17));
    let batch = [branch(&[("old", 4)])];
    commit(&Inventory::default(), &pool, &batch).await;
    assert_eq!(movements(&pool, "old").await, ["17 opened 10: 10 4", "18 sold 4: 6 0"]);
    assert_eq!(replayed(&pool).await, [""; 0]);
}
