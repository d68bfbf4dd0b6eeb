//! Explores one configuration of the model exhaustively, or up to a number of states, and reports.
//!
//! The tests pin small configurations; this is for those that take minutes or hours, in the release profile.
use clap::Parser;
use sim::config::Config;
use stateright::{Checker, Model};
use std::process::ExitCode;

/// Explore every interleaving of the commit protocol's machines.
#[derive(Parser)]
struct Arguments {
    /// Attempts at the request.
    #[arg(long, default_value_t = 2)]
    attempts: usize,
    /// Participants of each attempt.
    #[arg(long, default_value_t = 2)]
    participants: usize,
    /// Participants that may refuse; all by default.
    #[arg(long)]
    may_refuse: Option<usize>,
    /// Recoveries at the same time.
    #[arg(long, default_value_t = 1)]
    recoveries: usize,
    /// Tombstones of recoveries may take the request.
    #[arg(long)]
    recoveries_know_request: bool,
    /// The last attempt inserts its record before it sends PREPARE.
    #[arg(long)]
    insert_first: bool,
    /// The attempts differ in their content.
    #[arg(long)]
    other_content: bool,
    /// Leave out watermarks and collection.
    #[arg(long)]
    no_collection: bool,
    /// Leave out crashes of databases.
    #[arg(long)]
    no_lost_writes: bool,
    /// Leave out crashes of owners.
    #[arg(long)]
    no_owner_crashes: bool,
    /// The attempts lie further apart than requests are retained.
    #[arg(long)]
    past_retention: bool,
    /// Depth first: far less memory, longer counterexamples.
    #[arg(long)]
    depth_first: bool,
    /// Leave out doubt about single votes.
    #[arg(long)]
    no_vote_doubt: bool,
    /// Stop after about so many steps.
    #[arg(long)]
    max_steps: Option<usize>,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut config = Config::everything(arguments.attempts, arguments.participants);
    config.may_refuse = arguments.may_refuse.unwrap_or(arguments.participants);
    config.recoveries = arguments.recoveries;
    config.recoveries_know_request = arguments.recoveries_know_request;
    config.past_retention = arguments.past_retention;
    config.vote_doubt = !arguments.no_vote_doubt;
    config.owner_crashes = !arguments.no_owner_crashes;
    if let (true, Some(last)) = (arguments.insert_first, config.insert_first.last_mut()) {
        *last = true;
    }
    if arguments.other_content {
        config.digests = (0u8..).take(arguments.attempts).collect();
    }
    if arguments.no_collection {
        config = config.without_collection();
    }
    if arguments.no_lost_writes {
        config = config.without_lost_writes();
    }
    let mut builder = config.checker().threads(arguments.threads);
    if let Some(steps) = arguments.max_steps {
        builder = builder.target_state_count(steps);
    }
    if arguments.depth_first { report(&builder.spawn_dfs().join()) } else { report(&builder.spawn_bfs().join()) }
}

fn report(checker: &impl Checker<Config>) -> ExitCode {
    println!("states {}, steps {}, depth {}", checker.unique_state_count(), checker.state_count(), checker.max_depth());
    let discoveries = checker.discoveries();
    for (name, path) in &discoveries {
        println!("{name} is violated:");
        for action in path.clone().into_actions() {
            println!("  {action:?}");
        }
    }
    if discoveries.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
