//! ParticipantService: the participant's gRPC face. Messages are checked and converted here, and carried out by the log's
//! writer.
mod service;
mod steps;
mod wire;

pub use service::Participant;

/// Full name of the service, for health.
pub const SERVICE: &str = "assent.transaction.v1.ParticipantService";
