//! The inventory service's command line.
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use participant::ParticipantArgs;
use participant::config::Listen;

use crate::store::reservations::Defaults;
use crate::store::strategy::{Locks, Name};
use crate::store::waitlist;
use crate::{feed, reads};

/// Keeps stock, and holds and sells it as a participant of orders.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Args {
    /// The address to serve gRPC on
    #[arg(long, env = "ASSENT_LISTEN", default_value = "127.0.0.1:7401")]
    pub listen: Listen,
    /// How stock is held for orders that want the same
    #[arg(long, env = "ASSENT_STRATEGY", value_enum, default_value_t = Name::Escrow)]
    pub strategy: Name,
    /// How many orders are held side by side, each over a connection of its own, by every strategy but escrow
    #[arg(long, env = "ASSENT_WRITERS", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub writers: u16,
    /// Where locks are kept.
    #[command(flatten)]
    pub locks: LockArgs,
    /// How carts reserve.
    #[command(flatten)]
    pub reservations: ReservationArgs,
    /// How customers wait for stock.
    #[command(flatten)]
    pub waitlist: WaitlistArgs,
    /// How readings are kept.
    #[command(flatten)]
    pub reads: ReadArgs,
    /// Where movements are passed on to.
    #[command(flatten)]
    pub feed: FeedArgs,
    /// Flags of every participant.
    #[command(flatten)]
    pub participant: ParticipantArgs,
    /// Print the places at which the process can be told to die, and exit
    #[arg(long, hide = true, exclusive = true)]
    pub list_crash_points: bool,
}

/// Where locks are kept, for the strategies that lock in another server.
#[derive(Debug, Clone, clap::Args)]
pub struct LockArgs {
    /// The Redis of redis-lock
    #[arg(long, env = "ASSENT_REDIS", value_name = "URL", default_value = "redis://127.0.0.1:6379")]
    pub redis: String,
    /// The ZooKeeper of zookeeper-lock, as host:port,host:port
    #[arg(long, env = "ASSENT_ZOOKEEPER", value_name = "ADDRESSES", default_value = "127.0.0.1:2181")]
    pub zookeeper: String,
    /// How long a lock is kept for a process of which nothing is heard, in milliseconds
    #[arg(long, env = "ASSENT_LOCK_TTL_MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub lock_ttl_ms: u64,
    /// How long a lock is waited for, in milliseconds: shorter than an order's timeout
    #[arg(long, env = "ASSENT_LOCK_WAIT_MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub lock_wait_ms: u64,
}

impl From<LockArgs> for Locks {
    fn from(args: LockArgs) -> Locks {
        Locks {
            redis: args.redis,
            zookeeper: args.zookeeper,
            ttl: Duration::from_millis(args.lock_ttl_ms),
            wait: Duration::from_millis(args.lock_wait_ms),
        }
    }
}

/// How carts reserve a SKU that has no policy of its own.
#[derive(Debug, Clone, clap::Args)]
pub struct ReservationArgs {
    /// For how long a SKU is reserved, if neither the request nor its policy says, in milliseconds
    #[arg(long, env = "ASSENT_RESERVATION_TTL_MS", default_value_t = 600_000, value_parser = clap::value_parser!(i64).range(1_000..=86_400_000))]
    pub reservation_ttl_ms: i64,
    /// How many of a SKU a customer may have reserved, if its policy does not say
    #[arg(long, env = "ASSENT_RESERVATION_LIMIT", default_value_t = 1_000_000_000, value_parser = clap::value_parser!(i64).range(1..=1_000_000_000))]
    pub reservation_limit: i64,
}

impl From<ReservationArgs> for Defaults {
    fn from(args: ReservationArgs) -> Defaults {
        Defaults { ttl_ms: args.reservation_ttl_ms, max_per_customer: args.reservation_limit }
    }
}

/// How customers wait for a SKU that has no policy of its own.
#[derive(Debug, Clone, clap::Args)]
pub struct WaitlistArgs {
    /// How long what has become free is offered to somebody who waits for it, if its policy does not say, in milliseconds
    #[arg(long, env = "ASSENT_OFFER_TTL_MS", default_value_t = 3_600_000, value_parser = clap::value_parser!(i64).range(1_000..=86_400_000))]
    pub offer_ttl_ms: i64,
    /// How many SKUs, or times, a customer may wait for at once
    #[arg(long, env = "ASSENT_WAITLIST_LIMIT", default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    pub waitlist_limit: i64,
}

impl WaitlistArgs {
    /// The defaults; a customer may wait for no more than may be reserved.
    pub fn defaults(&self, reservations: &ReservationArgs) -> waitlist::Defaults {
        waitlist::Defaults {
            offer_ttl_ms: self.offer_ttl_ms,
            max_waiting: self.waitlist_limit,
            max_per_customer: reservations.reservation_limit,
        }
    }
}

/// How readings of stock are kept.
#[derive(Debug, Clone, clap::Args)]
pub struct ReadArgs {
    /// For how long a reading of stock is given out again, in milliseconds; what is written here is seen at once all the same. 0:
    /// every reading is new
    #[arg(long, env = "ASSENT_READ_MAX_AGE_MS", default_value_t = 250, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub read_max_age_ms: u64,
    /// A Redis in which readings are kept for all processes of this inventory. None: each keeps its own
    #[arg(long, env = "ASSENT_REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub redis_url: Option<String>,
}

impl ReadArgs {
    /// The settings.
    pub fn settings(self) -> anyhow::Result<reads::Settings> {
        let url = self.redis_url.filter(|url| !url.is_empty());
        let redis = url.map(redis::Client::open).transpose().context("--redis-url")?;
        Ok(reads::Settings { max_age: Duration::from_millis(self.read_max_age_ms), redis })
    }
}

/// Where movements are passed on to.
#[derive(Debug, Clone, clap::Args)]
pub struct FeedArgs {
    /// The NATS servers that every movement is passed on to, as nats://host:port, separated by commas; JetStream must be enabled
    /// there. Without them nothing is passed on
    #[arg(long, env = "ASSENT_NATS_URL", value_name = "URL", value_delimiter = ',', hide_env_values = true)]
    pub nats_url: Vec<String>,
    /// The stream of JetStream; it is made if there is none
    #[arg(long, env = "ASSENT_NATS_STREAM", value_name = "NAME", default_value = "ASSENT_STOCK", value_parser = stream_name)]
    pub nats_stream: String,
    /// What the messages' subjects begin with; the SKU follows after a dot
    #[arg(long, env = "ASSENT_NATS_SUBJECT", value_name = "PREFIX", default_value = "assent.stock", value_parser = subject)]
    pub nats_subject: String,
}

impl FeedArgs {
    /// The settings, if it leads anywhere.
    pub fn settings(self) -> Option<feed::Settings> {
        let urls: Vec<String> = self.nats_url.into_iter().filter(|url| !url.is_empty()).collect();
        let settings = feed::Settings { urls, stream: self.nats_stream, subject: self.nats_subject };
        (!settings.urls.is_empty()).then_some(settings)
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn stream_name(text: &str) -> Result<String, String> {
    match is_token(text) && text.len() <= 64 {
        true => Ok(text.to_owned()),
        false => Err("must be 1 to 64 letters, digits or any of - _".to_owned()),
    }
}

fn subject(text: &str) -> Result<String, String> {
    match text.split('.').all(is_token) && text.len() <= 128 {
        true => Ok(text.to_owned()),
        false => Err("must be words of letters, digits or any of - _, with dots between them".to_owned()),
    }
}
