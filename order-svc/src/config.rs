//! The order service's command line.
use clap::Parser;
use participant::ParticipantArgs;
use participant::config::Listen;

/// Keeps orders, as a participant of the transactions that place them.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Args {
    /// The address to serve gRPC on
    #[arg(long, env = "ASSENT_LISTEN", default_value = "127.0.0.1:7402")]
    pub listen: Listen,
    /// Flags of every participant.
    #[command(flatten)]
    pub participant: ParticipantArgs,
    /// Print the places at which the process can be told to die, and exit
    #[arg(long, hide = true, exclusive = true)]
    pub list_crash_points: bool,
}
