//! Who asks, and for how long an answer is waited for.
use std::time::Duration;

use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};

/// What every call of a run carries.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose requests these are.
    pub client_id: MetadataValue<Ascii>,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

impl Caller {
    /// A request with its deadline and its client.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request.metadata_mut().insert("assent-client-id", self.client_id.clone());
        request
    }
}
