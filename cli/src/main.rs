//! The process of the `assent` command.
use std::process::ExitCode;

// For the load that `assent bench` makes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
