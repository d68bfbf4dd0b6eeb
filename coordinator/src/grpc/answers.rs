//! What a client is told, as gRPC status.
use std::collections::BTreeMap;
use std::time::Duration;

use participant::{Refusal, status};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::admission::Overloaded;
use crate::domain::Invalid;
use crate::owner::Answer;

impl From<Invalid> for Status {
    fn from(invalid: Invalid) -> Self {
        status::invalid(invalid.field, invalid.description)
    }
}

/// The status of an answer other than accepted.
pub fn not_accepted(answer: Answer, request_id: &str) -> Status {
    not_accepted_of(answer, None, request_id)
}

/// The same of a transaction that concerns this order; none: that it was to place.
pub fn not_accepted_of(answer: Answer, order_id: Option<Uuid>, request_id: &str) -> Status {
    let ids = |transaction_id, request_id| ids_of(order_id.or(Some(transaction_id)), Some(transaction_id), request_id);
    let why = |transaction_id, request_id, cause: &Refusal| {
        let mut metadata = ids(transaction_id, request_id);
        metadata.insert("cause".to_owned(), cause.reason.clone());
        metadata.extend(cause.metadata.iter().map(|(key, value)| (key.clone(), value.clone())));
        metadata
    };
    match answer {
        Answer::Rejected { order_id, refusal } => status::refused(&refusal, &ids(order_id, request_id)),
        Answer::Aborted { order_id, cause } if cause.reason == "INVALID_ARGUMENT" => status::error(
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            cause.message.clone(),
            &why(order_id, request_id, &cause),
        ),
        Answer::Aborted { order_id, cause } => status::error(
            Code::Aborted,
            "TRANSACTION_ABORTED",
            format!("given up, and nothing stays: {}; try again under a new request id", cause.message),
            &why(order_id, request_id, &cause),
        ),
        Answer::RequestReused { order_id } => {
            let mut metadata = BTreeMap::from([("request_id".to_owned(), request_id.to_owned())]);
            if let Some(order_id) = order_id {
                metadata.insert("order_id".to_owned(), order_id.to_string());
            }
            let message = format!("the request id {request_id:?} was used for another request; use a new one");
            status::error(Code::AlreadyExists, "REQUEST_ID_REUSED", message, &metadata)
        }
        Answer::Unknown { order_id, cause } => status::unavailable(
            "OUTCOME_UNKNOWN",
            format!("whether it took effect is not known yet: {}; repeat this very call", cause.message),
            &why(order_id, request_id, &cause),
            Duration::from_millis(500),
        ),
        // Asked only about what is not accepted; if it were, the order is found by repeating the call.
        Answer::Accepted { order_id, .. } => status::unavailable(
            "OUTCOME_UNKNOWN",
            "it took effect; repeat this very call",
            &ids(order_id, request_id),
            Duration::ZERO,
        ),
    }
}

/// The status of a call for which nothing was done, because there is too much to do.
pub fn turned_away(overloaded: &Overloaded, request_id: &str) -> Status {
    let message = format!(
        "overloaded: {} orders are ahead; nothing was done for this call, repeat it in {} ms",
        overloaded.ahead,
        overloaded.retry_after.as_millis()
    );
    let metadata = BTreeMap::from([("request_id".to_owned(), request_id.to_owned())]);
    status::exhausted("OVERLOADED", message, &metadata, overloaded.retry_after)
}

/// What names a request and what has come of it.
pub fn ids_of(order_id: Option<Uuid>, transaction_id: Option<Uuid>, request_id: &str) -> BTreeMap<String, String> {
    let ids = [("order_id", order_id), ("transaction_id", transaction_id)];
    let ids = ids.into_iter().filter_map(|(name, id)| Some((name.to_owned(), id?.to_string())));
    ids.chain([("request_id".to_owned(), request_id.to_owned())]).collect()
}
