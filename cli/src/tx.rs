//! `assent tx`: transactions as the coordinator and every participant see them.
mod saga;

use chrono::Utc;
use clap::Subcommand;
use proto::assent::transaction::v1 as wire;
use serde::Serialize;

use crate::client::Services;
use crate::failure::{Call, Exit, Failure};
use crate::output::{Output, fields, table, time};
use saga::{SagaView, Steer, StepRowView};

/// Transactions as the coordinator and every participant see them
#[derive(Debug, Subcommand)]
pub enum Tx {
    /// List transactions, newest first
    Ls {
        /// Only what is stuck: past its deadline and not final, or final with a participant still in doubt
        #[arg(long)]
        stuck: bool,
        /// Only records in this state
        #[arg(long)]
        state: Option<State>,
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Show the record and every participant's log side by side, as a timeline
    Show {
        /// The transaction
        transaction_id: String,
    },
    /// Find out or make the decision and send it to every participant; safe at any time
    Recover {
        /// The transaction
        transaction_id: String,
    },
    /// Have a saga wait: nothing more of it is sent until it is resumed or cancelled
    Pause {
        /// The saga
        transaction_id: String,
    },
    /// Have a paused saga go on
    Resume {
        /// The saga
        transaction_id: String,
    },
    /// Give a saga up, and have what took effect undone; refused once its pivot may have taken effect
    Cancel {
        /// The saga
        transaction_id: String,
    },
}

/// State of a record.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum State {
    /// Not final.
    Staging,
    /// Committed.
    Committed,
    /// Aborted.
    Aborted,
}

#[derive(Debug, Serialize)]
struct RecordView {
    transaction_id: String,
    /// "atomic" or "saga".
    mode: &'static str,
    state: &'static str,
    request_id: String,
    client_id: String,
    holds_request: bool,
    client_answer: &'static str,
    owner_id: String,
    participants: Vec<String>,
    refusal: Option<RefusalView>,
    deadline: Option<String>,
    create_time: Option<String>,
    decide_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stuck_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    saga: Option<SagaView>,
}

#[derive(Debug, Serialize)]
struct RefusalView {
    reason: String,
    message: String,
}

#[derive(Debug, Serialize)]
struct BranchView {
    participant: String,
    /// "none", "prepared", "committed", "aborted", or "unreachable".
    state: &'static str,
    refusal: Option<RefusalView>,
    create_time: Option<String>,
    decide_time: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Event {
    time: String,
    place: String,
    event: String,
}

#[derive(Debug, Serialize)]
struct TransactionPage {
    transaction_id: String,
    record: Option<RecordView>,
    branches: Vec<BranchView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepRowView>,
    timeline: Vec<Event>,
}

#[derive(Debug, Serialize)]
struct TransactionList {
    transactions: Vec<RecordView>,
}

#[derive(Debug, Serialize)]
struct Recovered {
    transaction_id: String,
    /// "committed", "aborted", "in_doubt" or "forgotten".
    outcome: &'static str,
    detail: String,
}

fn record_state(state: wire::RecordState) -> &'static str {
    match state {
        wire::RecordState::Staging => "staging",
        wire::RecordState::Committed => "committed",
        wire::RecordState::Aborted => "aborted",
        wire::RecordState::Unspecified => "none",
    }
}

fn branch_state(state: wire::BranchState) -> &'static str {
    match state {
        wire::BranchState::Prepared => "prepared",
        wire::BranchState::Committed => "committed",
        wire::BranchState::Aborted => "aborted",
        wire::BranchState::Unspecified => "none",
    }
}

fn refusal_view(refusal: Option<wire::Refusal>) -> Option<RefusalView> {
    refusal
        .filter(|refusal| !refusal.reason.is_empty())
        .map(|refusal| RefusalView { reason: refusal.reason, message: refusal.message })
}

fn record_view(record: wire::Transaction) -> RecordView {
    RecordView {
        mode: match record.mode() {
            wire::TransactionMode::Saga => "saga",
            wire::TransactionMode::Atomic | wire::TransactionMode::Unspecified => "atomic",
        },
        state: record_state(record.state()),
        client_answer: match record.client_answer() {
            wire::ClientAnswer::Accepted => "accepted",
            wire::ClientAnswer::Rejected => "rejected",
            wire::ClientAnswer::Unknown => "unknown",
            wire::ClientAnswer::Unspecified => "none",
        },
        deadline: time(record.deadline.as_ref()),
        create_time: time(record.create_time.as_ref()),
        decide_time: time(record.decide_time.as_ref()),
        refusal: refusal_view(record.refusal),
        transaction_id: record.transaction_id,
        request_id: record.request_id,
        client_id: record.client_id,
        holds_request: record.holds_request,
        owner_id: record.owner_id,
        participants: record.participants,
        stuck_reason: None,
        saga: None,
    }
}

fn branch_view(view: wire::ParticipantView) -> BranchView {
    let branch = view.branch.unwrap_or_default();
    let unreachable = !view.error.is_empty();
    BranchView {
        state: if unreachable { "unreachable" } else { branch_state(branch.state()) },
        create_time: time(branch.create_time.as_ref()),
        decide_time: time(branch.decide_time.as_ref()),
        refusal: refusal_view(branch.refusal),
        participant: view.participant,
        error: unreachable.then_some(view.error),
    }
}

impl Tx {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        match self {
            Tx::Ls { stuck, state, limit } => list(services, stuck, state, limit, output).await,
            Tx::Show { transaction_id } => show(services, transaction_id, output).await,
            Tx::Recover { transaction_id } => recover(services, transaction_id, output).await,
            Tx::Pause { transaction_id } => saga::steer(services, transaction_id, Steer::Pause, output).await,
            Tx::Resume { transaction_id } => saga::steer(services, transaction_id, Steer::Resume, output).await,
            Tx::Cancel { transaction_id } => saga::steer(services, transaction_id, Steer::Cancel, output).await,
        }
    }
}

async fn list(
    services: &Services,
    stuck: bool,
    state: Option<State>,
    limit: u32,
    output: Output,
) -> Result<(), Failure> {
    let state = match state {
        None => wire::RecordState::Unspecified,
        Some(State::Staging) => wire::RecordState::Staging,
        Some(State::Committed) => wire::RecordState::Committed,
        Some(State::Aborted) => wire::RecordState::Aborted,
    };
    let mut client = services.transactions().await?;
    let mut transactions: Vec<RecordView> = Vec::new();
    let mut page_token = String::new();
    loop {
        let left = (limit as usize).saturating_sub(transactions.len()).min(5_000);
        let request = services.request(wire::ListTransactionsRequest {
            state: state.into(),
            stuck,
            page_size: i32::try_from(left).unwrap_or(5_000),
            page_token,
        });
        let page = client.list_transactions(request).await.map_err(|status| Failure::of_status(&status, Call::Read))?;
        let page = page.into_inner();
        transactions.extend(page.transactions.into_iter().filter_map(|summary| {
            let mut view = record_view(summary.transaction?);
            view.stuck_reason = (!summary.stuck_reason.is_empty()).then_some(summary.stuck_reason);
            view.saga = summary.saga.map(SagaView::from);
            Some(view)
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() || transactions.len() >= limit as usize {
            break;
        }
    }
    output.print(&TransactionList { transactions }, |list| {
        let rows = list.transactions.iter().map(|record| {
            let refusal = record.refusal.as_ref().map(|refusal| refusal.reason.clone());
            vec![
                record.transaction_id.clone(),
                record.saga.as_ref().map_or_else(|| record.mode.to_owned(), |saga| format!("saga {}", saga.stands())),
                record.state.to_owned(),
                record.request_id.clone(),
                record.create_time.clone().unwrap_or_default(),
                record.stuck_reason.clone().or(refusal).unwrap_or_default(),
            ]
        });
        let last = if stuck { "stuck because" } else { "reason" };
        table(&["transaction", "mode", "state", "request", "began", last], &[], rows.collect())
    })
}

async fn show(services: &Services, transaction_id: String, output: Output) -> Result<(), Failure> {
    let request = services.request(wire::GetTransactionRequest { transaction_id: transaction_id.clone() });
    let answer = services.transactions().await?.get_transaction(request).await;
    let answer = answer.map_err(|status| Failure::of_status(&status, Call::Read))?.into_inner();
    let mut record = answer.transaction.map(record_view);
    let (mut branches, mut steps) = (Vec::new(), Vec::new());
    for mut view in answer.participants {
        steps.extend(saga::rows(&view.participant, std::mem::take(&mut view.steps)));
        branches.push(branch_view(view));
    }
    if let Some(record) = &mut record {
        record.saga = answer.saga.map(SagaView::from);
        if record.saga.is_some() {
            // A saga has steps, not branches; what can't be asked is still said.
            branches.retain(|branch| branch.state != "none");
        }
    }
    let mut timeline = timeline(record.as_ref(), &branches);
    timeline.extend(saga::events(&steps));
    // RFC 3339 in UTC with a fixed number of digits sorts as text.
    timeline.sort_by(|one, other| one.time.cmp(&other.time));
    output.print(&TransactionPage { transaction_id, record, branches, steps, timeline }, transaction_page)
}

/// What happened, in the order of the places' own clocks.
fn timeline(record: Option<&RecordView>, branches: &[BranchView]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut happened = |time: &Option<String>, place: &str, event: String| {
        if let Some(time) = time {
            events.push(Event { time: time.clone(), place: place.to_owned(), event });
        }
    };
    let because = |refusal: &Option<RefusalView>| match refusal {
        Some(refusal) => format!(": {} {}", refusal.reason, refusal.message),
        None => String::new(),
    };
    if let Some(record) = record {
        // A record that was final from the start is a tombstone that a recovery or a timeout wrote.
        let staged = record.state == "staging" || record.decide_time != record.create_time;
        if staged {
            happened(&record.create_time, "coordinator", format!("record STAGING by {}", record.owner_id));
        }
        if record.state != "staging" {
            let at = if record.decide_time.is_some() { &record.decide_time } else { &record.create_time };
            let state = record.state.to_uppercase();
            happened(at, "coordinator", format!("record {state}{}", because(&record.refusal)));
        }
        happened(&record.deadline, "", "deadline".to_owned());
    }
    for branch in branches {
        let prepared = branch.state != "aborted" || branch.decide_time != branch.create_time;
        if prepared {
            happened(&branch.create_time, &branch.participant, "prepared: votes yes".to_owned());
        }
        if branch.state != "prepared" {
            let at = if branch.decide_time.is_some() { &branch.decide_time } else { &branch.create_time };
            happened(at, &branch.participant, format!("{}{}", branch.state, because(&branch.refusal)));
        }
    }
    // RFC 3339 in UTC with a fixed number of digits sorts as text.
    events.sort_by(|a, b| a.time.cmp(&b.time));
    events
}

fn transaction_page(page: &TransactionPage) -> String {
    let mut head = vec![("transaction", page.transaction_id.clone())];
    match &page.record {
        None => head.push(("record", "none stands".to_owned())),
        Some(record) => {
            head.push(("record", record.state.to_owned()));
            let holds = if record.holds_request { "holds it" } else { "another attempt holds it" };
            head.push(("request", format!("{} of client {} ({holds})", record.request_id, record.client_id)));
            head.push(("answered", record.client_answer.to_owned()));
            head.push(("owner", record.owner_id.clone()));
            head.extend(record.saga.as_ref().map(|saga| ("saga", saga.stands())));
        }
    }
    for branch in &page.branches {
        let error = branch.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
        head.push((branch.participant.as_str(), format!("{}{error}", branch.state)));
    }
    let rows =
        page.timeline.iter().map(|event| vec![event.time.clone(), event.place.clone(), event.event.clone()]).collect();
    let timeline = table(&["time", "where", "what"], &[], rows);
    match page.record.as_ref().and_then(|record| record.saga.as_ref()) {
        None => format!("{}\n\n{timeline}", fields(&head)),
        Some(saga) => {
            let steps = saga::steps_table(saga, &page.steps, Utc::now());
            format!("{}\n\n{steps}\n\n{timeline}", fields(&head))
        }
    }
}

async fn recover(services: &Services, transaction_id: String, output: Output) -> Result<(), Failure> {
    let transaction = Some(wire::TransactionRef { transaction_id: transaction_id.clone(), deadline_unix_ms: 0 });
    let request = services.request(wire::RecoverTransactionRequest { transaction, participants: Vec::new() });
    let answer = services.transactions().await?.recover_transaction(request).await;
    let answer = answer.map_err(|status| Failure::of_status(&status, Call::Write))?.into_inner();
    let outcome = match answer.outcome() {
        wire::RecoveryOutcome::Committed => "committed",
        wire::RecoveryOutcome::Aborted => "aborted",
        wire::RecoveryOutcome::Forgotten => "forgotten",
        wire::RecoveryOutcome::InDoubt | wire::RecoveryOutcome::Unspecified => "in_doubt",
    };
    let view = Recovered { transaction_id, outcome, detail: answer.detail };
    output.print(&view, |view| {
        let mut rows = vec![("transaction", view.transaction_id.clone()), ("outcome", view.outcome.to_owned())];
        if !view.detail.is_empty() {
            rows.push(("detail", view.detail.clone()));
        }
        fields(&rows)
    })?;
    if outcome != "in_doubt" {
        return Ok(());
    }
    let failure = Failure::new(format!("{} cannot be decided now: {}", view.transaction_id, view.detail));
    Err(Failure { exit: Exit::Unknown, ..failure.hint("run it again when every participant is up") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(participant: &str, state: &'static str, created: &str, decided: Option<&str>) -> BranchView {
        BranchView {
            participant: participant.to_owned(),
            state,
            refusal: None,
            create_time: Some(created.to_owned()),
            decide_time: decided.map(str::to_owned),
            error: None,
        }
    }

    #[test]
    fn the_timeline_follows_the_clock_across_the_places() {
        let branches = [
            branch("inventory", "committed", "2026-01-01T00:00:00.002Z", Some("2026-01-01T00:00:00.009Z")),
            branch("payment", "aborted", "2026-01-01T00:00:00.001Z", Some("2026-01-01T00:00:00.001Z")),
        ];
        let events = timeline(None, &branches);
        let told: Vec<_> = events.iter().map(|event| (event.place.as_str(), event.event.as_str())).collect();
        let expected = [("payment", "aborted"), ("inventory", "prepared: votes yes"), ("inventory", "committed")];
        assert_eq!(told, expected);
    }
}
