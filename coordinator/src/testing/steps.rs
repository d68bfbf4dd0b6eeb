//! The steps of sagas at a participant in memory, by the rules of [`protocol::step`].
use std::collections::BTreeMap;

use proto::assent::transaction::v1 as wire;
use protocol::step::{self, Compensate, Execute, StepResult, StepRow};

/// Rows by transaction and step, and what ever took effect.
#[derive(Default)]
pub struct Steps {
    rows: BTreeMap<(String, String), StepRow>,
    effects: Vec<String>,
}

impl Steps {
    /// The state of each of a saga's steps that have a row, by name.
    pub fn of(&self, transaction_id: &str) -> BTreeMap<String, StepRow> {
        let of = self.rows.iter().filter(|((id, _), _)| id == transaction_id);
        of.map(|((_, name), row)| (name.clone(), *row)).collect()
    }

    /// Effects and their undoing, in their order, as `name` and `-name`.
    pub fn effects(&self) -> Vec<String> {
        self.effects.clone()
    }

    pub fn execute(&mut self, asked: wire::ExecuteStep, refuses: bool) -> wire::ExecuteResult {
        let key = key(asked.step);
        let result = match step::execute(self.rows.get(&key).copied(), false) {
            Execute::Answer(result) => result,
            Execute::Try if refuses && asked.must_succeed => StepResult::Unknown,
            Execute::Try if refuses => {
                self.rows.insert(key, StepRow::Refused);
                StepResult::Refused
            }
            Execute::Try => {
                self.effects.push(key.1.clone());
                self.rows.insert(key, StepRow::Executed);
                StepResult::Executed
            }
        };
        let outcome = match result {
            StepResult::Executed => wire::StepOutcome::Executed,
            StepResult::Refused => wire::StepOutcome::Refused,
            StepResult::Compensated => wire::StepOutcome::Compensated,
            StepResult::Forgotten => wire::StepOutcome::Forgotten,
            StepResult::Unknown => wire::StepOutcome::Unknown,
        };
        let refusal = (result == StepResult::Refused).then(|| wire::Refusal {
            reason: "OUT_OF_STOCK".to_owned(),
            message: "none left".to_owned(),
            ..wire::Refusal::default()
        });
        wire::ExecuteResult { outcome: outcome.into(), refusal }
    }

    pub fn compensate(&mut self, asked: wire::CompensateStep) -> i32 {
        let key = key(asked.step);
        match step::compensate(self.rows.get(&key).copied(), false) {
            Compensate::Undo => {
                self.effects.push(format!("-{}", key.1));
                self.rows.insert(key, StepRow::Compensated);
            }
            Compensate::InsertTombstone => {
                self.rows.insert(key, StepRow::Compensated);
            }
            Compensate::Already | Compensate::Ignore => (),
        }
        wire::Acknowledgement::Done.into()
    }
}

fn key(step: Option<wire::StepRef>) -> (String, String) {
    let step = step.unwrap();
    (step.transaction.unwrap().transaction_id, step.step)
}
