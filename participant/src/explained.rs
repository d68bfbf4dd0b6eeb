//! Gives what the framework itself answers (a message too large or not readable, an unknown method) an ErrorInfo, so that a
//! client finds one beside every error.
use std::collections::BTreeMap;

use tonic::codegen::http::Response;
use tonic::{Code, Status};

use crate::status;

/// The response with an ErrorInfo, if it is an error without details. Its reason is the code's own name; so is its message,
/// in words, if it had none.
pub fn explain<B>(mut response: Response<B>) -> Response<B> {
    let bare = Status::from_header_map(response.headers())
        .filter(|status| status.code() != Code::Ok && status.details().is_empty());
    if let Some(bare) = bare {
        let message = if bare.message().is_empty() { bare.code().description() } else { bare.message() };
        let explained = status::error(bare.code(), &reason(bare.code()), message, &BTreeMap::new());
        // A text that fits a header already, so this can't fail; if it did, the bare status would stand.
        let _ = explained.add_header(response.headers_mut());
    }
    response
}

/// `OutOfRange` as `OUT_OF_RANGE`.
fn reason(code: Code) -> String {
    let mut reason = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !reason.is_empty() {
            reason.push('_');
        }
        reason.push(letter.to_ascii_uppercase());
    }
    reason
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    fn told(status: Status) -> (Status, String) {
        let status = Status::from_header_map(explain(status.into_http::<()>()).headers()).unwrap();
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        (status, reason)
    }

    #[test]
    fn a_bare_status_gets_its_code_as_the_reason_and_any_other_stays() {
        let (status, reason) = told(Status::out_of_range("message length too large"));
        assert_eq!(
            (status.code(), status.message(), reason.as_str()),
            (Code::OutOfRange, "message length too large", "OUT_OF_RANGE")
        );
        let (status, reason) = told(Status::unimplemented(""));
        assert!(!status.message().is_empty() && reason == "UNIMPLEMENTED", "{status:?}");
        let (status, reason) = told(status::invalid("sku", "is empty"));
        assert_eq!((status.code(), reason.as_str()), (Code::InvalidArgument, "INVALID_ARGUMENT"));
        assert!(
            explain(Status::new(Code::Ok, "").into_http::<()>()).headers().get("grpc-status-details-bin").is_none()
        );
    }
}
