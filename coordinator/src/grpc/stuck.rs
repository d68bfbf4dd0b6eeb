//! Which transactions are stuck, and why: what an operator should look at.
use std::collections::{BTreeMap, HashMap};

use futures::future::join_all;
use participant::clock::now_unix_ms;
use participant::status;
use proto::assent::transaction::v1 as api;
use protocol::record::RecordState;
use tonic::Status;
use uuid::Uuid;

use super::{sagas, wire};
use crate::coordinator::Coordinator;
use crate::participants::{BranchRow, CallError, Participant};

/// Rows and records looked at, at most, per source.
const MAX_ROWS: i32 = 5_000;
/// How long a decision may take to reach a participant before it counts as stuck, in milliseconds.
const APPLIED_WITHIN_MS: i64 = 1_000;

/// All that is stuck, newest first, of one state or all, older than `before`.
pub async fn list(
    coordinator: &Coordinator,
    state: Option<RecordState>,
    before: Option<Uuid>,
) -> Result<Vec<api::TransactionSummary>, Status> {
    let now = now_unix_ms();
    let mut found: BTreeMap<Uuid, api::TransactionSummary> = BTreeMap::new();
    let overdue =
        coordinator.store.overdue(now, i64::from(MAX_ROWS)).await.map_err(|error| status::database(&error))?;
    for record in &overdue {
        let why = coordinator.recoverer.why_in_doubt(record.transaction_id);
        let why = if why.is_empty() { String::new() } else { format!(" because of {why}") };
        let stuck_reason = format!("not final {} ms after its deadline{why}", now - record.deadline_unix_ms);
        found.insert(
            record.transaction_id,
            api::TransactionSummary { transaction: Some(wire::transaction(record)), stuck_reason, saga: None },
        );
    }
    for summary in sagas::stuck(coordinator, now, i64::from(MAX_ROWS)).await? {
        let id = summary.transaction.as_ref().and_then(|transaction| transaction.transaction_id.parse().ok());
        found.extend(id.map(|id: Uuid| (id, summary)));
    }
    let mut unasked: Option<CallError> = None;
    let listed = join_all(coordinator.participants.iter().map(in_doubt)).await;
    let mut waiting: HashMap<Uuid, (BranchRow, Vec<String>)> = HashMap::new();
    for (participant, rows) in listed {
        for row in rows.unwrap_or_else(|error| {
            unasked = Some(error);
            Vec::new()
        }) {
            let (_, names) = waiting.entry(row.transaction.transaction_id).or_insert_with(|| (row, Vec::new()));
            names.push(participant.clone());
        }
    }
    let ids: Vec<Uuid> = waiting.keys().copied().collect();
    let records = coordinator.store.records(&ids).await.map_err(|error| status::database(&error))?;
    for record in records {
        let Some((_, names)) = waiting.remove(&record.transaction_id) else { continue };
        let Some(decide_time) = record.decide_time.filter(|_| record.state.is_terminal()) else { continue };
        let age = now - decide_time.timestamp_millis();
        if age > APPLIED_WITHIN_MS {
            let stuck_reason =
                format!("decided {age} ms ago, but {} has not acknowledged the decision", names.join(" and "));
            found.insert(
                record.transaction_id,
                api::TransactionSummary { transaction: Some(wire::transaction(&record)), stuck_reason, saga: None },
            );
        }
    }
    for (transaction_id, (row, names)) in waiting {
        let late = now - row.transaction.deadline_unix_ms;
        if late > 0 {
            let stuck_reason =
                format!("{} is in doubt {late} ms after the deadline, and no record stands", names.join(" and "));
            let transaction = api::Transaction {
                transaction_id: transaction_id.to_string(),
                deadline: wire::deadline(row.transaction.deadline_unix_ms),
                participants: row.participants,
                owner_id: row.owner_id,
                ..api::Transaction::default()
            };
            let summary = api::TransactionSummary { transaction: Some(transaction), stuck_reason, saga: None };
            found.insert(transaction_id, summary);
        }
    }
    if let (true, Some(error)) = (found.is_empty(), unasked) {
        // A participant that can't be asked hides what waits there: "nothing is stuck" would be a guess.
        return Err(wire::unreachable(format!("whether anything is stuck can't be told: {error}")));
    }
    let newest_first = found.into_iter().rev();
    let older = newest_first.filter(|(transaction_id, _)| before.is_none_or(|before| *transaction_id < before));
    let wanted = wire::state(state);
    let of_state = |summary: &api::TransactionSummary| {
        state.is_none() || summary.transaction.as_ref().is_some_and(|transaction| transaction.state() == wanted)
    };
    Ok(older.map(|(_, summary)| summary).filter(of_state).collect())
}

async fn in_doubt(participant: &Participant) -> (String, Result<Vec<BranchRow>, CallError>) {
    (participant.name.clone(), participant.prepared(MAX_ROWS).await)
}
