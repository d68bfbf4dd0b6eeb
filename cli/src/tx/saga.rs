//! Sagas: how they are shown, and what operators do to them.
use chrono::{DateTime, Utc};
use proto::assent::transaction::v1 as wire;
use serde::Serialize;

use super::{Event, RefusalView, refusal_view};
use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::output::{Output, fields, table, time};

#[derive(Debug, Serialize)]
pub struct SagaView {
    /// "forward", "backward", "done" or "compensated".
    pub state: &'static str,
    pub paused: bool,
    pub epoch: i64,
    pub end_time: Option<String>,
    pub steps: Vec<StepView>,
}

#[derive(Debug, Serialize)]
pub struct StepView {
    pub name: String,
    pub participant: String,
    /// "compensatable", "pivot" or "retriable".
    pub kind: &'static str,
    pub after: Vec<String>,
    /// "pending", "executed", "refused", "skipped", "to-compensate" or "compensated".
    pub state: &'static str,
    pub attempt_count: i32,
    pub next_attempt_time: Option<String>,
    pub last_error: Option<String>,
}

/// A participant's row of a step.
#[derive(Debug, Serialize)]
pub struct StepRowView {
    pub step: String,
    pub participant: String,
    /// "executed", "refused" or "compensated".
    pub state: &'static str,
    pub refusal: Option<RefusalView>,
    pub create_time: Option<String>,
    pub update_time: Option<String>,
}

#[derive(Debug, Serialize)]
struct Steered {
    transaction_id: String,
    saga: SagaView,
}

impl From<wire::Saga> for SagaView {
    fn from(saga: wire::Saga) -> Self {
        SagaView {
            state: match saga.state() {
                wire::SagaState::Forward => "forward",
                wire::SagaState::Backward => "backward",
                wire::SagaState::Done => "done",
                wire::SagaState::Compensated => "compensated",
                wire::SagaState::Unspecified => "unspecified",
            },
            paused: saga.paused,
            epoch: saga.epoch,
            end_time: time(saga.end_time.as_ref()),
            steps: saga.steps.into_iter().map(StepView::from).collect(),
        }
    }
}

impl From<wire::SagaStep> for StepView {
    fn from(step: wire::SagaStep) -> Self {
        StepView {
            kind: match step.kind() {
                wire::StepKind::Compensatable => "compensatable",
                wire::StepKind::Pivot => "pivot",
                wire::StepKind::Retriable => "retriable",
                wire::StepKind::Unspecified => "unspecified",
            },
            state: match step.state() {
                wire::SagaStepState::Pending => "pending",
                wire::SagaStepState::Executed => "executed",
                wire::SagaStepState::Refused => "refused",
                wire::SagaStepState::Skipped => "skipped",
                wire::SagaStepState::ToCompensate => "to-compensate",
                wire::SagaStepState::Compensated => "compensated",
                wire::SagaStepState::Unspecified => "unspecified",
            },
            next_attempt_time: time(step.next_attempt_time.as_ref()),
            last_error: Some(step.last_error).filter(|error| !error.is_empty()),
            name: step.name,
            participant: step.participant,
            after: step.after,
            attempt_count: step.attempt_count,
        }
    }
}

impl SagaView {
    /// Where it stands, in a word or two.
    pub fn stands(&self) -> String {
        if self.paused { format!("{}, paused", self.state) } else { self.state.to_owned() }
    }
}

/// A participant's rows.
pub fn rows(participant: &str, steps: Vec<wire::Step>) -> Vec<StepRowView> {
    let row = |row: wire::Step| StepRowView {
        state: match row.state() {
            wire::StepState::Executed => "executed",
            wire::StepState::Refused => "refused",
            wire::StepState::Compensated => "compensated",
            wire::StepState::Unspecified => "unspecified",
        },
        step: row.step.unwrap_or_default().step,
        participant: participant.to_owned(),
        refusal: refusal_view(row.refusal),
        create_time: time(row.create_time.as_ref()),
        update_time: time(row.update_time.as_ref()),
    };
    steps.into_iter().map(row).collect()
}

/// What the participants' rows tell of what happened.
pub fn events(rows: &[StepRowView]) -> Vec<Event> {
    let mut events = Vec::new();
    for row in rows {
        let because = match &row.refusal {
            Some(refusal) => format!(": {} {}", refusal.reason, refusal.message),
            None => String::new(),
        };
        let mut happened = |time: &Option<String>, event: String| {
            events.extend(time.iter().map(|time| Event {
                time: time.clone(),
                place: row.participant.clone(),
                event: format!("{} {event}", row.step),
            }));
        };
        match row.state {
            // A row that was never anything else is a tombstone.
            "compensated" if row.create_time == row.update_time => {
                happened(&row.create_time, format!("kept out before it was executed{because}"));
            }
            "compensated" => {
                happened(&row.create_time, "executed".to_owned());
                happened(&row.update_time, format!("compensated{because}"));
            }
            state => happened(&row.create_time, format!("{state}{because}")),
        }
    }
    events
}

/// The steps as a table; `rows` are what the participants have.
pub fn steps_table(saga: &SagaView, rows: &[StepRowView], now: DateTime<Utc>) -> String {
    let cells = saga.steps.iter().map(|step| {
        let there = rows.iter().find(|row| row.step == step.name && row.participant == step.participant);
        vec![
            step.name.clone(),
            step.participant.clone(),
            step.kind.to_owned(),
            step.state.to_owned(),
            there.map_or("-", |row| row.state).to_owned(),
            step.attempt_count.to_string(),
            step.next_attempt_time.as_deref().map_or("-".to_owned(), |time| in_from(time, now)),
            step.last_error.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let head = ["step", "participant", "kind", "state", "there", "tries", "next try", "last error"];
    table(&head, &[5], cells.collect())
}

/// How far a time lies ahead.
fn in_from(time: &str, now: DateTime<Utc>) -> String {
    match DateTime::parse_from_rfc3339(time) {
        Ok(time) => match (time.with_timezone(&Utc) - now).num_milliseconds() {
            ahead if ahead > 0 => format!("in {}.{} s", ahead / 1_000, ahead % 1_000 / 100),
            _ => "now".to_owned(),
        },
        Err(_) => time.to_owned(),
    }
}

/// What an operator does to a saga.
#[derive(Debug, Clone, Copy)]
pub enum Steer {
    Pause,
    Resume,
    Cancel,
}

/// Does it, and shows the saga since then.
pub async fn steer(services: &Services, transaction_id: String, steer: Steer, output: Output) -> Result<(), Failure> {
    let mut client = services.transactions().await?;
    let id = transaction_id.clone();
    let steered = match steer {
        Steer::Pause => {
            let request = services.request(wire::PauseSagaRequest { transaction_id: id });
            client.pause_saga(request).await.map(|answer| answer.into_inner().saga)
        }
        Steer::Resume => {
            let request = services.request(wire::ResumeSagaRequest { transaction_id: id });
            client.resume_saga(request).await.map(|answer| answer.into_inner().saga)
        }
        Steer::Cancel => {
            let request = services.request(wire::CancelSagaRequest { transaction_id: id });
            client.cancel_saga(request).await.map(|answer| answer.into_inner().saga)
        }
    };
    let saga = steered.map_err(|status| Failure::of_status(&status, Call::Write))?.unwrap_or_default();
    let view = Steered { transaction_id, saga: saga.into() };
    output.print(&view, |view| {
        let head = fields(&[("transaction", view.transaction_id.clone()), ("saga", view.saga.stands())]);
        format!("{head}\n\n{}", steps_table(&view.saga, &[], Utc::now()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: &str, state: &'static str, created: &str, updated: &str) -> StepRowView {
        StepRowView {
            step: step.to_owned(),
            participant: "inventory".to_owned(),
            state,
            refusal: None,
            create_time: Some(created.to_owned()),
            update_time: Some(updated.to_owned()),
        }
    }

    #[test]
    fn a_tombstone_is_told_from_what_was_undone() {
        let rows = [row("stock", "compensated", "1", "2"), row("ship", "compensated", "3", "3")];
        let told: Vec<String> = events(&rows).into_iter().map(|event| event.event).collect();
        assert_eq!(told, ["stock executed", "stock compensated", "ship kept out before it was executed"]);
    }

    #[test]
    fn the_next_try_is_told_from_now() {
        let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00.000Z").unwrap().with_timezone(&Utc);
        assert_eq!(in_from("2026-01-01T00:00:03.250Z", now), "in 3.2 s");
        assert_eq!(in_from("2025-12-31T23:59:59.000Z", now), "now");
    }
}
