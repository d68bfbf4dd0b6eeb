//! Explores one configuration of the model exhaustively, or up to a number of states; or simulates clusters from seeds.
//!
//! The tests pin small configurations and run few seeds; this is for what takes minutes or hours, in the release profile.
use clap::{Args, Parser, Subcommand};
use sim::cluster::{Counted, simulate, simulate_seeds};
use sim::config::Config;
use stateright::{Checker, Model};
use std::process::ExitCode;
use std::time::Instant;

/// Explore every interleaving of the commit protocol's machines, or simulate whole clusters.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    model: ModelArguments,
}

#[derive(Subcommand)]
enum Verb {
    /// Simulate a cluster for each of many seeds, and report what was violated and what happened how often
    Seeds {
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many.
        #[arg(long, default_value_t = 10_000)]
        count: u64,
        /// Threads.
        #[arg(long, default_value_t = 1)]
        threads: u64,
    },
    /// Simulate the cluster of one seed, and print everything that happens
    Seed {
        /// The seed.
        seed: u64,
    },
}

/// What the model checker explores.
#[derive(Args)]
struct ModelArguments {
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
    /// Each attempt is at a request of its own, and wants one of so many units of the same SKU.
    #[arg(long)]
    units: Option<i8>,
    /// Leave out watermarks and collection.
    #[arg(long)]
    no_collection: bool,
    /// END is only said of each transaction, not up to a horizon.
    #[arg(long)]
    no_end_horizons: bool,
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
    match arguments.verb {
        Some(Verb::Seeds { from, count, threads }) => run_seeds(from, count, threads),
        Some(Verb::Seed { seed }) => run_seed(seed),
        None => explore(&arguments.model),
    }
}

fn run_seeds(from: u64, count: u64, threads: u64) -> ExitCode {
    let begun = Instant::now();
    let seeds = simulate_seeds(from, count, threads, None);
    for counted in Counted::ALL {
        println!("{:>12} {}", seeds.coverage.count(*counted), counted.name());
    }
    let (slowest_ms, slowest) = seeds.slowest_ms;
    println!("slowest to resolve everything after the heal: seed {slowest}, {slowest_ms} ms");
    println!("{} seeds in {:.1} s, {} failed", seeds.run, begun.elapsed().as_secs_f64(), seeds.failures.len());
    for (seed, violation) in &seeds.failures {
        println!("seed {seed} violates {}: {}", violation.invariant, violation.detail);
        println!("  replay it with: cargo run -p sim -- seed {seed}");
    }
    if seeds.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_seed(seed: u64) -> ExitCode {
    let report = simulate(seed, None, true);
    print!("{}", report.trace);
    if report.violation.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn explore(arguments: &ModelArguments) -> ExitCode {
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
    if let Some(units) = arguments.units {
        config = config.of_one_sku(units);
    }
    if arguments.no_collection {
        config = config.without_collection();
    }
    if arguments.no_end_horizons {
        config = config.without_horizons();
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
