//! The coordinator's command line.
use std::net::SocketAddr;
use std::str::FromStr;

use clap::Parser;
use participant::config::ServiceArgs;

/// Drives orders across inventory, order and payment, so that all three agree or nothing happened.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Args {
    /// The address to serve gRPC on
    #[arg(long, env = "ASSENT_LISTEN", default_value = "127.0.0.1:7400")]
    pub listen: SocketAddr,
    /// Flags of every service.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// This coordinator's name; a new process of the same name supersedes the old one
    #[arg(long, env = "ASSENT_NAME", default_value = "coordinator-1")]
    pub name: String,
    /// The participants: name=address, separated by commas
    #[arg(
        long,
        env = "ASSENT_PARTICIPANTS",
        value_delimiter = ',',
        default_value = "inventory=http://127.0.0.1:7401,order=http://127.0.0.1:7402,payment=http://127.0.0.1:7403"
    )]
    pub participants: Vec<ParticipantAddress>,
    /// Time until an order is given up when its request names none, in milliseconds
    #[arg(long, env = "ASSENT_TRANSACTION_TIMEOUT_MS", default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(100..=60_000))]
    pub transaction_timeout_ms: u32,
    /// Turn orders away when those that wait would take longer than this for a second (at once: twice as long), in milliseconds; 0: never
    #[arg(long, env = "ASSENT_MAX_WAIT_MS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub max_wait_ms: u32,
    /// Turn orders away when so many are not settled yet, whether answered or not: a bound on memory
    #[arg(long, env = "ASSENT_MAX_OPEN_ORDERS", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_open_orders: u32,
    /// How long this coordinator is taken to live after its last sign, in milliseconds
    #[arg(long, env = "ASSENT_LEASE_MS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(100..=60_000))]
    pub lease_ms: u32,
    /// How long the outcome of a request is remembered after its deadline, in milliseconds
    #[arg(long, env = "ASSENT_REQUEST_RETENTION_MS", default_value_t = 86_400_000, value_parser = clap::value_parser!(i64).range(0..))]
    pub request_retention_ms: i64,
    /// Print the places at which the process can be told to die, and exit
    #[arg(long, hide = true, exclusive = true)]
    pub list_crash_points: bool,
}

/// A participant's name and where it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantAddress {
    /// Its name in transactions.
    pub name: String,
    /// Its URI.
    pub uri: String,
}

impl FromStr for ParticipantAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, uri)) if !name.is_empty() && !uri.is_empty() => {
                Ok(ParticipantAddress { name: name.to_owned(), uri: uri.to_owned() })
            }
            _ => Err(format!("{text:?} is not NAME=ADDRESS, such as inventory=http://127.0.0.1:7401")),
        }
    }
}
