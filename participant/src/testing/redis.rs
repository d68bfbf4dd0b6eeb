//! A private Redis that can be killed, frozen, made to forget, and started again.
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::port::Port;
use super::process::{Process, installed, wait_for_port};

/// A server that keeps nothing; gone when dropped.
pub struct Redis {
    port: Port,
    process: Mutex<Option<Process>>,
}

impl Redis {
    /// Starts one on a free port; none if there is no redis-server here, which is said loudly.
    pub fn start() -> Option<Self> {
        installed("redis-server")?;
        let redis = Redis { port: Port::reserve(), process: Mutex::default() };
        redis.start_again();
        Some(redis)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port.number())
    }

    /// Starts it on the same port, after it was killed; it has forgotten everything.
    pub fn start_again(&self) {
        let process = Process::start("redis-server", None, |command| {
            let port = self.port.number().to_string();
            command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
            command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        });
        wait_for_port(&process, self.port.number(), Instant::now() + Duration::from_secs(30));
        *self.process() = Some(process);
    }

    /// Ends it at once.
    pub fn kill(&self) {
        self.process().take().expect("it runs").kill();
    }

    /// Freezes it: it takes connections and answers none.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        self.process().as_ref().expect("it runs").signal(signal);
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
