//! Transactions over participants of one's own: examples/shipping-svc beside the payments and the stock, in both modes.
use std::process::Stdio;
use std::time::Duration;

use participant::testing::{Port, Postgres, Process};
use prost::Message;
use proto::assent::inventory::v1::{InventoryBranch, StockLine};
use proto::assent::payment::v1::PaymentBranch;
use proto::assent::transaction::v1::{
    ExecuteTransactionRequest, ExecuteTransactionResponse, StepKind, TransactionBranch, TransactionMode,
};
use sqlx::PgPool;
use tests::{Client, System, doctor, error_info, gbp, program, timed, until};
use tonic::{Code, Status};

/// A system whose coordinators know shipping-svc.
pub struct World {
    pub system: System,
    pub client: Client,
    pub shipping: Process,
    postgres: Postgres,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(1).await
    }

    pub async fn start_with(coordinators: usize) -> Self {
        let (postgres, port) = (Postgres::start(), Port::reserve());
        let address = format!("127.0.0.1:{}", port.number());
        let system = System::set_up()
            .coordinators(coordinators)
            .participant_too("shipping", &format!("http://{address}"))
            .start()
            .await;
        let coordinator = system.coordinator(0).address();
        let shipping = Process::start(program("shipping-svc"), None, |command| {
            let environment = [
                ("ASSENT_DATABASE_URL", postgres.url()),
                ("ASSENT_LISTEN", address.clone()),
                ("ASSENT_COORDINATORS", coordinator),
            ];
            command.envs(environment).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        });
        let client = system.client();
        client.set_stock("rose", 10).await;
        client.open_account("iris", 1_000).await;
        let world = World { system, client, postgres, shipping };
        // It listens when it has made its tables.
        until("shipping-svc listens", Duration::from_secs(30), async || {
            tokio::net::TcpStream::connect(&address).await.is_ok()
        })
        .await;
        world
    }

    fn shipments(&self) -> PgPool {
        sqlx::postgres::PgPoolOptions::new().max_connections(1).connect_lazy(&self.postgres.url()).unwrap()
    }

    /// What is taken of a depot's room.
    pub async fn taken(&self, depot: &str) -> i64 {
        let taken = sqlx::query_scalar("SELECT taken FROM depot WHERE name = $1");
        taken.bind(depot).fetch_one(&self.shipments()).await.unwrap()
    }

    async fn execute(
        &self,
        request_id: &str,
        mode: TransactionMode,
        branches: Vec<TransactionBranch>,
    ) -> Result<ExecuteTransactionResponse, Status> {
        let request =
            ExecuteTransactionRequest { request_id: request_id.to_owned(), mode: mode.into(), branches, timeout_ms: 0 };
        Ok(self.client.transactions.clone().execute_transaction(timed(request)).await?.into_inner())
    }
}

fn branch(participant: &str, branch: Vec<u8>) -> TransactionBranch {
    TransactionBranch { participant: participant.to_owned(), branch, ..TransactionBranch::default() }
}

fn step(participant: &str, bytes: Vec<u8>, kind: StepKind, after: &[&str]) -> TransactionBranch {
    let after = after.iter().map(|name| (*name).to_owned()).collect();
    TransactionBranch { kind: kind.into(), after, ..branch(participant, bytes) }
}

fn payment(pence: i64) -> Vec<u8> {
    PaymentBranch { account: "iris".to_owned(), amount: Some(gbp(pence)), ..Default::default() }.encode_to_vec()
}

fn stock(quantity: i64) -> Vec<u8> {
    InventoryBranch { lines: vec![StockLine { sku: "rose".to_owned(), quantity }], ..InventoryBranch::default() }
        .encode_to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_that_nobody_understands_commit_together_or_not_at_all() {
    let world = World::start().await;
    let of = |parcels: &str| vec![branch("payment", payment(300)), branch("shipping", parcels.into())];
    let done = world.execute("ship-1", TransactionMode::Atomic, of("london 2")).await.unwrap();
    let again = world.execute("ship-1", TransactionMode::Atomic, of("london 2")).await.unwrap();
    assert_eq!(done.transaction_id, again.transaction_id);
    world.client.balance_becomes("iris", 700).await;
    assert_eq!(world.taken("london").await, 2);

    let refused = world.execute("ship-2", TransactionMode::Atomic, of("leeds 11")).await.unwrap_err();
    assert_eq!((refused.code(), error_info(&refused).0.as_str()), (Code::FailedPrecondition, "NO_ROOM"));
    let reused = world.execute("ship-1", TransactionMode::Atomic, of("london 3")).await.unwrap_err();
    assert_eq!(error_info(&reused).0, "REQUEST_ID_REUSED");
    let twice = vec![branch("shipping", "london 1".into()), branch("shipping", "leeds 1".into())];
    let twice = world.execute("ship-3", TransactionMode::Atomic, twice).await.unwrap_err();
    assert_eq!(twice.code(), Code::InvalidArgument);
    world.client.settled(Duration::from_secs(5)).await;
    world.client.balance_becomes("iris", 700).await;
    assert_eq!(world.taken("leeds").await, 0);
    assert_eq!(world.client.order(&done.transaction_id).await.unwrap_err().code(), Code::NotFound);
    doctor::all_holds(&world.system).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_of_ones_own_is_a_step_of_a_saga_and_is_undone() {
    let world = World::start().await;
    let client = world.client.in_saga_mode();
    use StepKind::{Compensatable, Pivot, Retriable};
    // Shipped last, and for certain.
    let forward = vec![
        step("inventory", stock(2), Compensatable, &[]),
        step("payment", payment(300), Pivot, &["inventory"]),
        step("shipping", "london 2".into(), Retriable, &["payment"]),
    ];
    world.execute("saga-1", TransactionMode::Saga, forward).await.unwrap();
    client.settled(Duration::from_secs(10)).await;
    assert_eq!(world.taken("london").await, 2);
    client.balance_becomes("iris", 700).await;

    // Shipped first, and called back because the payment is refused.
    let turning = vec![
        step("inventory", stock(3), Compensatable, &[]),
        step("shipping", "leeds 3".into(), Compensatable, &["inventory"]),
        step("payment", payment(9_999), Pivot, &["shipping"]),
    ];
    let refused = world.execute("saga-2", TransactionMode::Saga, turning).await.unwrap_err();
    assert_eq!(error_info(&refused).0, "INSUFFICIENT_FUNDS");
    client.settled(Duration::from_secs(10)).await;
    assert_eq!(world.taken("leeds").await, 0);
    client.stock_becomes("rose", 8).await;

    let no_saga =
        vec![step("payment", payment(1), Pivot, &[]), step("shipping", "leeds 1".into(), Compensatable, &["payment"])];
    let no_saga = world.execute("saga-3", TransactionMode::Saga, no_saga).await.unwrap_err();
    assert_eq!(no_saga.code(), Code::InvalidArgument);
    doctor::all_holds(&world.system).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_is_not_done_in_its_time_turns_its_saga_whoever_drives_it_by_then() {
    use nix::sys::signal::Signal;
    let world = World::start_with(2).await;
    let (client, other) = (world.client.clone(), world.system.client_of(1));
    use StepKind::{Compensatable, Pivot, Retriable};
    let steps = |timeout_ms| {
        vec![
            step("inventory", stock(2), Compensatable, &[]),
            TransactionBranch { timeout_ms, ..step("shipping", "london 2".into(), Compensatable, &["inventory"]) },
            step("payment", payment(300), Pivot, &["shipping"]),
        ]
    };
    let request = |request_id: &str, branches| ExecuteTransactionRequest {
        request_id: request_id.to_owned(),
        mode: TransactionMode::Saga.into(),
        branches,
        timeout_ms: 60_000,
    };
    // In time: nothing is given up.
    client.transactions.clone().execute_transaction(timed(request("in-time", steps(10_000)))).await.unwrap();
    client.stock_becomes("rose", 8).await;
    world.shipping.signal(Signal::SIGSTOP);
    let began = std::time::Instant::now();
    let late = client.transactions.clone().execute_transaction(timed(request("late", steps(1_000)))).await.unwrap_err();
    let took = began.elapsed();
    assert_eq!((late.code(), error_info(&late).1["cause"].as_str()), (Code::Aborted, "TIMEOUT"));
    assert!(late.message().contains("the step shipping was not done within 1000 ms"), "{late}");
    assert!((Duration::from_millis(900)..Duration::from_millis(3_000)).contains(&took), "{took:?}");

    // The timer is the saga's, not its driver's: who drives it dies meanwhile.
    let asked = request("orphan", steps(4_000));
    let asking = {
        let (client, asked) = (client.clone(), asked.clone());
        tokio::spawn(async move { client.transactions.clone().execute_transaction(timed(asked)).await })
    };
    let pool = world.system.pool(tests::Service::Coordinator);
    until("the saga waits for the shipping", Duration::from_secs(5), async || {
        let waits = "SELECT count(*) FROM saga_step s JOIN record r USING (transaction_id)
                     WHERE r.request_id = 'orphan' AND s.name = 'inventory' AND s.state = 2";
        sqlx::query_scalar::<_, i64>(waits).fetch_one(&pool).await.unwrap() == 1
    })
    .await;
    world.system.coordinator(0).kill();
    assert!(asking.await.unwrap().is_err());
    let began = std::time::Instant::now();
    let orphan = other.transactions.clone().execute_transaction(timed(asked)).await.unwrap_err();
    println!("the other coordinator gave it up {} ms after the first had died", began.elapsed().as_millis());
    assert_eq!((orphan.code(), error_info(&orphan).1["cause"].as_str()), (Code::Aborted, "TIMEOUT"));
    assert!(began.elapsed() < Duration::from_secs(8));
    world.shipping.signal(Signal::SIGCONT);
    other.settled(Duration::from_secs(20)).await;
    other.stock_becomes("rose", 8).await;
    other.balance_becomes("iris", 700).await;
    assert_eq!(world.taken("london").await, 2);
    world.system.coordinator(0).start_healthy().await;

    let wrong = vec![TransactionBranch { timeout_ms: 1, ..step("payment", payment(1), Retriable, &[]) }];
    let wrong = other.transactions.clone().execute_transaction(timed(request("wrong", wrong))).await.unwrap_err();
    assert!(wrong.message().starts_with("branches[0].timeout_ms"), "{wrong}");
    doctor::all_holds(&world.system).await;
}
