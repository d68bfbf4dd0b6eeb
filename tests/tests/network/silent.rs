//! Connections that fall silent for good, as when something on the way forgets them: nobody closes them, nothing arrives.
use std::time::{Duration, Instant};

use proto::assent::inventory::v1::ListStockRequest;
use proto::assent::payment::v1::GetAccountRequest;
use proto::assent::transaction::v1::{ListBranchesRequest, ListTransactionsRequest};
use sqlx::AssertSqlSafe;
use tests::{Scene, Service, System, confirms, timed, until};

/// What a writer waits for a batch, and the batch; then reads whose connections are silent, one after the other.
const WORKS_AGAIN_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_whose_connections_to_postgres_fall_silent_take_others() {
    let mut scene = Scene::start(System::set_up().proxied()).await;
    let load = scene.load("silent").await;
    // It happens while what keeps the lease waits for an answer, and reads that the coordinator makes of participants.
    let locks = Service::PARTICIPANTS.map(|service| (service, "branch_log"));
    let mut locked = Vec::new();
    for (service, table) in locks.into_iter().chain([(Service::Coordinator, "lease")]) {
        let pool = scene.system.pool(service);
        let mut local = pool.begin().await.unwrap();
        sqlx::query(AssertSqlSafe(format!("LOCK TABLE {table}"))).execute(&mut *local).await.unwrap();
        let waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = $1::regclass
                     AND mode = CASE $1 WHEN 'lease' THEN 'RowExclusiveLock' ELSE 'AccessShareLock' END";
        until(&format!("somebody waits for {table}"), Duration::from_secs(5), async || {
            sqlx::query_scalar::<_, bool>(waits).bind(table).fetch_one(&pool).await.unwrap()
        })
        .await;
        locked.push(local);
    }
    for server in scene.system.servers() {
        scene.system.network.to_database(&server.name).silence();
    }
    drop(locked);
    let silent = Instant::now();
    let read = async || {
        let (client, participants) =
            (&scene.clients[0], Service::PARTICIPANTS.map(|it| scene.clients[0].participant(it)));
        let branches = participants
            .map(|mut it| async move { it.list_branches(timed(ListBranchesRequest::default())).await.is_ok() });
        client.stock.clone().list_stock(timed(ListStockRequest::default())).await.is_ok()
            && client
                .accounts
                .clone()
                .get_account(timed(GetAccountRequest { account: "account-0".to_owned() }))
                .await
                .is_ok()
            && client.list(Default::default()).await.is_ok()
            && client.transactions.clone().list_transactions(timed(ListTransactionsRequest::default())).await.is_ok()
            && futures::future::join_all(branches).await.into_iter().all(|ok| ok)
    };
    until("everything can be read", WORKS_AGAIN_WITHIN, read).await;
    println!("everything can be read {} ms after the silence", silent.elapsed().as_millis());
    let records = scene.system.pool(Service::Coordinator);
    until("the coordinator has its lease", WORKS_AGAIN_WITHIN, async || {
        let lives = "SELECT count(*) > 0 FROM lease WHERE lease_until > now()";
        sqlx::query_scalar::<_, bool>(lives).fetch_one(&records).await.unwrap()
    })
    .await;
    println!("the coordinator has its lease {} ms after the silence", silent.elapsed().as_millis());
    confirms(&load, 20).await;
    println!("orders are confirmed {} ms after the silence", silent.elapsed().as_millis());
    scene.conclude("all connections to databases silent", load, Instant::now()).await;
}
