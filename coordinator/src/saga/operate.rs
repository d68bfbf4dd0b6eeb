//! What operators do to sagas: pause, resume, cancel. Each is a takeover, so it works at any coordinator, whoever drives
//! the saga, and whoever drove it stops.
use std::sync::Arc;

use participant::{Refusal, crash_point};
use protocol::saga::{SagaState, Write};
use uuid::Uuid;

use super::takeover::drive_of;
use crate::coordinator::Coordinator;
use crate::store::{ClientAnswer, SagaRow, SagaWrite, TakeOver};

/// Why an operator's wish can't be met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Steering {
    /// There is no such saga.
    #[error("there is no such saga")]
    NotFound,
    /// It has ended.
    #[error("the saga has ended")]
    Ended,
    /// There is no way back any more.
    #[error("the saga is past its point of no return: its pivot may have taken effect, so it only goes forward")]
    PastThePivot,
    /// The coordinator's database is in the way, or somebody else was faster.
    #[error("not done: {0}; try again")]
    Doubt(String),
}

/// Has a saga wait.
pub async fn pause(coordinator: &Arc<Coordinator>, transaction_id: Uuid) -> Result<SagaRow, Steering> {
    own(coordinator, transaction_id, true).await.map(|(row, _)| row)
}

/// Has a saga go on.
pub async fn resume(coordinator: &Arc<Coordinator>, transaction_id: Uuid) -> Result<SagaRow, Steering> {
    let (row, epoch) = own(coordinator, transaction_id, false).await?;
    go_on(coordinator, transaction_id, epoch).await;
    Ok(row)
}

/// Gives a saga up, unless it is too late for that; it goes on either way.
pub async fn cancel(coordinator: &Arc<Coordinator>, transaction_id: Uuid) -> Result<SagaRow, Steering> {
    let (mut row, epoch) = own(coordinator, transaction_id, false).await?;
    let turned = match row.saga.state {
        SagaState::Backward => Ok(row.saga.clone()),
        _ => {
            let write = SagaWrite {
                transaction_id,
                epoch,
                write: Write::Turn { refused: None },
                client_answer: ClientAnswer::Nothing,
                refusal: Some(Refusal::new("CANCELLED", "an operator has cancelled it")),
            };
            crash_point::pass("saga.before_turn");
            let turned = coordinator.store.write_saga(write).await;
            crash_point::pass("saga.after_turn");
            turned.map_err(|doubt| Steering::Doubt(doubt.to_string())).and_then(|turned| {
                turned.map_err(|denied| match denied {
                    protocol::saga::Denied::PastThePivot => Steering::PastThePivot,
                    _ => Steering::Doubt("somebody else has taken the saga over".to_owned()),
                })
            })
        }
    };
    go_on(coordinator, transaction_id, epoch).await;
    row.saga = turned?;
    Ok(row)
}

/// Takes a saga over, whoever drives it; the row since then, and its epoch.
async fn own(coordinator: &Arc<Coordinator>, transaction_id: Uuid, paused: bool) -> Result<(SagaRow, u64), Steering> {
    let store = &coordinator.store;
    let doubt = |error: sqlx::Error| Steering::Doubt(error.to_string());
    let row = store.saga(transaction_id).await.map_err(doubt)?.ok_or(Steering::NotFound)?;
    if row.saga.state.is_ended() {
        return Err(Steering::Ended);
    }
    let owner_id = coordinator.owner_id.clone();
    let take_over = TakeOver { transaction_id, seen_epoch: row.epoch, owner_id, paused };
    let taken = store.take_over_saga(take_over).await.map_err(|doubt| Steering::Doubt(doubt.to_string()))?;
    let epoch = taken.ok_or_else(|| Steering::Doubt("somebody else has taken the saga over".to_owned()))?;
    // If this process drives it: its task would find out only at its next write.
    coordinator.sagas.dismiss(transaction_id).await;
    let row = store.saga(transaction_id).await.map_err(doubt)?.ok_or(Steering::NotFound)?;
    Ok((row, epoch))
}

async fn go_on(coordinator: &Arc<Coordinator>, transaction_id: Uuid, epoch: u64) {
    // If somebody else is faster, or the database is away, takeover finds it.
    let Some((driven, told)) = coordinator.sagas.enter(transaction_id) else { return };
    if let Ok(Some(drive)) = drive_of(coordinator, transaction_id, epoch).await {
        coordinator.tasks.spawn(drive.run(told, driven));
    }
}
