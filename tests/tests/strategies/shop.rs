//! Inventory processes on one database, asked directly as coordinators do.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use participant::testing::{Port, Postgres, Redis, ZooKeeper, folder};
use prost::Message;
use proto::assent::inventory::v1::inventory_service_client::InventoryServiceClient;
use proto::assent::inventory::v1::waitlist_service_client::WaitlistServiceClient;
use proto::assent::inventory::v1::{
    GetStockRequest, GetStrategyRequest, InventoryBranch, SetStockRequest, StockItem, StockLine, VerifyStockRequest,
};
use proto::assent::transaction::v1::participant_service_client::ParticipantServiceClient;
use proto::assent::transaction::v1::{
    AbortBranch, AbortRequest, Acknowledgement, AuditRequest, CommitRequest, FenceRequest, PrepareBranch,
    PrepareRequest, Refusal, TransactionRef, Vote,
};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tests::{Server, Service, timed};
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

/// A transaction's vote, as it was answered or settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Voted {
    /// Held.
    Yes,
    /// Refused, with this reason.
    No(String),
    /// Not known.
    Unknown,
}

/// Two processes of the inventory, and what they need.
pub struct Shop {
    /// The processes.
    pub servers: Vec<Server>,
    /// Their database.
    pub postgres: Postgres,
    /// The lock server, if the strategy needs it.
    pub redis: Option<Redis>,
    /// The same.
    pub zookeeper: Option<ZooKeeper>,
    channels: Vec<Channel>,
    turn: AtomicUsize,
    _nobody: Port,
    _folder: TempDir,
}

impl Shop {
    /// Starts them; none if the lock server is not installed.
    pub async fn start(strategy: &str, settings: &[(&str, &str)]) -> Option<Self> {
        let (redis, zookeeper) = match strategy {
            "redis-lock" => (Some(Redis::start()?), None),
            "zookeeper-lock" => (None, Some(ZooKeeper::start()?)),
            _ => (None, None),
        };
        let (postgres, folder, nobody) = (Postgres::start(), folder("shop-"), Port::reserve());
        let mut environment = vec![
            ("ASSENT_DATABASE_URL".to_owned(), postgres.url()),
            ("ASSENT_STRATEGY".to_owned(), strategy.to_owned()),
            // What one process writes is to be read at once through the other.
            ("ASSENT_READ_MAX_AGE_MS".to_owned(), "0".to_owned()),
            // Nobody settles what is in doubt but the test.
            ("ASSENT_COORDINATORS".to_owned(), format!("http://127.0.0.1:{}", nobody.number())),
        ];
        environment.extend(redis.iter().map(|redis| ("ASSENT_REDIS".to_owned(), redis.url())));
        environment.extend(zookeeper.iter().map(|zookeeper| ("ASSENT_ZOOKEEPER".to_owned(), zookeeper.address())));
        environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let server = |number: usize| {
            let name = format!("inventory-{number}");
            Server::new(Service::Inventory, &name, Port::reserve(), environment.clone(), folder.path().to_owned())
        };
        let servers: Vec<Server> = (1..=2).map(server).collect();
        let channel = |server: &Server| {
            let endpoint = Endpoint::from_shared(server.address()).expect("an address");
            endpoint.connect_timeout(Duration::from_secs(1)).connect_lazy()
        };
        let channels = servers.iter().map(channel).collect();
        for server in &servers {
            server.start_healthy().await;
        }
        let turn = AtomicUsize::new(0);
        Some(Shop { servers, postgres, redis, zookeeper, channels, turn, _nobody: nobody, _folder: folder })
    }

    /// The participant of a process.
    pub fn participant(&self, place: usize) -> ParticipantServiceClient<Channel> {
        ParticipantServiceClient::new(self.channels[place].clone())
    }

    /// The stock, by a process.
    pub fn stock(&self, place: usize) -> InventoryServiceClient<Channel> {
        InventoryServiceClient::new(self.channels[place].clone())
    }

    /// Who waits, by a process.
    pub fn waitlist(&self, place: usize) -> WaitlistServiceClient<Channel> {
        WaitlistServiceClient::new(self.channels[place].clone())
    }

    /// Now one process, now the other.
    pub fn next(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed) % self.channels.len()
    }

    /// Sets the stock of a SKU.
    pub async fn set(&self, sku: &str, on_hand: i64) {
        self.stock(0)
            .set_stock(timed(SetStockRequest { sku: sku.to_owned(), on_hand, ..Default::default() }))
            .await
            .unwrap();
    }

    /// On hand and held.
    pub async fn figures(&self, sku: &str) -> (i64, i64) {
        let request = GetStockRequest { sku: sku.to_owned(), read_time: None, ..Default::default() };
        let item: StockItem = self.stock(0).get_stock(timed(request)).await.unwrap().into_inner().item.unwrap();
        (item.on_hand, item.held)
    }

    /// Of a process: how often it did something again, and how often it was refused by its fencing token.
    pub async fn counters(&self, place: usize) -> (i64, i64) {
        let told = self.stock(place).get_strategy(timed(GetStrategyRequest {})).await.unwrap().into_inner();
        (told.retry_count, told.fenced_count)
    }

    /// Asks a process to hold so many of each.
    pub async fn prepare(&self, place: usize, transaction: &TransactionRef, lines: &[(&str, i64)]) -> Voted {
        let lines = lines.iter().map(|(sku, quantity)| StockLine { sku: (*sku).to_owned(), quantity: *quantity });
        let branch = PrepareBranch {
            transaction: Some(transaction.clone()),
            participants: vec!["inventory".to_owned()],
            owner_id: "test".to_owned(),
            branch: InventoryBranch { lines: lines.collect(), ..Default::default() }.encode_to_vec(),
        };
        let request = timed(PrepareRequest { branches: vec![branch] });
        match self.participant(place).prepare(request).await {
            Ok(answer) => {
                let result = answer.into_inner().results.pop().unwrap();
                voted(result.vote(), result.refusal.map(|refusal| refusal.reason))
            }
            Err(_) => Voted::Unknown,
        }
    }

    /// Settles a vote that is not known: by whichever process answers.
    pub async fn fence(&self, transaction: &TransactionRef) -> Voted {
        loop {
            let request = timed(FenceRequest { transactions: vec![transaction.clone()] });
            if let Ok(answer) = self.participant(self.next()).fence(request).await {
                let result = answer.into_inner().results.pop().unwrap();
                match voted(result.vote(), result.refusal.map(|refusal| refusal.reason)) {
                    Voted::Unknown => (),
                    known => return known,
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sells what is held, however often that takes.
    pub async fn commit(&self, transaction: &TransactionRef) {
        loop {
            let request = CommitRequest { transactions: vec![transaction.clone()], durable: true };
            let answer = self.participant(self.next()).commit(timed(request)).await;
            let answer = answer.map(|answer| answer.into_inner().acknowledgements().collect::<Vec<_>>());
            if answer.is_ok_and(|acknowledged| acknowledged == [Acknowledgement::Done]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Gives back what is held, however often that takes.
    pub async fn abort(&self, transaction: &TransactionRef) {
        loop {
            let refusal = Refusal { reason: "TIMED_OUT".to_owned(), ..Default::default() };
            let branch = AbortBranch { transaction: Some(transaction.clone()), refusal: Some(refusal) };
            let answer = self.participant(self.next()).abort(timed(AbortRequest { branches: vec![branch] })).await;
            let answer = answer.map(|answer| answer.into_inner().acknowledgements().collect::<Vec<_>>());
            if answer.is_ok_and(|acknowledged| acknowledged == [Acknowledgement::Done]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Buys so many, through doubt and new tries, until they are sold or refused: whether they were sold.
    pub async fn buy(&self, lines: &[(&str, i64)]) -> bool {
        loop {
            let transaction = transaction();
            let mut vote = self.prepare(self.next(), &transaction, lines).await;
            if vote == Voted::Unknown {
                vote = self.fence(&transaction).await;
            }
            match vote {
                Voted::Yes => {
                    self.commit(&transaction).await;
                    return true;
                }
                Voted::No(reason) if reason == "OUT_OF_STOCK" => return false,
                Voted::No(_) | Voted::Unknown => (),
            }
        }
    }

    /// That everything holds: the service's own invariants, and the ledger.
    pub async fn holds(&self) {
        let checks = self.participant(0).audit(timed(AuditRequest {})).await.unwrap().into_inner().checks;
        assert!(checks.iter().all(|check| check.violations.is_empty()), "{checks:?}");
        let verify = VerifyStockRequest { page_size: 1_000, page_token: String::new() };
        let verified = self.stock(0).verify_stock(timed(verify)).await.unwrap().into_inner();
        assert_eq!(verified.differences, []);
    }

    /// Runs a statement in the database.
    pub async fn sql(&self, statement: &'static str) {
        let mut connection = PgConnection::connect(&self.postgres.url()).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.servers.iter().for_each(|server| println!("--- {}\n{}", server.name, server.log()));
        }
    }
}

/// A new transaction, that is not due before the test is over.
pub fn transaction() -> TransactionRef {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let deadline_unix_ms = i64::try_from(now).unwrap() + 600_000;
    TransactionRef { transaction_id: Uuid::now_v7().to_string(), deadline_unix_ms }
}

fn voted(vote: Vote, reason: Option<String>) -> Voted {
    match vote {
        Vote::Yes => Voted::Yes,
        Vote::No => Voted::No(reason.unwrap_or_default()),
        Vote::Unspecified | Vote::Unknown | Vote::Forgotten => Voted::Unknown,
    }
}
