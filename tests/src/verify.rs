//! The `assent participant verify` command, as the author of a participant runs it.
use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;

use crate::programs::program;

/// What the kit found.
#[derive(Debug, Deserialize)]
pub struct Verified {
    /// Whether nothing is broken.
    pub conforms: bool,
    /// How many checks hold.
    pub holds: usize,
    /// Each check.
    pub checks: Vec<Check>,
    /// Its exit code.
    #[serde(skip)]
    pub exit: i32,
    /// What it said on stderr.
    #[serde(skip)]
    pub said: String,
}

/// A check.
#[derive(Debug, Deserialize)]
pub struct Check {
    /// Its number.
    pub id: String,
    /// What must hold.
    pub title: String,
    /// holds, broken or skipped.
    pub status: String,
    /// Why it was skipped.
    pub skipped: Option<String>,
    /// What broke.
    pub broken: Option<serde_json::Value>,
}

impl Verified {
    /// The numbers of the checks that ended so.
    pub fn ids(&self, status: &str) -> Vec<&str> {
        self.checks.iter().filter(|check| check.status == status).map(|check| check.id.as_str()).collect()
    }

    /// Insists that nothing is broken, and that no more is skipped than this.
    pub fn holds_but_for(&self, skipped: &[&str]) {
        let others: Vec<&Check> = self.checks.iter().filter(|check| check.status != "holds").collect();
        assert!(self.conforms && self.exit == 0, "{others:#?}\n{}", self.said);
        assert_eq!(self.ids("skipped"), skipped, "{others:#?}");
        assert!(self.holds > 50, "only {} checks", self.holds);
    }
}

/// Runs the kit on the participant at this address.
pub async fn verify(address: &str, arguments: &[&str]) -> Verified {
    let output = Command::new(program("assent"))
        .args(["participant", "verify", address, "--output", "json"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .expect("assent runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let verified = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("the kit reports nothing ({error}), but says {said:?}\n{}", String::from_utf8_lossy(&output.stdout))
    });
    Verified { exit: output.status.code().unwrap_or(-1), said, ..verified }
}

/// A command that asks for a restart by making this file, and waits until it is gone again.
pub fn restart_command(file: &Path) -> String {
    format!("touch {file}; while [ -e {file} ]; do sleep 0.02; done", file = file.display())
}
