//! `assent participant verify`: shows whether a participant, in whatever language it is written, keeps the rules of
//! docs/PROTOCOL.md, by sending it what a coordinator may send, and what the network may make of that.
mod books;
mod checks;
mod kit;
mod oracle;
mod plan;
mod probe;
mod report;
mod run;
mod stop;
#[cfg(test)]
mod tests;

use std::time::Duration;

use clap::Subcommand;

use crate::client::Services;
use crate::failure::Failure;
use crate::output::Output;
use kit::Kit;
use plan::Flags;
use report::Report;

/// Participants of transactions
#[derive(Debug, Subcommand)]
pub enum Participant {
    Verify(Verify),
}

const EXAMPLES: &str = "\
Examples:
  A participant of your own, called seats; its branches are texts such as 'gala 1':
    assent participant verify 127.0.0.1:7500 --name seats --branch-hex 67616c612031
    assent participant verify 127.0.0.1:7500 --name seats --branch-file one-seat.bin \
        --refused-branch-file too-many.bin --books-command './run.sh books' \
        --restart-command './run.sh restart'
  One of Assent's own services:
    assent stock set conformance 1000
    assent participant verify 127.0.0.1:7401 --as inventory

Exit codes: 0 nothing is broken, 1 something is, 2 usage.";

/// Check whether a participant keeps the protocol's rules
///
/// Sends it PREPARE, COMMIT, ABORT, FENCE and END, in and out of order, repeated, at once, in batches, late and malformed,
/// and holds every answer against the rules. Let it run alone: a coordinator that knows it aborts the kit's transactions,
/// and so may its own sweeper where a coordinator answers. Start without --refused-branch-*, --books-command and
/// --restart-command; what is skipped says which of them it needs.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Verify {
    /// The participant, such as http://127.0.0.1:7500
    address: String,
    #[command(flatten)]
    flags: Flags,
}

impl Participant {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let Participant::Verify(verify) = self;
        verify.run(Duration::from_millis(services.timeout_ms), output).await
    }
}

impl Verify {
    async fn run(self, timeout: Duration, output: Output) -> Result<(), Failure> {
        let Verify { address, flags } = self;
        let plan = flags.plan(&address)?;
        let name = plan.name.clone();
        let setup = plan.setup.clone();
        let kit = Kit::connect(plan, &address, timeout).await?;
        let mut failed = Ok(());
        let checks = run::run(&kit, |view| {
            if output == Output::Table && failed.is_ok() {
                failed = output.print_line(view, &view.line());
            }
        });
        let checks = checks.await;
        failed?;
        let report = Report::new(address, name, checks);
        output.print(&report, Report::summary)?;
        if report.conforms {
            return Ok(());
        }
        let broken: Vec<&str> =
            report.checks.iter().filter(|check| check.broken.is_some()).map(|check| check.id.as_str()).collect();
        let failure = Failure::new(format!("does not hold: {}", broken.join(", ")));
        Err(match setup {
            Some(setup) if broken.contains(&"1.1") => failure.hint(format!("was this done? {setup}")),
            _ => failure.hint("docs/PARTICIPANTS.md has the rules"),
        })
    }
}
