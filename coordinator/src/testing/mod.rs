//! What this crate's tests stand on: a private Postgres, and participants that do as they are told.
mod participant;
mod postgres;
mod steps;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::participant::TransactionRef;
use ::participant::clock::now_unix_ms;
use bytes::BytesMut;
use clap::Parser;
use proto::assent::payment::v1::PaymentBranch;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::admission::{Admitted, Known};
use crate::config::Args;
use crate::content::Content;
use crate::coordinator::Coordinator;
use crate::domain::{Line, Order};
use crate::owner::{self, Answer, Request};
use crate::participants::{Participant, Participants, Voted, Voter, encoded};
use crate::recover;
use crate::store::NewRecord;

pub use participant::{FakeParticipant, Mood};
pub use postgres::Postgres;

/// A Postgres and three participants, for any number of coordinators.
pub struct World {
    pub postgres: Postgres,
    pub inventory: FakeParticipant,
    pub order: FakeParticipant,
    pub payment: FakeParticipant,
    addresses: String,
}

impl World {
    pub async fn start() -> Self {
        let postgres = Postgres::start();
        let (inventory, one) = FakeParticipant::serve("inventory").await;
        let (order, two) = FakeParticipant::serve("order").await;
        let (payment, three) = FakeParticipant::serve("payment").await;
        let addresses = [one, two, three].map(|it| format!("{}={}", it.name, it.uri)).join(",");
        World { postgres, inventory, order, payment, addresses }
    }

    pub fn participants(&self) -> [&FakeParticipant; 3] {
        [&self.inventory, &self.order, &self.payment]
    }

    /// A coordinator that holds a lease, but neither serves nor takes over.
    pub async fn coordinator(&self, name: &str) -> Arc<Coordinator> {
        self.coordinator_with(name, &[]).await
    }

    /// The same, with more flags.
    pub async fn coordinator_with(&self, name: &str, more: &[&str]) -> Arc<Coordinator> {
        let url = self.postgres.url();
        let flags = ["coordinator", "--name", name, "--database-url", &url, "--participants", &self.addresses];
        let args = Args::parse_from(flags.iter().chain(more));
        let store = self.postgres.store().await;
        let participants = Participants::start(&args.participants).unwrap();
        let coordinator = Coordinator::new(args, &Uuid::now_v7().to_string(), store, participants);
        recover::take_lease(&coordinator, Duration::from_secs(1)).await.unwrap();
        coordinator
    }
}

/// An order of one line.
pub fn order(sku: &str) -> Arc<Order> {
    let line = Line { sku: sku.to_owned(), quantity: 1, unit_price_minor: 100 };
    Arc::new(Order::new("alice".to_owned(), vec![(line, "GBP".to_owned())]).unwrap())
}

/// Places an order as a client would.
pub async fn place(coordinator: &Arc<Coordinator>, request_id: &str, order: Arc<Order>, timeout_ms: u64) -> Answer {
    let request = Request {
        client_id: "client".to_owned(),
        request_id: request_id.to_owned(),
        content: Content::Order(order),
        timeout: Duration::from_millis(timeout_ms),
        deadline_unix_ms: None,
        is_retry: false,
        admitted: admitted(coordinator),
    };
    owner::place(coordinator, request).await
}

/// A place among those that wait for their answer.
pub fn admitted(coordinator: &Coordinator) -> Admitted {
    let known = Known { client_id: "client", request_id: "", is_retry: false };
    coordinator.admission.admit(known, &coordinator.active).unwrap()
}

/// Waits until something is so.
pub async fn until(what: &str, so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Leaves a transaction as a coordinator that died would: everyone prepared and a STAGING record, or only the inventory
/// prepared and no record.
pub async fn abandon(dead: &Arc<Coordinator>, request_id: &str, recorded: bool) -> Uuid {
    let transaction_id = Uuid::now_v7();
    let record = Arc::new(NewRecord {
        transaction_id,
        client_id: "client".to_owned(),
        request_id: request_id.to_owned(),
        request_digest: order("A").digest(),
        owner_id: dead.owner_id.clone(),
        deadline_unix_ms: now_unix_ms() + 3_000,
        participants: dead.participants.names().join(",").into(),
    });
    let transaction = TransactionRef { transaction_id, deadline_unix_ms: record.deadline_unix_ms };
    for participant in dead.participants.iter().filter(|it| recorded || it.name == "inventory") {
        assert_eq!(vote(dead, participant, transaction).await, protocol::Vote::Yes);
    }
    if recorded {
        dead.store.stage(record).await.unwrap();
    }
    transaction_id
}

/// Asks a participant for its vote on a transaction that nobody drives.
pub async fn ask(coordinator: &Coordinator, participant: &str) {
    let transaction = TransactionRef { transaction_id: Uuid::now_v7(), deadline_unix_ms: now_unix_ms() + 3_000 };
    vote(coordinator, coordinator.participants.get(participant).unwrap(), transaction).await;
}

/// Asks a participant through its lane.
async fn vote(coordinator: &Coordinator, participant: &Participant, transaction: TransactionRef) -> protocol::Vote {
    struct Ballot(Mutex<Option<oneshot::Sender<protocol::Vote>>>);
    impl Voter for Ballot {
        fn voted(self: Arc<Self>, _: usize, voted: Voted) {
            self.0.lock().unwrap().take().unwrap().send(voted.vote).unwrap();
        }
        fn is_over(&self) -> bool {
            false
        }
    }
    let (ballot, voted) = oneshot::channel();
    let empty = PaymentBranch::default();
    let branch = encoded::branch(&mut BytesMut::new(), transaction, &coordinator.origin, &empty);
    participant.prepare.prepare(branch, Arc::new(Ballot(Mutex::new(Some(ballot)))), 0);
    voted.await.unwrap()
}
