//! The process of the `assent` command.
use std::process::ExitCode;

// For the load that `assent bench` makes.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run()
}
