//! `assent health`: asks one server how it is, for health checks of containers.
use std::time::Duration;

use serde::Serialize;
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::client::endpoint;
use crate::failure::{Call, Failure};
use crate::output::Output;

/// Ask a server whether it is healthy (exit 0) or not (exit 1)
#[derive(Debug, clap::Args)]
pub struct Health {
    /// The server, such as http://127.0.0.1:7400
    address: String,
    /// One of its services, such as assent.order.v1.OrderService; empty: the server as a whole
    #[arg(long, default_value = "")]
    service: String,
}

#[derive(Serialize)]
struct HealthView {
    address: String,
    status: &'static str,
}

impl Health {
    /// Runs the verb.
    pub async fn run(self, output: Output, timeout_ms: u64) -> Result<(), Failure> {
        let status = check(&self.address, &self.service, Duration::from_millis(timeout_ms)).await?;
        let name = match status {
            ServingStatus::Serving => "serving",
            ServingStatus::NotServing => "not_serving",
            _ => "unknown",
        };
        let view = HealthView { address: self.address.clone(), status: name };
        output.print_line(&view, name)?;
        match status {
            ServingStatus::Serving => Ok(()),
            _ => Err(Failure::new(format!("{} is not serving", self.address)).hint("see its log")),
        }
    }
}

/// Asks the server at `address` about `service`, within `timeout`.
pub async fn check(address: &str, service: &str, timeout: Duration) -> Result<ServingStatus, Failure> {
    let asked = async {
        let channel = endpoint(address)?
            .connect()
            .await
            .map_err(|_| Failure::new(format!("nothing answers at {address}")).hint("is it started?"))?;
        let mut request = Request::new(HealthCheckRequest { service: service.to_owned() });
        request.set_timeout(timeout);
        let answer = HealthClient::new(channel).check(request).await;
        answer.map(|answer| answer.into_inner().status()).map_err(|status| Failure::of_status(&status, Call::Read))
    };
    tokio::time::timeout(timeout, asked)
        .await
        .unwrap_or_else(|_| Err(Failure::new(format!("{address} did not answer in {} ms", timeout.as_millis()))))
}
