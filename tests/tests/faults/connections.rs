//! Connections that are used up: all that a Postgres has, by somebody else, and all that a service has, by its own slow
//! requests.
use std::time::{Duration, Instant};

use futures::future::join_all;
use proto::assent::inventory::v1::GetStockRequest;
use sqlx::{Connection, PgConnection};
use tests::{CLIENTS, Scene, Service, System, confirms, timed, until};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tonic::Code;

/// An order's time limit, set here.
const TIMEOUT_MS: u64 = 1_000;
/// The time limit; then the record is to be aborted, which the coordinator's own database gets 2 s for; and some slack.
const TOLD_WITHIN: Duration = Duration::from_millis(TIMEOUT_MS + 2_000 + 500);
/// How long nobody gets a connection: longer than the time limit.
const NONE_FOR: Duration = Duration::from_millis(1_500);
/// On a machine that is busy with many.
const WITHIN: Duration = Duration::from_secs(20);
/// Ends the connections of a service.
const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
/// Whether there is no connection left, and none is the service's.
const ALL_TAKEN: &str = "SELECT count(*) FILTER (WHERE application_name = $1) = 0
        AND count(*) >= current_setting('max_connections')::int
    FROM pg_stat_activity WHERE backend_type = 'client backend'";
/// More than a service has connections for.
const SLOW_REQUESTS: usize = 12;
/// Longer than a request may wait for a connection.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Takes every connection that a database gives, as soon as there is one.
struct Hog {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Hog {
    /// Returns when there is none left.
    async fn start(url: String) -> Self {
        let ((stop, stopped), (none_left, full)) = (oneshot::channel(), oneshot::channel());
        let task = tokio::spawn(async move {
            let (mut taken, mut none_left) = (Vec::new(), Some(none_left));
            let take = async {
                loop {
                    match PgConnection::connect(&url).await {
                        Ok(connection) => taken.push(connection),
                        Err(_) => {
                            none_left.take().map(|none_left| none_left.send(()));
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                }
            };
            tokio::select! { () = take => (), _ = stopped => () }
        });
        tokio::time::timeout(WITHIN, full).await.expect("all connections are taken").unwrap();
        Hog { stop, task }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_has_no_connection_left_costs_those_who_need_a_new_one() {
    let set_up = System::set_up().set(Service::Coordinator, "ASSENT_TRANSACTION_TIMEOUT_MS", TIMEOUT_MS);
    // A record whose lazy end was given up waits for its deadline and two of these.
    let mut scene = Scene::start(set_up.set(Service::Coordinator, "ASSENT_LEASE_MS", 400)).await;
    for service in Service::ALL {
        let name = scene.system.server(service).name.clone();
        let fault = format!("no connection left at the postgres of {name}");
        let load = scene.load(&fault.replace(' ', "-")).await;
        let admin = PgConnection::connect(&scene.system.database(service).url()).await.unwrap();
        let hog = Hog::start(scene.system.database(service).url()).await;
        // Writers are connected, and go on.
        confirms(&load, 20).await;
        // Now they lose their connections, and get no other.
        let admin = Mutex::new(admin);
        until("the service has no connection, and there is none", WITHIN, async || {
            let mut admin = admin.lock().await;
            sqlx::query(END).bind(&name).execute(&mut *admin).await.unwrap();
            sqlx::query_scalar(ALL_TAKEN).bind(&name).fetch_one(&mut *admin).await.unwrap()
        })
        .await;
        let confirmed = load.confirmed();
        tokio::time::sleep(NONE_FOR).await;
        assert!(load.confirmed() <= confirmed + CLIENTS, "{fault}: orders were confirmed meanwhile");
        hog.stop().await;
        let free = Instant::now();
        let works = confirms(&load, 1).await;
        println!("{fault}: orders are confirmed {} ms after there are some", works.as_millis());
        let after = scene.conclude(&fault, load, free).await;
        // The coordinator's own orders may all be saved by who recovers them.
        assert!(after.hurt() > 0 || service == Service::Coordinator, "{fault}: {:?}", after.answers);
        assert!(after.slowest < TOLD_WITHIN, "{fault}: an answer took {:?}: {}", after.slowest, after.slowest_was);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_own_requests_are_slow_goes_on_with_orders() {
    let mut scene = Scene::start(System::set_up()).await;
    let load = scene.load("slow-requests").await;
    let pool = scene.system.pool(Service::Inventory);
    let mut slow = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE own_request IN SHARE MODE").execute(&mut *slow).await.unwrap();
    let client = scene.clients[0].clone();
    let adjusted: Vec<_> = (0..SLOW_REQUESTS)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.adjust_stock("sku-0", 0, &format!("slow-{number}")).await })
        })
        .collect();
    let refused = async || {
        let began = Instant::now();
        let read = client
            .stock
            .clone()
            .get_stock(timed(GetStockRequest { sku: "sku-0".to_owned(), read_time: None, ..Default::default() }))
            .await;
        assert!(began.elapsed() < READ_WITHIN, "{:?}", began.elapsed());
        read.is_err_and(|status| status.code() == Code::Unavailable)
    };
    until("reads are told that there is no connection", WITHIN, refused).await;
    // Batches have a connection of their own.
    confirms(&load, 50).await;
    slow.rollback().await.unwrap();
    let free = Instant::now();
    for adjusted in join_all(adjusted).await {
        match adjusted.unwrap() {
            Ok(_) => (),
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
    }
    scene.conclude("slow requests at inventory", load, free).await;
}
