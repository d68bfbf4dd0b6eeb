//! Begins an order as a saga and answers its client.
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use participant::clock::now_unix_ms;
use participant::crash_point;
use protocol::record::Stage;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::drive::{Client, Drive};
use super::follow::{self, unknown};
use crate::coordinator::Coordinator;
use crate::owner::{Answer, Request, events};
use crate::participants::branches::Asked;
use crate::store::{NewRecord, NewSaga};

/// Places an order as a saga, in a task of its own; resolves to the answer. The saga goes on if the caller goes away.
pub async fn place(coordinator: &Arc<Coordinator>, request: Request) -> Answer {
    let transaction_id = Uuid::now_v7();
    let (answer, receiver) = oneshot::channel();
    let tasks = coordinator.tasks.clone();
    let coordinator = coordinator.clone();
    tasks.spawn(async move { Box::pin(begin(coordinator, request, transaction_id, answer)).await });
    receiver
        .await
        .unwrap_or_else(|_| unknown(transaction_id, "the coordinator stopped before it could tell the outcome"))
}

async fn begin(coordinator: Arc<Coordinator>, request: Request, transaction_id: Uuid, answer: oneshot::Sender<Answer>) {
    let create_time = Utc::now();
    let deadline = Instant::now() + request.timeout;
    let (attending, _) =
        coordinator.active.begin(transaction_id, &request.client_id, &request.request_id, coordinator.tasks.token());
    let Some((driven, told)) = coordinator.sagas.enter(transaction_id) else { return };
    let new = Arc::new(new(&coordinator, &request, transaction_id));
    let staged = start(&coordinator, &new, deadline).await;
    let answered = match staged {
        Some(Stage::Staged) => {
            let client =
                Client { answer, create_time, record: new.record.clone(), deadline, _admitted: request.admitted };
            let drive = Drive::of_new(&coordinator, &new, request.timeout.as_millis(), client, attending);
            return drive.run(told, driven).await;
        }
        Some(Stage::HeldByOther | Stage::Terminal { .. }) => follow::outcome(&coordinator, &new.record, deadline).await,
        Some(Stage::BelowWatermark) => unknown(transaction_id, "its deadline lies below the coordinator's watermark"),
        // If it was begun after all, takeover finds it, and gives it up.
        None => unknown(transaction_id, "the coordinator's database can't be reached"),
    };
    let _ = answer.send(answered);
}

/// Begins the saga; none if it is not known whether it is begun.
async fn start(coordinator: &Arc<Coordinator>, new: &Arc<NewSaga>, deadline: Instant) -> Option<Stage> {
    for tries in 0.. {
        tokio::time::sleep(events::pause(tries, Duration::from_millis(50), Duration::from_secs(1))).await;
        crash_point::pass("saga.before_start");
        let started = coordinator.store.start_saga(new.clone()).await;
        crash_point::pass("saga.after_start");
        match started {
            Ok(stage) => return Some(stage),
            Err(doubt) => tracing::debug!(%doubt, "whether a saga is begun is not known; asking again"),
        }
        if Instant::now() > deadline {
            break;
        }
    }
    None
}

fn new(coordinator: &Coordinator, request: &Request, transaction_id: Uuid) -> NewSaga {
    let timeout_ms = i64::try_from(request.timeout.as_millis()).unwrap_or(i64::MAX);
    let steps = request.content.steps(Asked { client_id: &request.client_id, request_id: &request.request_id });
    let record = NewRecord {
        transaction_id,
        client_id: request.client_id.clone(),
        request_id: request.request_id.clone(),
        request_digest: request.content.digest(),
        owner_id: coordinator.owner_id.clone(),
        deadline_unix_ms: now_unix_ms().saturating_add(timeout_ms),
        participants: request.content.joined(),
    };
    NewSaga { record, steps }
}
