//! The outcome of a request that somebody else's attempt holds, or this one's that somebody else drives by now.
use std::sync::Arc;
use std::time::Duration;

use participant::clock::now_unix_ms;
use participant::{Refusal, TransactionRef};
use protocol::owner::Holder;
use tokio::time::Instant;
use uuid::Uuid;

use super::adopt;
use crate::coordinator::Coordinator;
use crate::owner::{Answer, events};
use crate::recover;
use crate::store::NewRecord;

/// How long after the own deadline it is still waited for.
const GRACE: Duration = Duration::from_millis(1500);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Waits for the holder's outcome, helping it on once its deadline has passed; gives up some time after `deadline`.
pub async fn outcome(coordinator: &Arc<Coordinator>, own: &NewRecord, deadline: Instant) -> Answer {
    let give_up = deadline + GRACE;
    for looks in 0.. {
        tokio::time::sleep(events::pause(looks, FIRST_PAUSE, LONGEST_PAUSE)).await;
        match coordinator.store.holder(&own.client_id, &own.request_id).await {
            Ok(holder) => match events::holder(holder.as_ref(), &own.request_digest) {
                Holder::OtherDigest => {
                    return Answer::RequestReused { order_id: holder.map(|holder| holder.transaction_id) };
                }
                Holder::Terminal(decision) => return events::of_holder(decision, holder, own.transaction_id),
                Holder::Gone => return unknown(own.transaction_id, "the request's holder is gone"),
                Holder::Staging { .. } => {
                    let Some(holder) = holder else { continue };
                    let (transaction_id, deadline_unix_ms) = (holder.transaction_id, holder.deadline_unix_ms);
                    if holder.is_saga {
                        adopt(coordinator, transaction_id).await;
                    } else if deadline_unix_ms < now_unix_ms() {
                        let transaction = TransactionRef { transaction_id, deadline_unix_ms };
                        recover::recover(coordinator, transaction, holder.participants).await;
                    }
                }
            },
            Err(error) => tracing::debug!(%error, "the holder of a request can't be read; looking again"),
        }
        if Instant::now() > give_up {
            break;
        }
    }
    unknown(own.transaction_id, "it is still under way")
}

/// The outcome is in doubt.
pub fn unknown(order_id: Uuid, message: impl Into<String>) -> Answer {
    Answer::Unknown { order_id, cause: Refusal::new("UNDER_WAY", message) }
}
