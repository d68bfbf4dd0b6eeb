//! Errors as gRPC status, in one place: the code, ErrorInfo with a machine-readable reason, and details.
//!
//! A status travels in HTTP headers, of which clients take 16 KiB by default, and some 8 KiB; beyond that they see a broken
//! connection. So what a status repeats of a request is cut short here.
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::Refusal;

/// The ErrorInfo domain of all reasons.
pub const DOMAIN: &str = "assent";

/// Of a text in a status, at most, in bytes. It travels more than once, and larger than it is: percent-encoded and base64.
const MAX_TEXT: usize = 600;
/// Of all metadata in a status together, at most, in bytes.
const MAX_METADATA: usize = 1_400;

/// A status with ErrorInfo.
pub fn error(code: Code, reason: &str, message: impl Into<String>, metadata: &BTreeMap<String, String>) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, to_map(metadata));
    Status::with_error_details(code, clip(message.into()), details)
}

/// INVALID_ARGUMENT for one field.
pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Status {
    let (field, description) = (clip(field.into()), clip(description.into()));
    let message = clip(format!("{field}: {description}"));
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
    let (reason, message) = (clip(refusal.reason.clone()), clip(refusal.message.clone()));
    details.set_error_info(reason.clone(), DOMAIN, to_map(&all));
    details.add_precondition_failure_violation(reason, clip(subject), message.clone());
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// UNAVAILABLE: repeat this very call after a while.
pub fn unavailable(
    reason: &str,
    message: impl Into<String>,
    metadata: &BTreeMap<String, String>,
    retry_after: Duration,
) -> Status {
    later(Code::Unavailable, reason, message, metadata, retry_after)
}

/// RESOURCE_EXHAUSTED: nothing was done; repeat this very call after a while.
pub fn exhausted(
    reason: &str,
    message: impl Into<String>,
    metadata: &BTreeMap<String, String>,
    retry_after: Duration,
) -> Status {
    later(Code::ResourceExhausted, reason, message, metadata, retry_after)
}

fn later(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: &BTreeMap<String, String>,
    retry_after: Duration,
) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, to_map(metadata));
    details.set_retry_info(Some(retry_after));
    Status::with_error_details(code, clip(message.into()), details)
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
    let mut bytes = 0;
    let clipped = metadata.iter().map(|(key, value)| (clip(key.clone()), clip(value.clone())));
    let fitting = clipped.take_while(|(key, value)| {
        bytes += key.len() + value.len();
        bytes <= MAX_METADATA
    });
    fitting.collect()
}

/// A text that fits, marked where it was cut.
fn clip(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of headers that a status needs.
    fn header_bytes(status: &Status) -> usize {
        let mut headers = tonic::codegen::http::HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
    }

    #[test]
    fn a_status_fits_headers_whatever_was_asked() {
        for text in ["x", "ü", "\u{1F680}", "\n"] {
            let long = text.repeat(50_000);
            let metadata: BTreeMap<_, _> = (0..50).map(|key| (format!("{key}"), long.clone())).collect();
            let refusal = Refusal { reason: long.clone(), message: long.clone(), metadata: metadata.clone() };
            let statuses = [
                invalid(long.clone(), long.clone()),
                not_found("NOTHING", "thing", &long),
                refused(&refusal, &metadata),
                unavailable("LATER", long.clone(), &metadata, Duration::ZERO),
            ];
            for status in statuses {
                assert!(header_bytes(&status) <= 8 * 1024, "{} bytes of {text:?}", header_bytes(&status));
                assert!(status.get_details_error_info().is_some());
            }
        }
        assert_eq!(invalid("sku", "is empty").message(), "sku: is empty");
    }
}
