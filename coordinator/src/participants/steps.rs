//! The lanes of sagas' steps to one participant: one for EXECUTEs, one for COMPENSATEs.
use participant::{Refusal, crash_point};
use proto::assent::transaction::v1 as wire;
use protocol::step::StepResult;
use tonic::Status;

use super::calls::timed;
use super::lane::{Call, Lane};
use super::{Client, refusal_of};

/// What became of a step, with the reason where it is none or doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stepped {
    /// The result.
    pub result: StepResult,
    /// Why it is refused, or not known.
    pub refusal: Option<Refusal>,
}

struct Execute;

impl Call for Execute {
    type Ask = wire::ExecuteStep;
    type Reply = Stepped;

    async fn call(mut client: Client, steps: Vec<wire::ExecuteStep>) -> Result<Vec<Stepped>, Status> {
        crash_point::pass("execute.before_send");
        let response = client.execute(timed(wire::ExecuteRequest { steps })).await;
        crash_point::pass("execute.after_send");
        let stepped = |result: wire::ExecuteResult| Stepped {
            result: match result.outcome() {
                wire::StepOutcome::Executed => StepResult::Executed,
                wire::StepOutcome::Refused => StepResult::Refused,
                wire::StepOutcome::Compensated => StepResult::Compensated,
                wire::StepOutcome::Forgotten => StepResult::Forgotten,
                wire::StepOutcome::Unknown | wire::StepOutcome::Unspecified => StepResult::Unknown,
            },
            refusal: result.refusal.map(refusal_of),
        };
        Ok(response?.into_inner().results.into_iter().map(stepped).collect())
    }

    fn doubt(refusal: Refusal) -> Stepped {
        Stepped { result: StepResult::Unknown, refusal: Some(refusal) }
    }
}

struct Compensate;

impl Call for Compensate {
    type Ask = wire::CompensateStep;
    type Reply = Result<(), Refusal>;

    async fn call(mut client: Client, steps: Vec<wire::CompensateStep>) -> Result<Vec<Self::Reply>, Status> {
        crash_point::pass("compensate.before_send");
        let response = client.compensate(timed(wire::CompensateRequest { steps })).await;
        crash_point::pass("compensate.after_send");
        let read = |acknowledgement: i32| match wire::Acknowledgement::try_from(acknowledgement) {
            Ok(wire::Acknowledgement::Done | wire::Acknowledgement::Ignored) => Ok(()),
            _ => Err(Refusal::new("PARTICIPANT_UNAVAILABLE", "the participant could not undo it yet")),
        };
        Ok(response?.into_inner().acknowledgements.into_iter().map(read).collect())
    }

    fn doubt(refusal: Refusal) -> Self::Reply {
        Err(refusal)
    }
}

/// A handle on both lanes.
#[derive(Clone)]
pub struct StepLanes {
    executes: Lane<Execute>,
    compensates: Lane<Compensate>,
}

impl StepLanes {
    /// Starts the lanes' tasks.
    pub fn start(participant: &str, client: &Client) -> Self {
        StepLanes { executes: Lane::start(participant, client), compensates: Lane::start(participant, client) }
    }

    /// Has a step carried out.
    pub async fn execute(&self, step: wire::ExecuteStep) -> Stepped {
        self.executes.ask(step).await
    }

    /// Has a step undone; the reason where that was not acknowledged.
    pub async fn compensate(&self, step: wire::CompensateStep) -> Result<(), Refusal> {
        self.compensates.ask(step).await
    }
}
