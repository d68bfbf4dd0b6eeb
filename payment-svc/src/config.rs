//! The payment service's command line.
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use participant::ParticipantArgs;
use participant::config::Listen;

use crate::provider::gateway::Settings;
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
    /// Where the money is.
    #[command(flatten)]
    pub provider: ProviderArgs,
    /// Flags of every participant.
    #[command(flatten)]
    pub participant: ParticipantArgs,
    /// Print the places at which the process can be told to die, and exit
    #[arg(long, hide = true, exclusive = true)]
    pub list_crash_points: bool,
}

/// Where the money can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ProviderName {
    /// In the built-in ledger's accounts.
    Ledger,
    /// Behind a card gateway over HTTP.
    Gateway,
}

/// Where the money is.
#[derive(Debug, Clone, clap::Args)]
pub struct ProviderArgs {
    /// Where the money is. A database belongs to one of them: don't change it
    #[arg(long, env = "ASSENT_PROVIDER", value_enum, default_value_t = ProviderName::Ledger)]
    pub provider: ProviderName,
    /// The gateway, as http://host:port
    #[arg(long, env = "ASSENT_GATEWAY_URL", value_name = "URL", default_value = "http://127.0.0.1:7481")]
    pub gateway_url: String,
    /// The key that the gateway knows the shop by
    #[arg(long, env = "ASSENT_GATEWAY_KEY", value_name = "KEY", default_value = "", hide_env_values = true)]
    pub gateway_key: String,
    /// How long one call of the gateway may take, in milliseconds
    #[arg(long, env = "ASSENT_GATEWAY_CALL_MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub gateway_call_ms: u64,
    /// How long the gateway is asked for an authorisation before the vote is unknown, in milliseconds; shorter than an
    /// order's timeout
    #[arg(long, env = "ASSENT_GATEWAY_AUTHORISE_MS", default_value_t = 1_500, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub gateway_authorise_ms: u64,
    /// How many authorisations are asked for side by side
    #[arg(long, env = "ASSENT_GATEWAY_WRITERS", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub gateway_writers: u16,
    /// Where webhooks of the gateway are listened for (POST /webhooks); nowhere if not given
    #[arg(long, env = "ASSENT_GATEWAY_WEBHOOKS", value_name = "ADDRESS", requires = "gateway_webhook_secret")]
    pub gateway_webhooks: Option<SocketAddr>,
    /// The secret that webhooks are signed with
    #[arg(long, env = "ASSENT_GATEWAY_WEBHOOK_SECRET", value_name = "SECRET", hide_env_values = true)]
    pub gateway_webhook_secret: Option<String>,
}

impl From<ProviderArgs> for Settings {
    fn from(args: ProviderArgs) -> Settings {
        Settings {
            url: args.gateway_url,
            key: args.gateway_key,
            call_within: Duration::from_millis(args.gateway_call_ms),
            authorise_within: Duration::from_millis(args.gateway_authorise_ms),
            writers: args.gateway_writers.into(),
            webhooks: args.gateway_webhooks.zip(args.gateway_webhook_secret),
        }
    }
}
