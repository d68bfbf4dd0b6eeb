//! The `assent` command, as an operator runs it.
use std::process::Stdio;

use tokio::process::Command;

use crate::programs::program;
use crate::system::System;

/// What came of it.
pub struct Ran {
    /// The exit code.
    pub exit: i32,
    /// The data.
    pub stdout: String,
    /// All else.
    pub said: String,
}

/// Runs the command on a system, for its data as JSON.
pub async fn assent(system: &System, arguments: &[&str]) -> Ran {
    let output = Command::new(program("assent"))
        .args(arguments)
        .args(["--output", "json"])
        .envs(system.environment())
        .stdin(Stdio::null())
        .output()
        .await
        .expect("assent runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { exit: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), said: text(&output.stderr) }
}
