//! One service as a process that can be killed, frozen and started again.
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use participant::testing::{Port, Process};
use tonic::transport::Endpoint;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::programs::program;
use crate::until::until;

/// How long a start may take on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// How long a stop in order may take: the services give what is under way some seconds.
const STOPS_WITHIN: Duration = Duration::from_secs(15);

/// The services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// The coordinator.
    Coordinator,
    /// The inventory service.
    Inventory,
    /// The order service.
    Order,
    /// The payment service.
    Payment,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 4] = [Service::Coordinator, Service::Inventory, Service::Order, Service::Payment];
    /// The participants of an order.
    pub const PARTICIPANTS: [Service; 3] = [Service::Inventory, Service::Order, Service::Payment];

    /// Its name in transactions.
    pub fn name(self) -> &'static str {
        match self {
            Service::Coordinator => "coordinator",
            Service::Inventory => "inventory",
            Service::Order => "order",
            Service::Payment => "payment",
        }
    }

    /// Its program.
    pub fn program(self) -> &'static str {
        match self {
            Service::Coordinator => "coordinator",
            Service::Inventory => "inventory-svc",
            Service::Order => "order-svc",
            Service::Payment => "payment-svc",
        }
    }

    /// The places at which its process can be told to die, as it lists them.
    pub fn crash_points(self) -> Vec<String> {
        let listed = std::process::Command::new(program(self.program())).arg("--list-crash-points").output().unwrap();
        assert!(listed.status.success());
        String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

/// A service's process, running or not, with its port and its settings.
pub struct Server {
    /// What it is.
    pub service: Service,
    /// Its name among the servers, such as "coordinator-2".
    pub name: String,
    port: Port,
    settings: Vec<(String, String)>,
    folder: PathBuf,
    run: Mutex<Run>,
}

#[derive(Default)]
struct Run {
    process: Option<Process>,
    /// How often it was started: each run has a log of its own.
    count: u32,
}

impl Server {
    /// A server that does not run yet; `settings` are environment variables, its logs go to `folder`.
    pub fn new(service: Service, name: &str, port: Port, settings: Vec<(String, String)>, folder: PathBuf) -> Self {
        Server { service, name: name.to_owned(), port, settings, folder, run: Mutex::default() }
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// Starts its process, without waiting for it.
    pub fn start(&self) {
        self.start_with(&[]);
    }

    /// Starts its process with more environment variables; they hold for this run only.
    pub fn start_with(&self, more: &[(&str, &str)]) {
        let mut run = self.run();
        assert!(run.process.as_ref().is_none_or(|process| process.ended().is_some()), "{} runs already", self.name);
        run.count += 1;
        let log = File::create(self.log_path(run.count)).unwrap();
        run.process = Some(Process::start(program(self.service.program()), None, |command| {
            for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ASSENT_")) {
                command.env_remove(name);
            }
            command.env("NO_COLOR", "1").env("ASSENT_LISTEN", format!("127.0.0.1:{}", self.port.number()));
            command.envs(self.settings.iter().cloned()).envs(more.iter().copied());
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        }));
    }

    /// Starts its process and waits until it is healthy.
    pub async fn start_healthy(&self) {
        self.start();
        self.healthy().await;
    }

    /// Waits until it says that it is healthy.
    pub async fn healthy(&self) {
        let deadline = Instant::now() + STARTS_WITHIN;
        while !self.is_healthy().await {
            let failed = self.ended() || Instant::now() > deadline;
            assert!(!failed, "{} does not become healthy:\n{}", self.name, self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether it says so now.
    pub async fn is_healthy(&self) -> bool {
        let asked = async {
            let channel = Endpoint::from_shared(self.address()).ok()?.connect().await.ok()?;
            let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await.ok()?;
            Some(answer.into_inner().status() == ServingStatus::Serving)
        };
        tokio::time::timeout(Duration::from_secs(1), asked).await.ok().flatten().unwrap_or(false)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        if let Some(process) = &self.run().process {
            process.kill();
        }
    }

    /// Stops it in order, with SIGTERM.
    pub async fn stop(&self) {
        self.signal(Signal::SIGTERM);
        until(&format!("{} stops", self.name), STOPS_WITHIN, async || self.ended()).await;
        let status = self.run().process.as_ref().and_then(Process::ended);
        assert!(status.is_some_and(|status| status.success()), "{} did not stop in order: {status:?}", self.name);
    }

    /// Freezes it.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Whether its process has ended, or was never started.
    pub fn ended(&self) -> bool {
        self.run().process.as_ref().is_none_or(|process| process.ended().is_some())
    }

    /// Whether its process stands still, and would go on.
    pub fn is_frozen(&self) -> bool {
        self.run().process.as_ref().is_some_and(Process::is_frozen)
    }

    /// Waits until it is dead or frozen at its crash point, as it was told to be there. False when it is not in time.
    pub async fn halts_at(&self, point: &str, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while !self.ended() && !self.is_frozen() {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let said = format!("crash point {point}");
        let log = self.log();
        assert!(log.lines().any(|line| line == said), "{} halted elsewhere than at {point}:\n{log}", self.name);
        true
    }

    /// What the current run, or the last one, has logged.
    pub fn log(&self) -> String {
        let count = self.run().count;
        std::fs::read_to_string(self.log_path(count)).unwrap_or_default()
    }

    fn log_path(&self, run: u32) -> PathBuf {
        self.folder.join(format!("{}-run-{run}.log", self.name))
    }

    fn signal(&self, signal: Signal) {
        self.run().process.as_ref().expect("it runs").signal(signal);
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
