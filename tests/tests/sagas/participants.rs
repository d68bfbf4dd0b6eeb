//! Participants that are down while a saga turns.
use std::time::Duration;

use proto::assent::transaction::v1::{SagaState, SagaStepState};
use tests::{Answer, Basket, Service, System, doctor, until};

/// As long as a step is asked again at the latest, and what it takes then.
const GOES_ON_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compensation_waits_for_a_participant_that_is_down_and_is_never_given_up() {
    let system = System::start().await;
    let client = system.client().in_saga_mode();
    client.set_stock("rose", 10).await;
    client.open_account("poor", 0).await;
    let payment = system.server(Service::Payment);
    payment.pause();
    let placing = {
        let client = client.clone();
        tokio::spawn(async move { client.place("turns", &Basket::of("poor").line("rose", 3, 100)).await })
    };
    client.stock_becomes("rose", 7).await;
    system.server(Service::Inventory).kill();
    payment.resume();
    // It is refused as soon as that stands, whoever is down.
    let answer = placing.await.unwrap();
    let Answer::Refused { order_id, .. } = &answer else { panic!("{answer:?}") };
    let saga = async || client.transaction(order_id).await.unwrap().saga.unwrap();
    until("the compensation is tried again and again", GOES_ON_WITHIN, async || {
        let saga = saga().await;
        let stock = saga.steps.iter().find(|step| step.name == "stock").unwrap();
        stock.attempt_count >= 3 && stock.next_attempt_time.is_some() && !stock.last_error.is_empty()
    })
    .await;
    let waiting = saga().await;
    assert_eq!(waiting.state(), SagaState::Backward);
    system.server(Service::Inventory).start_healthy().await;
    until("the saga has ended", GOES_ON_WITHIN, async || saga().await.end_time.is_some()).await;
    let ended = saga().await;
    assert_eq!(ended.state(), SagaState::Compensated);
    let states: Vec<SagaStepState> = ended.steps.iter().map(|step| step.state()).collect();
    let compensated = SagaStepState::Compensated;
    assert_eq!(states, [compensated, compensated, SagaStepState::Refused, SagaStepState::Skipped]);
    client.stock_becomes("rose", 10).await;
    doctor::all_holds(&system).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_confirmed_though_the_order_service_dies_after_the_payment() {
    let system = System::start().await;
    let client = system.client().in_saga_mode();
    client.set_stock("rose", 10).await;
    client.open_account("iris", 1_000).await;
    let payment = system.server(Service::Payment);
    payment.pause();
    let placing = {
        let client = client.clone();
        tokio::spawn(async move { client.place("forward", &Basket::of("iris").line("rose", 3, 100)).await })
    };
    let pending = system.pool(Service::Order);
    until("the order is written down", Duration::from_secs(5), async || {
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM orders WHERE unconfirmed");
        count.fetch_one(&pending).await.unwrap() == 1
    })
    .await;
    client.stock_becomes("rose", 7).await;
    system.server(Service::Order).kill();
    payment.resume();
    let answer = placing.await.unwrap();
    let order_id = answer.confirmed().unwrap_or_else(|| panic!("{answer:?}"));
    system.server(Service::Order).start_healthy().await;
    // What the order service still shows as pending is confirmed for whoever reads it.
    let order = client.order(order_id).await.unwrap();
    assert_eq!(order.state(), proto::assent::order::v1::OrderState::Confirmed);
    client.settled(GOES_ON_WITHIN).await;
    client.balance_becomes("iris", 700).await;
    doctor::all_holds(&system).await;
}
