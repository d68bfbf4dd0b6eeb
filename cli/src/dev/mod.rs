//! `assent dev`: the whole system on this machine in one command.
//!
//! Four private Postgres clusters and the four services as child processes, kept running until Ctrl-C; the data stays in
//! the data-dir for the next start. No process is left behind, however this one ends.
pub mod child;
pub mod data_dir;
mod gateway;
pub mod postgres;
mod ps;
pub mod services;
pub mod spawn;
pub mod state;
mod supervisor;
mod system;

use std::path::PathBuf;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;

use crate::failure::Failure;
use crate::output::Output;

/// Start the whole system here: four Postgres clusters and four services
#[derive(Debug, clap::Args)]
pub struct Dev {
    /// Where the data lives
    #[arg(long, global = true, env = "ASSENT_DATA_DIR", value_name = "DIR", default_value = ".assent")]
    data_dir: PathBuf,
    #[command(flatten)]
    start: Start,
    #[command(subcommand)]
    verb: Option<DevVerb>,
}

/// The ways of holding stock.
pub const STRATEGIES: [&str; 6] = ["escrow", "atomic", "pessimistic", "optimistic", "redis-lock", "zookeeper-lock"];

/// How to start it.
#[derive(Debug, Clone, clap::Args)]
pub struct Start {
    /// First port: the services take it and the next three, their databases the tenth after it and the next three
    #[arg(long, value_name = "PORT", default_value_t = 7400, value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    pub port_base: u16,
    /// Begin anew: delete what is in the data-dir
    #[arg(long)]
    pub fresh: bool,
    /// Leave a process that died dead
    #[arg(long)]
    pub no_restart: bool,
    /// Print what the processes log, instead of writing it to DIR/logs
    #[arg(long)]
    pub verbose: bool,
    /// How stock is held for orders that want the same
    #[arg(long, value_name = "NAME", default_value = "escrow", value_parser = PossibleValuesParser::new(STRATEGIES))]
    pub strategy: String,
    /// The Redis of the strategy redis-lock
    #[arg(long, value_name = "URL", required_if_eq("strategy", "redis-lock"))]
    pub redis: Option<String>,
    /// The ZooKeeper of the strategy zookeeper-lock, as host:port,host:port
    #[arg(long, value_name = "ADDRESSES", required_if_eq("strategy", "zookeeper-lock"))]
    pub zookeeper: Option<String>,
    /// A Redis in which readings of stock are kept too
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,
    /// The NATS servers that every movement of stock is passed on to (JetStream)
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,
    /// Where the money is: in the built-in ledger, or behind a card gateway, of which a fake one is started as well
    #[arg(long, value_name = "NAME", default_value = "ledger", value_parser = PossibleValuesParser::new(["ledger", "gateway"]))]
    pub provider: String,
    /// How long all may take to become healthy
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    pub ready_timeout_ms: u64,
}

#[derive(Debug, Subcommand)]
enum DevVerb {
    /// List the processes of a data-dir
    Ps,
}

impl Start {
    /// Whether payments go through a gateway.
    fn has_gateway(&self) -> bool {
        self.provider == "gateway"
    }

    /// What only the inventory is told, as environment variables.
    fn of_inventory(&self) -> Vec<(String, String)> {
        let servers = [
            ("ASSENT_REDIS", &self.redis),
            ("ASSENT_ZOOKEEPER", &self.zookeeper),
            ("ASSENT_REDIS_URL", &self.redis_url),
            ("ASSENT_NATS_URL", &self.nats_url),
        ];
        let servers = servers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        servers.chain([("ASSENT_STRATEGY".to_owned(), self.strategy.clone())]).collect()
    }
}

impl Dev {
    /// Runs the verb. Must be called on the thread that lives as long as the process (see [`spawn::bound`]).
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        match self.verb {
            Some(DevVerb::Ps) => ps::run(&self.data_dir, output).await,
            None => system::run(&self.data_dir, &self.start, output).await,
        }
    }
}
