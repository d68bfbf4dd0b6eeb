//! The inventory as a step of sagas.
use participant::testing::{audit, compensate, execute, step};
use proto::assent::inventory::v1 as api;

use super::{branch, figures, set, start};
use crate::resource::Inventory;
use crate::store;

#[tokio::test]
async fn a_step_sells_at_once_and_its_compensation_puts_back() {
    let (_postgres, pool, service) = start().await;
    set(&service, "mug", 10).await.unwrap();
    set(&service, "pot", 1).await.unwrap();
    let steps = [
        step("stock", &branch(&[("mug", 4)])),
        step("stock", &branch(&[("mug", 3), ("pot", 2)])),
        step("stock", &branch(&[("mug", 2), ("pot", 1)])),
    ];
    let results = execute(&Inventory::default(), &pool, &steps).await;
    let refused = |at: usize| results.get(at).unwrap().as_ref().err().map(|refusal| refusal.reason.as_str());
    assert_eq!([refused(0), refused(1), refused(2)], [None, Some("OUT_OF_STOCK"), None]);
    assert_eq!((figures(&pool, "mug").await, figures(&pool, "pot").await), ((4, 0), (0, 0)));

    let [first, _, third] = steps;
    compensate(&Inventory::default(), &pool, &[first, third]).await;
    assert_eq!((figures(&pool, "mug").await, figures(&pool, "pot").await), ((10, 0), (1, 0)));
    let movements = store::ledger::list(&pool, "mug", i64::MAX, 10).await.unwrap();
    let kinds: Vec<&str> = movements.iter().rev().map(|movement| movement.kind.name()).collect();
    assert_eq!(kinds, ["counted", "held", "held", "sold", "sold", "returned", "returned"]);
    assert_eq!(movements.first().unwrap().reason.as_deref(), Some("DECLINED"));
    assert_eq!(api::MovementKind::Returned.as_str_name(), "MOVEMENT_KIND_RETURNED");
    assert_eq!(audit(&Inventory::default(), &pool, &[]).await, Vec::<String>::new());
}
