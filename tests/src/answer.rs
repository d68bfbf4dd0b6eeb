//! What a client was told, sorted by what it may conclude.
use std::collections::HashMap;

use proto::assent::order::v1::{OrderState, PlaceOrderResponse};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

/// An answer to PlaceOrder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The order is placed.
    Confirmed {
        /// Its id.
        order_id: String,
    },
    /// It is refused, and nothing stays.
    Refused {
        /// Why, such as OUT_OF_STOCK.
        reason: String,
        /// The id of the attempt.
        order_id: String,
    },
    /// It was given up, and nothing stays.
    Aborted {
        /// Why, such as TIMEOUT.
        cause: String,
        /// The id of the attempt.
        order_id: String,
    },
    /// Nobody knows; the same call has to be repeated.
    Unknown {
        /// What is in the way.
        cause: String,
    },
    /// Something else, such as a wrong argument.
    Other {
        /// The code.
        code: Code,
        /// The reason in its ErrorInfo; empty without one.
        reason: String,
        /// For a person.
        message: String,
    },
}

impl Answer {
    /// Sorts what came back.
    pub fn of(answer: Result<Response<PlaceOrderResponse>, Status>) -> Self {
        let status = match answer {
            Ok(response) => {
                let order = response.into_inner().order.expect("an order");
                assert_eq!(order.state(), OrderState::Confirmed, "what is answered without an error is confirmed");
                return Answer::Confirmed { order_id: order.order_id };
            }
            Err(status) => status,
        };
        let (reason, metadata) = error_info(&status);
        let detail = |name: &str| metadata.get(name).cloned().unwrap_or_default();
        match status.code() {
            Code::FailedPrecondition => Answer::Refused { reason, order_id: detail("order_id") },
            Code::Aborted => Answer::Aborted { cause: detail("cause"), order_id: detail("order_id") },
            Code::Unavailable if reason.is_empty() => Answer::Unknown { cause: "no connection".to_owned() },
            Code::Unavailable => Answer::Unknown { cause: detail("cause") },
            // The client's own deadline or a connection that broke: it may have run.
            Code::Cancelled | Code::DeadlineExceeded => Answer::Unknown { cause: "no answer".to_owned() },
            // What tonic makes of a server that dies in mid-answer.
            Code::Unknown | Code::Internal if reason.is_empty() => Answer::Unknown { cause: "broken off".to_owned() },
            code => Answer::Other { code, reason, message: status.message().to_owned() },
        }
    }

    /// Whether the client knows how its request ended.
    pub fn is_known(&self) -> bool {
        matches!(self, Answer::Confirmed { .. } | Answer::Refused { .. } | Answer::Aborted { .. })
    }

    /// The id of a placed order.
    pub fn confirmed(&self) -> Option<&str> {
        match self {
            Answer::Confirmed { order_id } => Some(order_id),
            _ => None,
        }
    }

    /// The id of the attempt that it tells the end of.
    pub fn order_id(&self) -> Option<&str> {
        match self {
            Answer::Confirmed { order_id } | Answer::Refused { order_id, .. } | Answer::Aborted { order_id, .. } => {
                Some(order_id).filter(|id| !id.is_empty()).map(String::as_str)
            }
            Answer::Unknown { .. } | Answer::Other { .. } => None,
        }
    }

    /// One word.
    pub fn kind(&self) -> &'static str {
        match self {
            Answer::Confirmed { .. } => "confirmed",
            Answer::Refused { .. } => "refused",
            Answer::Aborted { .. } => "aborted",
            Answer::Unknown { .. } => "unknown",
            Answer::Other { .. } => "other",
        }
    }
}

/// Reason and metadata of a status's ErrorInfo; empty without one. Its domain must be ours.
pub fn error_info(status: &Status) -> (String, HashMap<String, String>) {
    match status.get_details_error_info() {
        Some(info) => {
            assert_eq!(info.domain, "assent");
            (info.reason, info.metadata)
        }
        None => Default::default(),
    }
}
