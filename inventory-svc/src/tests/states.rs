//! What is there without being sold.
use super::ledger::{movements, replayed};
use super::*;
use proto::assent::inventory::v1::StockState::{Damaged, OnHand, QualityControl, Unspecified, WrittenOff};
use sqlx::AssertSqlSafe;

async fn move_units(
    service: &StockService,
    quantity: i64,
    from: api::StockState,
    to: api::StockState,
    request_id: &str,
) -> Result<api::StockItem, Status> {
    let request = api::MoveStockRequest {
        sku: "a".to_owned(),
        from: from.into(),
        to: to.into(),
        quantity,
        request_id: request_id.to_owned(),
        ..Default::default()
    };
    Ok(service.move_stock(Request::new(request)).await?.into_inner().item.unwrap())
}

async fn buffer(service: &StockService, buffer: i64) -> Result<api::StockItem, Status> {
    let request = api::SetBufferRequest { sku: "a".to_owned(), buffer };
    Ok(service.set_buffer(Request::new(request)).await?.into_inner().item.unwrap())
}

async fn votes(pool: &Pool, batch: &[PreparedBranch<Holds>]) -> Vec<bool> {
    prepare(&Inventory::default(), pool, batch).await.iter().map(Result::is_ok).collect()
}

#[tokio::test]
async fn a_sku_that_has_more_than_holds_is_not_held_by_one_statement() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 10).await.unwrap();
    for column in ["reserved", "buffer", "damaged", "quality_control", "marks"] {
        for (value, is_held) in [("1", false), ("NULL", true)] {
            let update = format!("UPDATE stock SET {column} = {value} WHERE sku = 'a'");
            sqlx::query(AssertSqlSafe(update)).execute(&pool).await.unwrap();
            let before = movements(&pool, "a").await.len();
            let branches = [branch(&[("a", 1)])];
            let was_held = testing::prepare_at_once(&Inventory::default(), &pool, &branches, &[]).await;
            assert_eq!(was_held, is_held, "{column} {value}");
            assert_eq!(movements(&pool, "a").await.len() - before, usize::from(is_held), "{column} {value}");
        }
    }
    assert_eq!(figures(&pool, "a").await, (10, 5));
}

#[tokio::test]
async fn a_buffer_is_on_hand_and_not_sold() {
    let (_postgres, pool, service) = start().await;
    assert_eq!(reason(&buffer(&service, 1).await.unwrap_err()).1, "UNKNOWN_SKU");
    set(&service, "a", 10).await.unwrap();
    let item = buffer(&service, 4).await.unwrap();
    assert_eq!((item.on_hand, item.buffer, item.available), (10, 4, 6));
    let batch = [branch(&[("a", 5)]), branch(&[("a", 2)]), branch(&[("a", 1)])];
    assert_eq!(votes(&pool, &batch).await, [true, false, true]);
    // Raised above what is left: what is held is sold or given back all the same, and nothing is available.
    let item = buffer(&service, 100).await.unwrap();
    assert_eq!((item.held, item.available), (6, 0));
    assert_eq!(votes(&pool, &[branch(&[("a", 1)])]).await, [false]);
    commit(&Inventory::default(), &pool, &batch[..1]).await;
    abort(&Inventory::default(), &pool, &batch[2..]).await;
    assert_eq!(figures(&pool, "a").await, (5, 0));
    let item = buffer(&service, 0).await.unwrap();
    assert_eq!((item.buffer, item.available), (0, 5));
    let expected = [
        "1 counted 10: 10 0",
        "2 buffered 4: 10 0",
        "3 held 5: 10 5",
        "4 held 1: 10 6",
        "5 buffered 100: 10 6",
        "6 sold 5: 5 1",
        "7 released 1: 5 0",
        "8 buffered 0: 5 0",
    ];
    assert_eq!(movements(&pool, "a").await, expected);
    assert_eq!(replayed(&pool).await, [""; 0]);
}

#[tokio::test]
async fn what_is_damaged_or_inspected_is_not_on_hand() {
    let (_postgres, pool, service) = start().await;
    set(&service, "a", 10).await.unwrap();
    assert_eq!(votes(&pool, &[branch(&[("a", 3)])]).await, [true]);
    let too_few = move_units(&service, 8, OnHand, Damaged, "").await.unwrap_err();
    assert_eq!(reason(&too_few), (Code::FailedPrecondition, "TOO_FEW".to_owned()));
    move_units(&service, 4, OnHand, QualityControl, "check-1").await.unwrap();
    let item = move_units(&service, 4, OnHand, QualityControl, "check-1").await.unwrap();
    assert_eq!((item.on_hand, item.held, item.quality_control, item.available), (6, 3, 4, 3), "once for each request");
    move_units(&service, 1, QualityControl, OnHand, "").await.unwrap();
    move_units(&service, 3, QualityControl, Damaged, "").await.unwrap();
    move_units(&service, 1, Damaged, QualityControl, "").await.unwrap();
    move_units(&service, 1, Damaged, OnHand, "").await.unwrap();
    let item = move_units(&service, 1, Damaged, WrittenOff, "").await.unwrap();
    assert_eq!((item.on_hand, item.damaged, item.quality_control, item.available), (8, 0, 1, 5));
    for (from, to) in [(Damaged, OnHand), (Damaged, WrittenOff)] {
        assert_eq!(reason(&move_units(&service, 1, from, to, "").await.unwrap_err()).1, "TOO_FEW");
    }
    for (from, to) in [(OnHand, OnHand), (OnHand, WrittenOff), (WrittenOff, OnHand), (Unspecified, Damaged)] {
        assert_eq!(move_units(&service, 1, from, to, "").await.unwrap_err().code(), Code::InvalidArgument);
    }
    let kinds: Vec<String> =
        movements(&pool, "a").await.into_iter().map(|line| line[..line.find(':').unwrap()].to_owned()).collect();
    let expected = [
        "1 counted 10",
        "2 held 3",
        "3 inspected 4",
        "4 inspected -1",
        "5 failed 3",
        "6 failed -1",
        "7 damaged -1",
        "8 written_off 1",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(replayed(&pool).await, [""; 0]);
    // As it was in between.
    let then: std::time::SystemTime =
        sqlx::query_scalar::<_, chrono::DateTime<chrono::Utc>>("SELECT create_time FROM movement WHERE sequence = 5")
            .fetch_one(&*pool)
            .await
            .unwrap()
            .into();
    let request = api::GetStockRequest { sku: "a".to_owned(), read_time: Some(then.into()), ..Default::default() };
    let item = service.get_stock(Request::new(request)).await.unwrap().into_inner().item.unwrap();
    assert_eq!((item.on_hand, item.damaged, item.quality_control, item.available), (7, 3, 0, 4));
    sqlx::query("UPDATE stock SET quality_control = 2, buffer = 9").execute(&*pool).await.unwrap();
    let found = replayed(&pool).await;
    let expected = [
        "a buffer : the stock says 9 as its buffer, the ledger 0; no movement explains it",
        "a quality_control : the stock says 2 in quality control, the ledger 1; no movement explains it",
    ];
    assert_eq!(found, expected);
}
