//! Reads the facts that the doctor checks from the services, and turns them into the protocol's words.
use std::collections::BTreeSet;

use proto::assent::order::v1 as order;
use proto::assent::transaction::v1 as wire;
use protocol::Decision;
use protocol::branch::BranchState;
use protocol::invariants::{BranchFact, ClientAnswer, Facts, RecordFact, SagaFact, ShownFact, TransactionId};
use protocol::record::RecordState;
use uuid::Uuid;

use super::sagas;
use crate::client::{Service, Services};
use crate::failure::{Call, Failure};

pub(super) const TRANSACTIONS_PER_PAGE: i32 = 5_000;
/// Orders carry all their lines.
const ORDERS_PER_PAGE: i32 = 500;

pub(super) fn read<T>(result: Result<tonic::Response<T>, tonic::Status>, what: &str) -> Result<T, Failure> {
    result.map(tonic::Response::into_inner).map_err(|status| {
        let failure = Failure::of_status(&status, Call::Read);
        Failure { message: format!("cannot read {what}: {}", failure.message), ..failure }
    })
}

/// Reads every record, every log row and every order.
///
/// Records first: what began after they were read is known to the logs alone, and told apart when it is read again.
pub async fn all(services: &Services) -> Result<Facts, Failure> {
    let (records, sagas) = records(services).await?;
    let (mut branches, mut steps) = (Vec::new(), Vec::new());
    for participant in Service::PARTICIPANTS {
        branches.extend(branches_of(services, participant).await?);
        steps.extend(sagas::steps_of(services, participant).await?);
    }
    Ok(Facts { records, branches, shown: orders(services).await?, sagas, steps })
}

async fn records(services: &Services) -> Result<(Vec<RecordFact>, Vec<SagaFact>), Failure> {
    let mut client = services.transactions().await?;
    let (mut records, mut found, mut page_token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let request = services.request(wire::ListTransactionsRequest {
            state: wire::RecordState::Unspecified.into(),
            stuck: false,
            page_size: TRANSACTIONS_PER_PAGE,
            page_token,
        });
        let page = read(client.list_transactions(request).await, "the coordinator's records")?;
        for summary in page.transactions {
            let Some(record) = summary.transaction else { continue };
            let record = record_fact(record)?;
            found.extend(summary.saga.map(|saga| sagas::fact(record.transaction, saga)).transpose()?);
            records.push(record);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok((records, found));
        }
    }
}

async fn branches_of(services: &Services, participant: Service) -> Result<Vec<BranchFact>, Failure> {
    let mut client = services.participant(participant).await?;
    let (mut branches, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = services.request(wire::ListBranchesRequest {
            state: wire::BranchState::Unspecified.into(),
            page_size: TRANSACTIONS_PER_PAGE,
            page_token,
        });
        let page = read(client.list_branches(request).await, &format!("the log of {}", participant.name()))?;
        for branch in page.branches {
            branches.extend(branch_fact(participant.name(), branch)?);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(branches);
        }
    }
}

async fn orders(services: &Services) -> Result<Vec<ShownFact>, Failure> {
    let mut client = services.order_store().await?;
    let (mut shown, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = services.request(order::ReadOrdersRequest {
            page_size: ORDERS_PER_PAGE,
            page_token,
            state: order::OrderState::Unspecified.into(),
            ..order::ReadOrdersRequest::default()
        });
        let page = read(client.read_orders(request).await, "the orders")?;
        for order in page.orders {
            shown.push(shown_fact(&order)?);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(shown);
        }
    }
}

/// Reads again what is known of some transactions.
pub async fn of(services: &Services, transactions: &BTreeSet<TransactionId>) -> Result<Facts, Failure> {
    let mut client = services.transactions().await?;
    let mut store = services.order_store().await?;
    let mut facts = Facts::default();
    for transaction in transactions {
        let transaction_id = Uuid::from_u128(*transaction).to_string();
        let request = services.request(wire::GetTransactionRequest { transaction_id: transaction_id.clone() });
        match client.get_transaction(request).await {
            Err(status) if status.code() == tonic::Code::NotFound => {}
            answer => {
                let page = read(answer, &format!("transaction {transaction_id}"))?;
                if let Some(record) = page.transaction {
                    facts.records.push(record_fact(record)?);
                }
                facts.sagas.extend(page.saga.map(|saga| sagas::fact(*transaction, saga)).transpose()?);
                for view in page.participants {
                    if !view.error.is_empty() {
                        return Err(Failure::new(format!("cannot ask {}: {}", view.participant, view.error)));
                    }
                    if let Some(branch) = view.branch {
                        facts.branches.extend(branch_fact(&view.participant, branch)?);
                    }
                    for step in view.steps {
                        facts.steps.extend(sagas::step_fact(&view.participant, step)?);
                    }
                }
            }
        }
        let request = services.request(order::ReadOrderRequest { order_id: transaction_id.clone() });
        match store.read_order(request).await {
            Err(status) if status.code() == tonic::Code::NotFound => {}
            answer => {
                let order = read(answer, &format!("order {transaction_id}"))?.order;
                facts.shown.extend(order.as_ref().map(shown_fact).transpose()?);
            }
        }
    }
    Ok(facts)
}

/// Whether a participant's rows are read. Of others, which transactions may have besides, the doctor can say nothing.
pub(super) fn is_asked(name: &str) -> bool {
    Service::PARTICIPANTS.iter().any(|participant| participant.name() == name)
}

pub(super) fn transaction_id(text: &str) -> Result<TransactionId, Failure> {
    let id =
        Uuid::parse_str(text).map_err(|_| Failure::new(format!("a service answered {text:?} as a transaction id")))?;
    Ok(id.as_u128())
}

fn unix_ms(timestamp: Option<&prost_types::Timestamp>) -> i64 {
    timestamp.map_or(0, |at| at.seconds.saturating_mul(1_000).saturating_add(i64::from(at.nanos) / 1_000_000))
}

fn record_fact(record: wire::Transaction) -> Result<RecordFact, Failure> {
    let state = match record.state() {
        wire::RecordState::Staging => RecordState::Staging,
        wire::RecordState::Committed => RecordState::Committed,
        wire::RecordState::Aborted => RecordState::Aborted,
        wire::RecordState::Unspecified => {
            return Err(Failure::new(format!("the record of {} has no state", record.transaction_id)));
        }
    };
    Ok(RecordFact {
        transaction: transaction_id(&record.transaction_id)?,
        state,
        first_decision: match record.first_decision() {
            wire::RecordState::Committed => Some(Decision::Commit),
            wire::RecordState::Aborted => Some(Decision::Abort),
            wire::RecordState::Staging | wire::RecordState::Unspecified => None,
        },
        client_answer: match record.client_answer() {
            wire::ClientAnswer::Accepted => Some(ClientAnswer::Accepted),
            wire::ClientAnswer::Rejected => Some(ClientAnswer::Rejected),
            wire::ClientAnswer::Unknown => Some(ClientAnswer::Unknown),
            wire::ClientAnswer::Unspecified => None,
        },
        deadline_unix_ms: unix_ms(record.deadline.as_ref()),
        participants: record.participants.into_iter().filter(|name| is_asked(name)).collect(),
        client_id: record.client_id,
        request_id: record.request_id,
        holds_request: record.holds_request,
    })
}

fn branch_fact(participant: &str, branch: wire::Branch) -> Result<Option<BranchFact>, Failure> {
    let state = match branch.state() {
        wire::BranchState::Prepared => BranchState::Prepared,
        wire::BranchState::Committed => BranchState::Committed,
        wire::BranchState::Aborted => BranchState::Aborted,
        wire::BranchState::Unspecified => return Ok(None),
    };
    let Some(transaction) = branch.transaction else {
        return Err(Failure::new(format!("{participant} answered a log row without its transaction")));
    };
    Ok(Some(BranchFact {
        transaction: transaction_id(&transaction.transaction_id)?,
        participant: participant.to_owned(),
        state,
        participants: branch.participants,
        deadline_unix_ms: transaction.deadline_unix_ms,
    }))
}

fn shown_fact(order: &order::Order) -> Result<ShownFact, Failure> {
    let decision = match order.state() {
        order::OrderState::Refused => Some(Decision::Abort),
        order::OrderState::Pending | order::OrderState::Unspecified => None,
        // Whatever became of it later, it was confirmed.
        order::OrderState::Confirmed
        | order::OrderState::Cancelled
        | order::OrderState::Shipped
        | order::OrderState::PartiallyReturned
        | order::OrderState::Returned
        | order::OrderState::Backordered
        | order::OrderState::PartiallyAllocated => Some(Decision::Commit),
    };
    Ok(ShownFact { transaction: transaction_id(&order.order_id)?, decision })
}
