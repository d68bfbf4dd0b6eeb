//! A live participant that meets a saga's messages twice, late, and in the wrong order.
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use proto::assent::inventory::v1::{InventoryBranch, StockLine};
use proto::assent::transaction::v1::{
    Acknowledgement, CompensateRequest, CompensateStep, ExecuteRequest, ExecuteStep, StepOutcome, StepRef,
    TransactionRef,
};
use tests::{Client, Service, doctor, shared, timed};
use uuid::Uuid;

fn fresh() -> StepRef {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let deadline_unix_ms = i64::try_from(now).unwrap() + 60_000;
    let transaction = TransactionRef { transaction_id: Uuid::now_v7().to_string(), deadline_unix_ms };
    StepRef { transaction: Some(transaction), step: "stock".to_owned() }
}

fn of(sku: &str, step: &StepRef) -> ExecuteStep {
    let branch =
        InventoryBranch { lines: vec![StockLine { sku: sku.to_owned(), quantity: 3 }], ..InventoryBranch::default() };
    ExecuteStep { step: Some(step.clone()), branch: branch.encode_to_vec(), must_succeed: false }
}

async fn execute(client: &Client, sku: &str, step: &StepRef) -> StepOutcome {
    let request = ExecuteRequest { steps: vec![of(sku, step)] };
    let answer = client.participant(Service::Inventory).execute(timed(request)).await.unwrap().into_inner();
    answer.results.first().unwrap().outcome()
}

async fn compensate(client: &Client, step: &StepRef) -> Acknowledgement {
    let step = CompensateStep { step: Some(step.clone()), refusal: None };
    let request = CompensateRequest { steps: vec![step] };
    let answer = client.participant(Service::Inventory).compensate(timed(request)).await.unwrap().into_inner();
    Acknowledgement::try_from(*answer.acknowledgements.first().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_comes_twice_sells_once_and_is_put_back_once() {
    let system = shared().await;
    let client = system.client();
    client.set_stock("twice", 10).await;
    let step = fresh();
    for _ in 0..3 {
        assert_eq!(execute(&client, "twice", &step).await, StepOutcome::Executed);
    }
    client.stock_becomes("twice", 7).await;
    for _ in 0..3 {
        assert_eq!(compensate(&client, &step).await, Acknowledgement::Done);
    }
    client.stock_becomes("twice", 10).await;
    assert_eq!(execute(&client, "twice", &step).await, StepOutcome::Compensated);
    client.stock_becomes("twice", 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compensation_of_a_step_that_never_came_keeps_it_out_when_it_comes() {
    let system = shared().await;
    let client = system.client();
    client.set_stock("null", 10).await;
    let step = fresh();
    assert_eq!(compensate(&client, &step).await, Acknowledgement::Done);
    assert_eq!(execute(&client, "null", &step).await, StepOutcome::Compensated);
    client.stock_becomes("null", 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_and_compensations_that_race_leave_nothing_behind() {
    let system = shared().await;
    let client = system.client();
    client.set_stock("race", 1_000).await;
    for _ in 0..40 {
        let step = fresh();
        let (executed, undone) = tokio::join!(execute(&client, "race", &step), compensate(&client, &step));
        assert_eq!(undone, Acknowledgement::Done);
        assert!(matches!(executed, StepOutcome::Executed | StepOutcome::Compensated), "{executed:?}");
    }
    client.stock_becomes("race", 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_hung_until_its_compensation_was_over_is_refused() {
    let system = shared().await;
    let client = system.client();
    client.set_stock("hung", 10).await;
    let step = fresh();
    // Both lie in the frozen participant's queue; which of them comes first is for it to say.
    system.server(Service::Inventory).pause();
    let hanging = {
        let (client, step) = (client.clone(), step.clone());
        tokio::spawn(async move { execute(&client, "hung", &step).await })
    };
    let undoing = {
        let (client, step) = (client.clone(), step.clone());
        tokio::spawn(async move { compensate(&client, &step).await })
    };
    system.server(Service::Inventory).resume();
    hanging.await.unwrap();
    assert_eq!(undoing.await.unwrap(), Acknowledgement::Done);
    assert_eq!(execute(&client, "hung", &step).await, StepOutcome::Compensated);
    client.stock_becomes("hung", 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_finds_an_effect_that_no_saga_stands_for() {
    let system = tests::System::start().await;
    let client = system.client();
    client.set_stock("stray", 10).await;
    doctor::all_holds(&system).await;
    execute(&client, "stray", &fresh()).await;
    let report = doctor::examine(&system, &["--settle-ms", "50"]).await;
    let wrong: Vec<&str> = report.wrong().into_iter().map(|invariant| invariant.name.as_str()).collect();
    assert_eq!((wrong, report.exit), (vec!["saga-wholeness"], 1));
}
