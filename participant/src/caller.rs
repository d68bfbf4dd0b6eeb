//! Who calls, and the caller's name for a request.
use proto::limits;
use tonic::{Request, Status};

use crate::status::invalid;

/// Who calls: metadata `assent-client-id`. Request ids are scoped by it.
pub fn client_id<T>(request: &Request<T>) -> Result<String, Status> {
    match request.metadata().get("assent-client-id") {
        None => Ok("default".to_owned()),
        Some(value) => match value.to_str() {
            // Those are the coordinator's own.
            Ok(text) if text.starts_with("assent:") => {
                Err(invalid("assent-client-id", "names beginning with \"assent:\" are the system's own"))
            }
            // A tab is no printable character, but what the library takes for text may have one.
            Ok(text) if (1..=128).contains(&text.len()) && !text.contains('\t') => Ok(text.to_owned()),
            _ => Err(invalid("assent-client-id", "this metadata must be 1 to 128 printable ASCII characters")),
        },
    }
}

/// Checks a client's name for a request to one of the services; empty is allowed where the request can't be repeated.
pub fn check_request_id(request_id: &str) -> Result<(), Status> {
    match request_id.is_empty() {
        true => Ok(()),
        false => limits::check_request_id(request_id).map_err(|wrong| invalid("request_id", wrong)),
    }
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    #[test]
    fn a_client_is_named_in_printable_ascii() {
        let named = |name: &[u8]| {
            let mut request = Request::new(());
            request.metadata_mut().insert("assent-client-id", MetadataValue::try_from(name).unwrap());
            client_id(&request).ok()
        };
        assert_eq!(client_id(&Request::new(())).unwrap(), "default");
        assert_eq!(named(b"shop 1/eu"), Some("shop 1/eu".to_owned()));
        for bad in [b"".as_slice(), b"assent:saga", b"a\tb", "ü".as_bytes(), &[b'x'; 129]] {
            assert_eq!(named(bad), None, "{bad:?}");
        }
    }
}
