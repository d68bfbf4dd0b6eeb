//! Errors as gRPC status, in one place: the code, ErrorInfo with a machine-readable reason, and details.
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::Refusal;

/// The ErrorInfo domain of all reasons.
pub const DOMAIN: &str = "assent";

/// A status with ErrorInfo.
pub fn error(code: Code, reason: &str, message: impl Into<String>, metadata: &BTreeMap<String, String>) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, to_map(metadata));
    Status::with_error_details(code, message, details)
}

/// INVALID_ARGUMENT for one field.
pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Status {
    let (field, description) = (field.into(), description.into());
    let message = format!("{field}: {description}");
    let mut details = ErrorDetails::new();
    details.set_error_info("INVALID_ARGUMENT", DOMAIN, HashMap::from([("field".to_owned(), field.clone())]));
    details.add_bad_request_violation(field, description);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// NOT_FOUND for something with a name.
pub fn not_found(reason: &str, kind: &str, name: &str) -> Status {
    let metadata = BTreeMap::from([(kind.to_owned(), name.to_owned())]);
    error(Code::NotFound, reason, format!("there is no {kind} {name:?}"), &metadata)
}

/// FAILED_PRECONDITION: refused for a reason that repeating won't change. `metadata` is added to the refusal's own.
pub fn refused(refusal: &Refusal, metadata: &BTreeMap<String, String>) -> Status {
    let mut all = refusal.metadata.clone();
    all.extend(metadata.iter().map(|(key, value)| (key.clone(), value.clone())));
    let subject = refusal.metadata.get("sku").or_else(|| refusal.metadata.get("account")).cloned().unwrap_or_default();
    let mut details = ErrorDetails::new();
    details.set_error_info(refusal.reason.clone(), DOMAIN, to_map(&all));
    details.add_precondition_failure_violation(refusal.reason.clone(), subject, refusal.message.clone());
    Status::with_error_details(Code::FailedPrecondition, refusal.message.clone(), details)
}

/// UNAVAILABLE: repeat this very call after a while.
pub fn unavailable(
    reason: &str,
    message: impl Into<String>,
    metadata: &BTreeMap<String, String>,
    retry_after: Duration,
) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, to_map(metadata));
    details.set_retry_info(Some(retry_after));
    Status::with_error_details(Code::Unavailable, message, details)
}

/// A failed read: the database can't be reached (UNAVAILABLE), or something is wrong here (INTERNAL).
pub fn database(failure: &sqlx::Error) -> Status {
    match crate::postgres::classify(failure) {
        crate::postgres::Failure::Refused => {
            tracing::error!(error = %failure, "a query failed");
            error(Code::Internal, "INTERNAL", "an internal query failed; the service's log says why", &BTreeMap::new())
        }
        crate::postgres::Failure::Lost | crate::postgres::Failure::Retry => unavailable(
            "DATABASE_UNAVAILABLE",
            format!("the service's database can't be reached: {failure}"),
            &BTreeMap::new(),
            Duration::from_millis(200),
        ),
    }
}

fn to_map(metadata: &BTreeMap<String, String>) -> HashMap<String, String> {
    metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}
