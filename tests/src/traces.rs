//! What an order has left behind in each of the four databases, held against what its client was told.
use std::collections::{BTreeSet, HashMap};

use crate::load::Request;
use crate::server::Service;
use crate::system::System;

const COMMITTED: i16 = 2;
const ABORTED: i16 = 3;

/// Everything that the databases have of orders, by transaction.
pub struct Traces {
    /// The coordinator's records' states.
    records: HashMap<String, i16>,
    /// The participants' log rows' states.
    branches: Vec<(Service, HashMap<String, i16>)>,
    /// Orders: account, lines, sum.
    orders: HashMap<String, (String, serde_json::Value, i64)>,
    /// Captures: who paid, how much.
    captures: HashMap<String, Vec<(String, i64)>>,
}

impl Traces {
    /// Reads them, when nothing is under way.
    pub async fn read(system: &System) -> Self {
        let mut branches = Vec::new();
        for service in Service::PARTICIPANTS {
            branches.push((service, states(system, service, "branch_with_state").await));
        }
        let orders: Vec<(String, String, serde_json::Value, i64)> =
            sqlx::query_as("SELECT order_id::text, account, lines, total_minor FROM order_with_state WHERE state = 2")
                .fetch_all(&system.pool(Service::Order))
                .await
                .unwrap();
        let captured: Vec<(String, String, i64)> =
            sqlx::query_as("SELECT booking_id::text, debit_account, amount_minor FROM booking WHERE kind = 'capture'")
                .fetch_all(&system.pool(Service::Payment))
                .await
                .unwrap();
        let mut captures: HashMap<String, Vec<(String, i64)>> = HashMap::new();
        for (transaction_id, account, amount_minor) in captured {
            captures.entry(transaction_id).or_default().push((account, amount_minor));
        }
        Traces {
            records: states(system, Service::Coordinator, "record_as_it_stands").await,
            branches,
            orders: orders.into_iter().map(|(id, account, lines, total)| (id, (account, lines, total))).collect(),
            captures,
        }
    }

    /// What contradicts the answers to these requests, which must be all that were ever made.
    pub fn contradicting(&self, requests: &[Request]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut placed = BTreeSet::new();
        for request in requests {
            for (answer, _) in &request.answers {
                let Some(id) = answer.order_id() else { continue };
                let is_placed = answer.confirmed().is_some();
                let found = if is_placed { self.against_placed(id, request) } else { self.against_not_placed(id) };
                wrong.extend(
                    found.into_iter().map(|what| format!("{} was told {answer:?}, but {what}", request.request_id)),
                );
                if is_placed {
                    placed.insert(id);
                }
            }
        }
        let unasked = self.orders.keys().chain(self.captures.keys()).filter(|id| !placed.contains(id.as_str()));
        wrong.extend(unasked.map(|id| format!("{id} took effect, and nobody was told so")));
        wrong
    }

    /// Record and log rows may be collected, if they are there they say so; order and capture must be there.
    fn against_placed(&self, id: &str, request: &Request) -> Vec<String> {
        let basket = &request.basket;
        let mut wrong = self.decided(id, COMMITTED);
        let expected = (basket.account.clone(), serde_json::json!(basket.lines), basket.total_minor());
        if self.orders.get(id) != Some(&expected) {
            wrong.push(format!("the order is {:?}", self.orders.get(id)));
        }
        let expected = vec![(basket.account.clone(), basket.total_minor())];
        if self.captures.get(id) != Some(&expected) {
            wrong.push(format!("captured is {:?}", self.captures.get(id)));
        }
        wrong
    }

    fn against_not_placed(&self, id: &str) -> Vec<String> {
        self.decided(id, ABORTED)
    }

    /// What says anything else than this decision.
    fn decided(&self, id: &str, decision: i16) -> Vec<String> {
        let record = self.records.get(id).map(|state| ("coordinator", *state));
        let branches = self.branches.iter().filter_map(|(service, rows)| Some((service.name(), *rows.get(id)?)));
        let other = record.into_iter().chain(branches).filter(|(_, state)| *state != decision);
        other.map(|(place, state)| format!("{place} has state {state}")).collect()
    }
}

async fn states(system: &System, service: Service, table: &'static str) -> HashMap<String, i16> {
    let rows = format!("SELECT transaction_id::text, state FROM {table}");
    let rows = sqlx::query_as::<_, (String, i16)>(sqlx::AssertSqlSafe(rows));
    rows.fetch_all(&system.pool(service)).await.unwrap().into_iter().collect()
}
