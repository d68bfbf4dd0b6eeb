//! The flags that services share, as groups for their own command lines.
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use crate::names;

/// Flags of every service.
#[derive(Debug, Clone, Args)]
pub struct ServiceArgs {
    /// Its Postgres, as postgres://user:password@host:port/database
    #[arg(long, env = "ASSENT_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// How long to wait for its Postgres at the start, in milliseconds
    #[arg(long, env = "ASSENT_DATABASE_WAIT_MS", default_value_t = 30_000)]
    pub database_wait_ms: u64,
    /// How far the garbage collection's watermark stays behind the clock, in milliseconds
    #[arg(long, env = "ASSENT_WATERMARK_LAG_MS", default_value_t = 600_000)]
    pub watermark_lag_ms: i64,
    /// How often garbage is collected, in milliseconds
    #[arg(long, env = "ASSENT_COLLECT_INTERVAL_MS", default_value_t = 10_000)]
    pub collect_interval_ms: u64,
    /// Where figures for Prometheus are served (GET /metrics); nowhere if not given
    #[arg(long, env = "ASSENT_METRICS", value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,
    /// Form of the log on stderr: text or json
    #[arg(long, env = "ASSENT_LOG_FORMAT", default_value = "text")]
    pub log_format: crate::telemetry::LogFormat,
}

impl ServiceArgs {
    /// [`Self::database_wait_ms`].
    pub fn database_wait(&self) -> Duration {
        Duration::from_millis(self.database_wait_ms)
    }
}

/// Flags of every participant.
#[derive(Debug, Clone, Args)]
pub struct ParticipantArgs {
    /// Flags of every service.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Its name at the coordinators, if it is not the service's own there: of two inventories one needs another
    #[arg(long, env = "ASSENT_PARTICIPANT_NAME", value_name = "NAME", value_parser = name)]
    pub participant_name: Option<String>,
    /// The coordinators to ask about branches in doubt, separated by commas
    #[arg(long, env = "ASSENT_COORDINATORS", value_delimiter = ',', default_value = "http://127.0.0.1:7400")]
    pub coordinators: Vec<String>,
    /// How often branches in doubt past their deadline are asked about, in milliseconds
    #[arg(long, env = "ASSENT_SWEEP_INTERVAL_MS", default_value_t = 500)]
    pub sweep_interval_ms: u64,
    /// How long a request to the service itself is remembered, so that its repeat changes nothing, in milliseconds
    #[arg(long, env = "ASSENT_REQUEST_RETENTION_MS", default_value_t = 86_400_000, value_parser = clap::value_parser!(i64).range(0..))]
    pub request_retention_ms: i64,
}

/// The address a service listens on; each service has its own default, so it declares the flag itself.
pub type Listen = SocketAddr;

fn name(text: &str) -> Result<String, String> {
    names::check_one(text).map(|()| text.to_owned())
}
