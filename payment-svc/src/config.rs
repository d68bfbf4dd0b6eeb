//! The payment service's command line.
use clap::Parser;
use participant::ParticipantArgs;
use participant::config::Listen;

use crate::resource::VALIDITY_MS;

/// Keeps accounts and their ledger, and authorises and captures as a participant of orders.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Args {
    /// The address to serve gRPC on
    #[arg(long, env = "ASSENT_LISTEN", default_value = "127.0.0.1:7403")]
    pub listen: Listen,
    /// How long an authorisation stands if it is not captured, in milliseconds; by default 7 days, as card schemes have it
    #[arg(long, env = "ASSENT_AUTHORISATION_VALIDITY_MS", default_value_t = VALIDITY_MS, value_parser = clap::value_parser!(i64).range(1_000..=31_536_000_000))]
    pub authorisation_validity_ms: i64,
    /// Flags of every participant.
    #[command(flatten)]
    pub participant: ParticipantArgs,
    /// Print the places at which the process can be told to die, and exit
    #[arg(long, hide = true, exclusive = true)]
    pub list_crash_points: bool,
}
