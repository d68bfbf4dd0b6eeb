//! One development system that is measured, as a child process.
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::client::Services;
use crate::dev::spawn;
use crate::failure::Failure;

const READY_WITHIN: Duration = Duration::from_secs(90);

/// A system that runs.
pub struct System {
    /// Where it is.
    pub services: Services,
    child: Child,
}

/// Starts `assent dev` with this strategy, anew in a folder; returns when it is ready.
pub async fn start(
    strategy: &str,
    writers: u16,
    flags: &[String],
    folder: &Path,
    port_base: u16,
) -> Result<System, Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| Failure::new(format!("{what}: {error}"));
    let own = std::env::current_exe().map_err(|error| failed("cannot find the own program", &error))?;
    std::fs::create_dir_all(folder).map_err(|error| failed(&folder.display().to_string(), &error))?;
    let said_path = folder.with_extension("log");
    let said = File::create(&said_path).map_err(|error| failed(&said_path.display().to_string(), &error))?;
    let fixed = ["dev", "--fresh", "--port-base", &port_base.to_string(), "--strategy", strategy].map(OsString::from);
    let mut arguments: Vec<OsString> = fixed.into_iter().chain(flags.iter().map(OsString::from)).collect();
    arguments.extend(["--data-dir".into(), folder.into()]);
    let mut command = spawn::bound(&own, &arguments, None, Signal::SIGTERM);
    command.env("ASSENT_WRITERS", writers.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed("cannot start `assent dev`", &error))?;
    let mut first = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let read = tokio::time::timeout(READY_WITHIN, stdout.read_line(&mut first)).await;
        if !matches!(read, Ok(Ok(_))) {
            first.clear();
        }
    }
    if !first.starts_with("ready") {
        let hint = format!("see {}", said_path.display());
        return Err(Failure::new(format!("the system for {strategy} does not come up")).hint(hint));
    }
    Ok(System { services: Services::of_dev(port_base), child })
}

impl System {
    /// Stops it in order.
    pub async fn stop(mut self) -> Result<(), Failure> {
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM); // not reaped yet, so the pid is still its own
        }
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
        match ended {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Failure::new("a system that was measured does not stop")),
        }
    }
}
