//! Facts about sagas.
use proto::assent::transaction::v1 as wire;
use protocol::invariants::{SagaFact, StepFact, TransactionId};
use protocol::saga::SagaState;
use protocol::step::StepRow;

use super::facts::{TRANSACTIONS_PER_PAGE, is_asked, read, transaction_id};
use crate::client::{Service, Services};
use crate::failure::Failure;

/// The coordinator's row of a saga.
pub fn fact(transaction: TransactionId, saga: wire::Saga) -> Result<SagaFact, Failure> {
    let state = match saga.state() {
        wire::SagaState::Forward => SagaState::Forward,
        wire::SagaState::Backward => SagaState::Backward,
        wire::SagaState::Done => SagaState::Done,
        wire::SagaState::Compensated => SagaState::Compensated,
        wire::SagaState::Unspecified => return Err(Failure::new("the coordinator answered a saga without a state")),
    };
    let steps = saga.steps.into_iter().filter(|step| is_asked(&step.participant));
    let steps = steps.map(|step| (step.name, step.participant)).collect();
    Ok(SagaFact { transaction, state, paused: saga.paused, steps })
}

/// A participant's rows of steps.
pub async fn steps_of(services: &Services, participant: Service) -> Result<Vec<StepFact>, Failure> {
    let mut client = services.participant(participant).await?;
    let (mut steps, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = services.request(wire::ListStepsRequest {
            transaction_id: String::new(),
            page_size: TRANSACTIONS_PER_PAGE,
            page_token,
        });
        let page = match client.list_steps(request).await {
            // One that takes no part in sagas has no steps.
            Err(status) if status.code() == tonic::Code::Unimplemented => return Ok(steps),
            answer => read(answer, &format!("the steps at {}", participant.name()))?,
        };
        for step in page.steps {
            steps.extend(step_fact(participant.name(), step)?);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(steps);
        }
    }
}

/// A participant's row of a step.
pub fn step_fact(participant: &str, step: wire::Step) -> Result<Option<StepFact>, Failure> {
    let state = match step.state() {
        wire::StepState::Executed => StepRow::Executed,
        wire::StepState::Refused => StepRow::Refused,
        wire::StepState::Compensated => StepRow::Compensated,
        wire::StepState::Unspecified => return Ok(None),
    };
    let nameless = || Failure::new(format!("{participant} answered a row of a step without its name"));
    let key = step.step.ok_or_else(nameless)?;
    let transaction = key.transaction.ok_or_else(nameless)?;
    Ok(Some(StepFact {
        transaction: transaction_id(&transaction.transaction_id)?,
        participant: participant.to_owned(),
        step: key.step,
        state,
        deadline_unix_ms: transaction.deadline_unix_ms,
    }))
}
