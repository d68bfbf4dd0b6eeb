//! A private NATS server with JetStream that can be killed, frozen, and started again on its data.
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::folder::folder;
use super::port::Port;
use super::process::{Process, installed, wait_for_port};

/// Where Debian's package has it, which is on root's PATH only.
const PROGRAM: &str = "/usr/sbin/nats-server";

/// A server that keeps streams in a folder; gone when dropped.
pub struct Nats {
    program: PathBuf,
    port: Port,
    folder: TempDir,
    process: Mutex<Option<Process>>,
}

impl Nats {
    /// Starts one on a free port; none if there is no nats-server here, which is said loudly.
    pub fn start() -> Option<Self> {
        let nats = Self::stopped()?;
        nats.start_again();
        Some(nats)
    }

    /// The same, but it does not run yet.
    pub fn stopped() -> Option<Self> {
        let program = match Path::new(PROGRAM).exists() {
            true => PathBuf::from(PROGRAM),
            false => installed("nats-server").map(|()| PathBuf::from("nats-server"))?,
        };
        Some(Nats { program, port: Port::reserve(), folder: folder("nats-"), process: Mutex::default() })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port.number())
    }

    /// Starts it on the same data and port, after it was killed.
    pub fn start_again(&self) {
        let process = Process::start(&self.program, None, |command| {
            let port = self.port.number().to_string();
            command
                .args(["--jetstream", "--addr", "127.0.0.1", "--port", &port, "--store_dir"])
                .arg(self.folder.path());
            command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        });
        wait_for_port(&process, self.port.number(), Instant::now() + Duration::from_secs(30));
        *self.process() = Some(process);
    }

    /// Ends it at once.
    pub fn kill(&self) {
        self.process().take().expect("it runs").kill();
    }

    /// Removes its data, while it does not run.
    pub fn forget(&self) {
        std::fs::remove_dir_all(self.folder.path().join("jetstream")).expect("its data");
    }

    /// Freezes it.
    pub fn pause(&self) {
        self.process().as_ref().expect("it runs").signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process().as_ref().expect("it runs").signal(Signal::SIGCONT);
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
