//! The process of the `assent` command.
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
