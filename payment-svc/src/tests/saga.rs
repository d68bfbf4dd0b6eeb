//! The payments as a step of sagas.
use participant::testing::{audit, compensate, execute, step};

use super::{PAYMENTS, entries, figures, gbp, open, pay, start};

#[tokio::test]
async fn a_step_captures_at_once_and_its_compensation_refunds() {
    let (_postgres, pool, service) = start().await;
    open(&service, "ann", gbp(1_000), "").await.unwrap();
    let steps = [
        step("payment", &pay("ann", "GBP", 400)),
        step("payment", &pay("ann", "GBP", 700)),
        step("payment", &pay("ann", "GBP", 0)),
        step("payment", &pay("ann", "GBP", 100)),
    ];
    let results = execute(&PAYMENTS, &pool, &steps).await;
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true]);
    assert_eq!(figures(&pool, "ann").await, (500, 0));

    let [first, _, free, last] = steps;
    compensate(&PAYMENTS, &pool, &[first, free, last]).await;
    assert_eq!(figures(&pool, "ann").await, (1_000, 0));
    assert_eq!(figures(&pool, "assent:revenue:GBP").await, (0, 0));
    let booked: Vec<(String, i64)> = entries(&service, "ann").await.into_iter().map(|it| (it.0, it.1)).collect();
    let refunds = [("refund".to_owned(), 100), ("refund".to_owned(), 400)];
    assert!(refunds.iter().all(|refund| booked.contains(refund)), "{booked:?}");
    assert_eq!(audit(&PAYMENTS, &pool, &[]).await, Vec::<String>::new());
}
