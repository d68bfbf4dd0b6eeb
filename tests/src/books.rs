//! What clients were told, held against what the databases say.
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use proto::assent::order::v1::OrderState;

use crate::answer::Answer;
use crate::basket::Basket;
use crate::client::Client;
use crate::load::{Request, place};
use crate::server::Service;
use crate::system::System;
use crate::traces::Traces;

const SKUS: usize = 12;
const ACCOUNTS: usize = 6;
/// On hand of every SKU at first.
pub const STOCK: i64 = 1_000_000_000;
/// In every account at first, in pence.
pub const BALANCE_MINOR: i64 = 1_000_000_000_000;
/// Of this there is none.
const SOLD_OUT: &str = "sold-out";
/// This one has no money.
const POOR: &str = "poor";
/// How long an unknown outcome may stay unknown to a client that repeats its call.
const RESOLVED_WITHIN: Duration = Duration::from_secs(10);
/// Orders read back through the coordinator, at most, of each kind.
const READ_BACK: usize = 10;

/// All requests that were made of a system, and the stock and the money that they were made on.
pub struct Books {
    requests: Vec<Request>,
}

impl Books {
    /// Stocks the system and opens its accounts.
    pub async fn open(client: &Client) -> Self {
        for sku in 0..SKUS {
            client.set_stock(&format!("sku-{sku}"), STOCK).await;
        }
        client.set_stock(SOLD_OUT, 0).await;
        for account in 0..ACCOUNTS {
            client.open_account(&format!("account-{account}"), BALANCE_MINOR).await;
        }
        client.open_account(POOR, 0).await;
        Books { requests: Vec::new() }
    }

    /// Books of a system on which these requests were made before.
    pub fn of(requests: Vec<Request>) -> Self {
        Books { requests }
    }

    /// What a client orders in a turn: mostly what can be had, at times what is sold out or can't be paid.
    pub fn basket(client: usize, turn: usize) -> Basket {
        let sku = |offset: usize| format!("sku-{}", (client * 5 + turn * 7 + offset) % SKUS);
        let account = format!("account-{}", (client + turn) % ACCOUNTS);
        let basket = Basket::of(if turn % 8 == 6 { POOR } else { &account }).line(&sku(0), 1, 250);
        match turn % 8 {
            3 => basket.line(SOLD_OUT, 1, 100),
            0 => basket.line(&sku(1), 3, 99).line(&sku(2), 2, 1).line(&sku(0), 1, 250),
            _ => basket,
        }
    }

    /// Repeats every request whose outcome is not known until it is; returns the slowest.
    pub async fn resolve(client: &Client, requests: &mut [Request]) -> Duration {
        let began = Instant::now();
        let unknown = requests.iter_mut().filter(|request| !request.is_known());
        let resolving = unknown.map(|request| async move {
            let began = Instant::now();
            while !request.is_known() {
                let answer = place(client, &request.request_id, &request.basket).await;
                request.answers.push(answer);
                assert!(began.elapsed() < RESOLVED_WITHIN, "never known: {request:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        futures::future::join_all(resolving).await;
        began.elapsed()
    }

    /// Takes requests into the books and checks all of them; returns what is wrong.
    ///
    /// Everything must be known and settled: see [`Books::resolve`] and [`Client::settled`].
    pub async fn check(&mut self, system: &System, client: &Client, requests: Vec<Request>) -> Vec<String> {
        let mut wrong: Vec<String> = requests.iter().flat_map(contradictions).collect();
        wrong.extend(read_back(client, &requests).await);
        self.requests.extend(requests);
        wrong.extend(self.check_orders(system).await);
        wrong.extend(self.check_sums(system).await);
        wrong.extend(self.check_ledger(system).await);
        wrong.extend(Traces::read(system).await.contradicting(&self.requests));
        wrong
    }

    /// One order for a request that was confirmed, none for the others, and none without a request.
    async fn check_orders(&self, system: &System) -> Vec<String> {
        let rows: Vec<(String, String, i16)> =
            sqlx::query_as("SELECT request_id, order_id::text, state FROM order_with_state WHERE state <> 3")
                .fetch_all(&system.pool(Service::Order))
                .await
                .unwrap();
        let mut stored: HashMap<&str, Vec<(&str, i16)>> = HashMap::new();
        for (request_id, order_id, state) in &rows {
            stored.entry(request_id).or_default().push((order_id, *state));
        }
        let mut wrong = Vec::new();
        for request in &self.requests {
            let stored = stored.remove(request.request_id.as_str()).unwrap_or_default();
            let told = request.answers.iter().find_map(|(answer, _)| answer.confirmed());
            let expected: Vec<(&str, i16)> = told.into_iter().map(|order_id| (order_id, 2)).collect();
            if stored != expected {
                wrong.push(format!("{}: stored {stored:?}, told {:?}", request.request_id, request.answers));
            }
        }
        wrong.extend(
            stored.into_iter().map(|(request_id, orders)| format!("nobody asked for {request_id}: {orders:?}")),
        );
        wrong
    }

    /// What was sold and paid is what was confirmed, and nothing is held.
    async fn check_sums(&self, system: &System) -> Vec<String> {
        let mut sold: BTreeMap<&str, i64> = BTreeMap::new();
        let mut paid: BTreeMap<&str, i64> = BTreeMap::new();
        let confirmed = |request: &&Request| request.answers.iter().any(|(answer, _)| answer.confirmed().is_some());
        for request in self.requests.iter().filter(confirmed) {
            for (sku, quantity, _) in &request.basket.lines {
                *sold.entry(sku).or_default() += quantity;
            }
            *paid.entry(&request.basket.account).or_default() += request.basket.total_minor();
        }
        let stock: Vec<(String, i64, i64)> = sqlx::query_as("SELECT sku, on_hand, held FROM stock")
            .fetch_all(&system.pool(Service::Inventory))
            .await
            .unwrap();
        let accounts: Vec<(String, i64, i64)> =
            sqlx::query_as("SELECT account, balance_minor, held_minor FROM account WHERE account NOT LIKE 'assent:%'")
                .fetch_all(&system.pool(Service::Payment))
                .await
                .unwrap();
        let stock = stock.into_iter().map(|row| (row, STOCK, &sold));
        let accounts = accounts.into_iter().map(|row| (row, BALANCE_MINOR, &paid));
        let mut wrong = Vec::new();
        for ((name, now, held), initial, taken) in stock.chain(accounts) {
            let initial = if [SOLD_OUT, POOR].contains(&name.as_str()) { 0 } else { initial };
            let expected = initial - taken.get(name.as_str()).copied().unwrap_or_default();
            if (now, held) != (expected, 0) {
                wrong.push(format!("{name}: {now} there and {held} held, expected {expected} and 0"));
            }
        }
        wrong
    }

    /// The ledger sold what was confirmed, each order's lines once and under its id, and nothing else that did not come
    /// back.
    async fn check_ledger(&self, system: &System) -> Vec<String> {
        let mut confirmed: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for request in &self.requests {
            let Some(order_id) = request.answers.iter().find_map(|(answer, _)| answer.confirmed()) else { continue };
            for (sku, quantity, _) in &request.basket.lines {
                *confirmed.entry((order_id, sku)).or_default() += quantity;
            }
        }
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT coalesce(transaction_id::text, ''), sku,
                        sum(CASE kind WHEN 3 THEN quantity ELSE -quantity END)::bigint
                 FROM movement WHERE kind IN (3, 8) GROUP BY 1, 2
                 HAVING sum(CASE kind WHEN 3 THEN quantity ELSE -quantity END) <> 0",
        )
        .fetch_all(&system.pool(Service::Inventory))
        .await
        .unwrap();
        let mut wrong = Vec::new();
        for (order_id, sku, quantity) in &rows {
            // What is found is taken out, so that a second sale for the same order meets nothing.
            let expected = confirmed.remove(&(order_id.as_str(), sku.as_str()));
            if expected != Some(*quantity) {
                wrong.push(format!("order {order_id}: the ledger sold {quantity} of {sku}, expected {expected:?}"));
            }
        }
        let unsold = confirmed.into_iter();
        wrong.extend(unsold.map(|((order_id, sku), quantity)| {
            format!("order {order_id}: the ledger did not sell its {quantity} of {sku}")
        }));
        wrong
    }

    /// How many requests there are of each kind of first answer.
    pub fn kinds(requests: &[Request]) -> BTreeMap<&'static str, usize> {
        let mut kinds = BTreeMap::new();
        for (answer, _) in requests.iter().filter_map(|request| request.answers.first()) {
            *kinds.entry(answer.kind()).or_default() += 1;
        }
        kinds
    }
}

/// Answers to one request that can't both be true.
fn contradictions(request: &Request) -> Vec<String> {
    let answers = || request.answers.iter().map(|(answer, _)| answer);
    let mut known = answers().filter(|answer| answer.is_known());
    let first = known.next().and_then(Answer::confirmed);
    let mut wrong = Vec::new();
    if known.any(|answer| answer.confirmed() != first) {
        wrong.push(format!("{} was answered {:?}", request.request_id, request.answers));
    }
    if answers().any(|answer| matches!(answer, Answer::Other { .. })) {
        wrong.push(format!("{} was answered {:?}", request.request_id, request.answers));
    }
    wrong
}

/// Reads some orders as the shop does, and compares with what it was told.
async fn read_back(client: &Client, requests: &[Request]) -> Vec<String> {
    let told = |wanted: OrderState| {
        let id = move |answer: &Answer| match (wanted, answer) {
            (OrderState::Confirmed, Answer::Confirmed { order_id }) => Some(order_id.clone()),
            (OrderState::Refused, Answer::Refused { order_id, .. } | Answer::Aborted { order_id, .. }) => {
                Some(order_id.clone())
            }
            _ => None,
        };
        let answers = requests.iter().rev().flat_map(|request| &request.answers);
        answers.filter_map(move |(answer, _)| Some((id(answer)?, wanted))).take(READ_BACK)
    };
    let mut wrong = Vec::new();
    for (order_id, state) in told(OrderState::Confirmed).chain(told(OrderState::Refused)) {
        match client.order(&order_id).await {
            Ok(order) if order.state() == state => (),
            read => wrong.push(format!("order {order_id} was told {state:?}, and reads {read:?}")),
        }
    }
    wrong
}
