//! Every movement of stock arrives in the stream once, in the order of its SKU and as the ledger has it, through kills of whoever
//! passes it on, of the ledger's database, and of NATS.
use std::time::Duration;

use async_nats::jetstream;
use participant::testing::{Nats, Port, Postgres, folder};
use proto::assent::inventory::v1::inventory_service_client::InventoryServiceClient;
use proto::assent::inventory::v1::{AdjustStockRequest, FeedState, GetStockFeedRequest, GetStockFeedResponse};
use serde_json::Value;
use tests::Service::{Coordinator, Inventory};
use tests::{Books, Load, Server, Service, System, assent, timed, until};
use tonic::transport::Endpoint;

/// How long the stream may take to have all, after the last kill.
const WITHIN: Duration = Duration::from_secs(60);

type Told = (String, i64, String, i64, i64, i64, Option<String>);

/// Waits until the database says that the stream has all; then both must be the same, movement for movement.
async fn agree(database: &Postgres, nats: &Nats) -> usize {
    let pool = sqlx::PgPool::connect(&database.url()).await.unwrap();
    until("all is passed on", WITHIN, async || {
        let behind =
            "SELECT count(*) FROM stock LEFT JOIN feed_cursor USING (sku) WHERE version > coalesce(sequence, 0)";
        sqlx::query_scalar::<_, i64>(behind).fetch_one(&pool).await.unwrap() == 0
    })
    .await;
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let mut stream = context.get_stream("ASSENT_STOCK").await.unwrap();
    let last = stream.info().await.unwrap().state.last_sequence;
    let mut told: Vec<Told> = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        let [number, quantity, on_hand, held] =
            ["sequence", "quantity", "on_hand", "held"].map(|field| body[field].as_i64().unwrap());
        let text = |field: &str| body[field].as_str().map(str::to_owned);
        let kind = text("kind").unwrap();
        told.push((text("sku").unwrap(), number, kind, quantity, on_hand, held, text("transaction_id")));
    }
    // Stable: the order of each SKU in the stream stays as it was.
    told.sort_by(|one, other| one.0.cmp(&other.0));
    let written: Vec<Told> = sqlx::query_as(
        "SELECT sku, sequence, (ARRAY['received', 'held', 'sold', 'released', 'adjusted', 'counted'])[kind], quantity, on_hand, held,
                transaction_id::text
         FROM movement ORDER BY sku, sequence",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    for (told, written) in told.iter().zip(&written) {
        assert_eq!(told, written, "the stream (left) and the ledger");
    }
    assert_eq!(told.len(), written.len());
    told.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_movement_arrives_while_relay_database_and_broker_are_killed_in_turn() {
    let Some(nats) = Nats::stopped() else { return };
    let system = System::set_up().set(Inventory, "ASSENT_NATS_URL", nats.url()).start().await;
    let client = system.client();
    let _books = Books::open(&client).await;
    let load = Load::start(std::slice::from_ref(&client), 6, "feed");
    let goes_on = async || {
        let before = load.confirmed();
        until("orders are confirmed", WITHIN, async || load.confirmed() >= before + 40).await;
    };
    goes_on().await;
    let told = assent(&system, &["stock", "feed"]).await;
    assert!(told.exit == 1 && told.said.contains("NATS"), "{} {}", told.exit, told.said);
    let seen: Value = serde_json::from_str(&told.stdout).unwrap();
    assert!(seen["state"] == "failing" && seen["behind"].as_i64() > Some(40), "{seen}");
    nats.start_again();
    for _ in 0..3 {
        goes_on().await;
        system.server(Inventory).kill();
        system.server(Inventory).start_healthy().await;
        goes_on().await;
        system.database(Inventory).kill();
        system.database(Inventory).start_again();
        goes_on().await;
        nats.kill();
        goes_on().await;
        nats.start_again();
    }
    goes_on().await;
    load.stop().await;
    client.settled(Duration::from_secs(20)).await;
    let count = agree(system.database(Inventory), &nats).await;
    let told = assent(&system, &["stock", "feed"]).await;
    let seen: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((told.exit, &seen["state"], &seen["behind"]), (0, &"relaying".into(), &0.into()), "{}", told.said);
    assert!(!system.server(Coordinator).ended());
    println!("{count} movements");
}

async fn feed_of(server: &Server) -> GetStockFeedResponse {
    let channel = Endpoint::from_shared(server.address()).unwrap().connect_lazy();
    let asked = InventoryServiceClient::new(channel).get_stock_feed(timed(GetStockFeedRequest {})).await;
    asked.map(tonic::Response::into_inner).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_one_passes_on_and_the_other_takes_over_when_it_is_killed() {
    let Some(nats) = Nats::start() else { return };
    let (postgres, folder, nobody) = (Postgres::start(), folder("feed-"), Port::reserve());
    let environment = vec![
        ("ASSENT_DATABASE_URL".to_owned(), postgres.url()),
        ("ASSENT_COORDINATORS".to_owned(), format!("http://127.0.0.1:{}", nobody.number())),
        ("ASSENT_NATS_URL".to_owned(), nats.url()),
    ];
    let server = |number: usize| {
        let name = format!("inventory-{number}");
        Server::new(Service::Inventory, &name, Port::reserve(), environment.clone(), folder.path().to_owned())
    };
    let servers = [server(1), server(2)];
    for server in &servers {
        server.start_healthy().await;
    }
    let adjust = async |server: &Server, count: usize| {
        let channel = Endpoint::from_shared(server.address()).unwrap().connect_lazy();
        let mut client = InventoryServiceClient::new(channel);
        for place in 0..count {
            let sku = format!("sku-{}", place % 9);
            let request = AdjustStockRequest { sku, delta: 1, ..Default::default() };
            client.adjust_stock(timed(request)).await.unwrap();
        }
    };
    for _ in 0..2 {
        let states = async || [feed_of(&servers[0]).await.state(), feed_of(&servers[1]).await.state()];
        until("one relays, the other stands by", WITHIN, async || {
            let states = states().await;
            states.contains(&FeedState::Relaying) && states.contains(&FeedState::StandingBy)
        })
        .await;
        let relay = states().await.iter().position(|state| *state == FeedState::Relaying).unwrap();
        // What the other writes is passed on too.
        adjust(&servers[1 - relay], 200).await;
        adjust(&servers[relay], 200).await;
        servers[relay].kill();
        adjust(&servers[1 - relay], 200).await;
        until("the other relays", WITHIN, async || feed_of(&servers[1 - relay]).await.state() == FeedState::Relaying)
            .await;
        servers[relay].start_healthy().await;
    }
    let count = agree(&postgres, &nats).await;
    assert_eq!(count, 1_200);
}
