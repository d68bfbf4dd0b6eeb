//! `assent dev`: the whole system on this machine in one command.
//!
//! Four private Postgres clusters and the four services as child processes, kept running until Ctrl-C; the data stays in
//! the data-dir for the next start. No process is left behind, however this one ends.
pub mod child;
pub mod data_dir;
pub mod postgres;
mod ps;
pub mod services;
pub mod spawn;
pub mod state;
mod supervisor;
mod system;

use std::path::PathBuf;

use clap::Subcommand;

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
    /// How long all may take to become healthy
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    pub ready_timeout_ms: u64,
}

#[derive(Debug, Subcommand)]
enum DevVerb {
    /// List the processes of a data-dir
    Ps,
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
