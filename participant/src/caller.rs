//! Who calls, and the caller's name for a request.
use tonic::{Request, Status};

use crate::status::invalid;

/// Who calls: metadata `assent-client-id`. Request ids are scoped by it.
pub fn client_id<T>(request: &Request<T>) -> Result<String, Status> {
    match request.metadata().get("assent-client-id") {
        None => Ok("default".to_owned()),
        Some(value) => match value.to_str() {
            Ok(text) if (1..=128).contains(&text.len()) => Ok(text.to_owned()),
            _ => Err(invalid("assent-client-id", "this metadata must be 1 to 128 printable ASCII characters")),
        },
    }
}

/// Checks a client's name for a request to one of the services; empty is allowed where the request can't be repeated.
pub fn check_request_id(request_id: &str) -> Result<(), Status> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    match request_id.len() <= 256 && request_id.bytes().all(allowed) {
        true => Ok(()),
        false => Err(invalid("request_id", "must be up to 256 letters, digits or any of - _ . : /")),
    }
}
