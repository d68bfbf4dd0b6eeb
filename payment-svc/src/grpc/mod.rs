//! The payment service's gRPC face.
mod branch;
mod service;
mod wire;

use participant::Context;
use proto::assent::payment::v1::payment_service_server::PaymentServiceServer;
use tonic::service::Routes;

use crate::provider::Provider;
use crate::resource::Payments;

pub use branch::decode as decode_branch;
pub use service::Accounts;

/// Full names of the services, for health.
pub const SERVICES: &[&str] = &["assent.payment.v1.PaymentService"];

/// Adds the services.
pub fn add_services<P: Provider>(context: &Context<Payments<P>>, routes: Routes) -> Routes {
    routes.add_service(PaymentServiceServer::new(Accounts::new(context.pool.clone())))
}
