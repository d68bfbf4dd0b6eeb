//! The orders as steps of sagas.
use participant::testing::{compensate, execute, step};
use proto::assent::order::v1 as api;

use super::{list_all, order, read, start};
use crate::resource::Orders;

#[tokio::test]
async fn an_order_is_pending_until_its_saga_confirms_or_refuses_it() {
    let (_postgres, pool, service) = start().await;
    let (kept, refused) = (order("ann", &[("mug", 1, 450)]), order("bob", &[("mug", 2, 450)]));
    let placed = [step("place", &kept), step("place", &refused)];
    assert!(execute(&Orders, &pool, &placed).await.iter().all(Result::is_ok));
    let of_state = |state: api::OrderState| api::ReadOrdersRequest {
        page_size: 2,
        state: state.into(),
        ..api::ReadOrdersRequest::default()
    };
    assert_eq!(list_all(&service, of_state(api::OrderState::Pending)).await.len(), 2);
    assert!(execute(&Orders, &pool, &[step("confirm", &kept)]).await.iter().all(Result::is_ok));
    let [_, second] = placed;
    compensate(&Orders, &pool, &[second]).await;
    assert_eq!(read(&service, &kept).await.unwrap().state(), api::OrderState::Confirmed);
    let shown = read(&service, &refused).await.unwrap();
    assert_eq!((shown.state(), shown.reason.as_str()), (api::OrderState::Refused, "DECLINED"));
    assert_eq!(list_all(&service, of_state(api::OrderState::Pending)).await, Vec::<String>::new());
    assert_eq!(list_all(&service, of_state(api::OrderState::Confirmed)).await, [kept.transaction_id.to_string()]);
}
