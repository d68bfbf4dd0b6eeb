//! How processes are started so that none outlives `assent dev`.
use std::ffi::OsString;
use std::path::Path;

use nix::sys::signal::Signal;
use tokio::process::Command;

use super::child;

/// A command that runs `program` as `user` (or as ourselves) and is sent `death_signal` when this thread dies.
///
/// The kernel watches the thread that starts the child, not the process: start it from a thread that lives as long as
/// the process, as the one of a current-thread runtime does.
pub fn bound(program: &Path, arguments: &[OsString], user: Option<&str>, death_signal: Signal) -> Command {
    // Our own image, even if the file was replaced or removed meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg(child::VERB);
    command.args(["--parent", &std::process::id().to_string(), "--death-signal", death_signal.as_str()]);
    if let Some(user) = user {
        command.args(["--user", user]);
    }
    command.arg("--").arg(program).args(arguments);
    command
}
