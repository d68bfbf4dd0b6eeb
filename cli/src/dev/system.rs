//! One run of `assent dev`: prepare, start, report ready, keep running, stop.
use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic_health::pb::health_check_response::ServingStatus;

use super::Start;
use super::data_dir::DataDir;
use super::gateway;
use super::postgres::{Cluster, Postgres};
use super::services::{self, SERVICES};
use super::state::{Condition, Kind, Process, State, start_ticks};
use super::supervisor::{Event, Spec, Wish, supervise};
use crate::failure::Failure;
use crate::health;
use crate::output::Output;

/// A process that died this often before all was ready will not come up by itself.
const DEATHS_BEFORE_READY: u32 = 6;

/// Ctrl-C and a polite kill. A hang-up ends us unless we are to ignore it; the children follow then by themselves.
struct Interrupts(mpsc::UnboundedReceiver<()>);

impl Interrupts {
    fn listen() -> Result<Self, Failure> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let mut signals =
                signal(kind).map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
            let sender = sender.clone();
            tokio::spawn(async move { while signals.recv().await.is_some() && sender.send(()).is_ok() {} });
        }
        Ok(Interrupts(receiver))
    }

    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// What is ready to be started.
struct Prepared {
    data_dir: DataDir,
    specs: Vec<Spec>,
    clusters: Vec<Cluster>,
}

#[derive(Serialize)]
struct Ready<'a> {
    event: &'static str,
    data_dir: &'a Path,
    coordinator: String,
    inventory: String,
    order: String,
    payment: String,
}

/// Runs the system on the data-dir at `path` until it is interrupted.
pub async fn run(path: &Path, start: &Start, output: Output) -> Result<(), Failure> {
    let mut interrupts = Interrupts::listen()?;
    let prepared = tokio::select! {
        prepared = prepare(path, start) => prepared?,
        () = interrupts.next() => return Err(Failure::new("interrupted before anything was started")),
    };
    let mut system = System::start(prepared, start);
    let result = system.keep_running(start, output, &mut interrupts).await;
    system.stop(&mut interrupts).await;
    result
}

async fn prepare(path: &Path, start: &Start) -> Result<Prepared, Failure> {
    let postgres = Postgres::find().await?;
    let executables = SERVICES.map(services::find).into_iter().collect::<Result<Vec<_>, _>>()?;
    let data_dir = DataDir::open(path, start.fresh)?;
    if let Some(left) = State::read(data_dir.path())? {
        left.end_leftovers()?;
    }
    services::check_ports(start.port_base)?;
    let password = data_dir.password()?;
    let folder = data_dir.clusters(postgres.run_as.as_ref())?;
    let clusters = SERVICES.map(|service| service.cluster(start.port_base, &folder)).to_vec();
    if clusters.iter().any(|cluster| !cluster.folder.exists()) {
        eprintln!("making the databases in {}", data_dir.path().display());
    }
    futures::future::try_join_all(clusters.iter().map(|cluster| postgres.make(cluster, &password))).await?;

    let log = |name: &str| (!start.verbose).then(|| data_dir.log(name));
    let mut specs = Vec::new();
    for cluster in &clusters {
        let (postgres, cluster) = (postgres.clone(), cluster.clone());
        specs.push(Spec {
            name: cluster.name.clone(),
            kind: Kind::Database,
            address: format!("127.0.0.1:{}", cluster.port),
            log: log(&cluster.name),
            stop_signal: Signal::SIGINT, // a fast shutdown
            command: Box::new(move || postgres.server(&cluster)),
        });
    }
    for ((service, executable), cluster) in SERVICES.into_iter().zip(executables).zip(&clusters) {
        let mut environment = service.environment(start.port_base, &cluster.url(&password));
        if service.short == "inventory" {
            environment.extend(start.of_inventory());
        }
        if service.short == "payment" && start.has_gateway() {
            environment.extend(gateway::of_payment(start.port_base));
        }
        specs.push(Spec {
            name: service.binary.to_owned(),
            kind: Kind::Service,
            address: service.address(start.port_base),
            log: log(service.binary),
            stop_signal: Signal::SIGTERM,
            command: Box::new(move || services::command(&executable, &environment)),
        });
    }
    if start.has_gateway() {
        let executable = services::find_binary(gateway::BINARY)?;
        let environment = gateway::environment(start.port_base, data_dir.path());
        specs.push(Spec {
            name: gateway::BINARY.to_owned(),
            kind: Kind::Service,
            address: gateway::address(start.port_base),
            log: log(gateway::BINARY),
            stop_signal: Signal::SIGTERM,
            command: Box::new(move || services::command(&executable, &environment)),
        });
    }
    Ok(Prepared { data_dir, specs, clusters })
}

struct System {
    data_dir: DataDir,
    state: State,
    deaths: Vec<u32>,
    clusters: Vec<Cluster>,
    services_wish: watch::Sender<Wish>,
    databases_wish: watch::Sender<Wish>,
    services: JoinSet<()>,
    databases: JoinSet<()>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl System {
    fn start(prepared: Prepared, start: &Start) -> Self {
        let Prepared { data_dir, specs, clusters } = prepared;
        let (services_wish, _) = watch::channel(Wish::Run);
        let (databases_wish, _) = watch::channel(Wish::Run);
        let (sender, events) = mpsc::unbounded_channel();
        let processes = specs.iter().map(|spec| Process {
            name: spec.name.clone(),
            kind: spec.kind,
            pid: None,
            start_ticks: None,
            address: spec.address.clone(),
            state: Condition::Starting,
            restarts: 0,
        });
        let state = State { processes: processes.collect() };
        let (mut services, mut databases) = (JoinSet::new(), JoinSet::new());
        let deaths = vec![0; specs.len()];
        for (index, spec) in specs.into_iter().enumerate() {
            let (tasks, wish) = match spec.kind {
                Kind::Service => (&mut services, services_wish.subscribe()),
                Kind::Database => (&mut databases, databases_wish.subscribe()),
            };
            tasks.spawn(supervise(index, spec, !start.no_restart, wish, sender.clone()));
        }
        System { data_dir, state, deaths, clusters, services_wish, databases_wish, services, databases, events }
    }

    /// Until interrupted, or until it turns out that it cannot become ready.
    async fn keep_running(
        &mut self,
        start: &Start,
        output: Output,
        interrupts: &mut Interrupts,
    ) -> Result<(), Failure> {
        let deadline = tokio::time::sleep(Duration::from_millis(start.ready_timeout_ms));
        let waiting_for = RefCell::new(String::new());
        let ready = all_ready(self.clusters.clone(), start.port_base, &waiting_for);
        tokio::pin!(deadline, ready);
        let mut is_ready = false;
        loop {
            tokio::select! {
                () = interrupts.next() => return Ok(()),
                Some(event) = self.events.recv() => {
                    self.note(event);
                    if !is_ready {
                        self.check_deaths(start)?;
                    }
                }
                () = &mut ready, if !is_ready => {
                    is_ready = true;
                    self.deaths.fill(0);
                    self.print_ready(start, output)?;
                }
                () = &mut deadline, if !is_ready => {
                    let message = format!("{} did not become healthy in {} ms", waiting_for.borrow(), start.ready_timeout_ms);
                    return Err(Failure::new(message).hint(format!("see {}/logs", self.data_dir.path().display())));
                }
            }
        }
    }

    /// Keeps the books of what happened.
    fn note(&mut self, event: Event) {
        let (Event::Started(index, _) | Event::Ended(index, ..) | Event::Stopped(index)) = event;
        let (Some(process), Some(deaths)) = (self.state.processes.get_mut(index), self.deaths.get_mut(index)) else {
            return;
        };
        match event {
            Event::Started(_, pid) => {
                if process.state == Condition::Restarting {
                    process.restarts += 1;
                }
                process.pid = Some(pid);
                process.start_ticks = start_ticks(pid);
                process.state = Condition::Starting;
            }
            Event::Ended(_, how, next) => {
                *deaths += 1;
                (process.pid, process.start_ticks) = (None, None);
                process.state = if next.is_some() { Condition::Restarting } else { Condition::Dead };
                match next {
                    Some(wait) => eprintln!("{} {how}; starting it again in {} ms", process.name, wait.as_millis()),
                    None => eprintln!("{} {how}", process.name),
                }
            }
            Event::Stopped(_) => {
                (process.pid, process.start_ticks) = (None, None);
                process.state = Condition::Stopped;
            }
        }
        // Books that cannot be kept, say for want of space, are no reason to stop what runs.
        if let Err(failure) = self.state.write(self.data_dir.path()) {
            eprintln!("{}", failure.line());
        }
    }

    /// Before all was ready, a process that dies again and again is a reason to give up.
    fn check_deaths(&self, start: &Start) -> Result<(), Failure> {
        let limit = if start.no_restart { 1 } else { DEATHS_BEFORE_READY };
        let hopeless = self.deaths.iter().zip(&self.state.processes).find(|(deaths, _)| **deaths >= limit);
        let Some((_, process)) = hopeless else { return Ok(()) };
        let log = self.data_dir.log(&process.name);
        let said = std::fs::read(&log).unwrap_or_default();
        let why = complaint(&String::from_utf8_lossy(&said)).unwrap_or("it does not say why").to_owned();
        let failure = Failure::new(format!("{} does not come up: {why}", process.name));
        Err(failure.hint(format!("see {}", log.display())))
    }

    fn print_ready(&self, start: &Start, output: Output) -> Result<(), Failure> {
        let base = start.port_base;
        let [coordinator, inventory, order, payment] = SERVICES.map(|service| service.address(base));
        let line = format!("ready: coordinator {coordinator}, inventory {inventory}, order {order}, payment {payment}");
        let ready = Ready { event: "ready", data_dir: self.data_dir.path(), coordinator, inventory, order, payment };
        output.print_line(&ready, &line)?;
        if start.has_gateway() {
            eprintln!("payments go through a fake gateway: {}", gateway::address(start.port_base));
        }
        eprintln!("data in {}; Ctrl-C stops everything", self.data_dir.path().display());
        if base != 7400 {
            let Ready { coordinator, inventory, order, payment, .. } = ready;
            eprintln!(
                "for other terminals: export ASSENT_COORDINATOR={coordinator} ASSENT_INVENTORY={inventory} \
                 ASSENT_ORDER={order} ASSENT_PAYMENT={payment}"
            );
        }
        Ok(())
    }

    /// Stops the services, then the databases. A second interrupt ends them at once.
    async fn stop(&mut self, interrupts: &mut Interrupts) {
        eprintln!("stopping");
        for kind in [Kind::Service, Kind::Database] {
            let (wish, tasks) = match kind {
                Kind::Service => (&self.services_wish, &mut self.services),
                Kind::Database => (&self.databases_wish, &mut self.databases),
            };
            wish.send_modify(|wish| *wish = (*wish).max(Wish::Stop));
            loop {
                tokio::select! {
                    done = tasks.join_next() => if done.is_none() { break },
                    () = interrupts.next() => {
                        self.services_wish.send_replace(Wish::Kill);
                        self.databases_wish.send_replace(Wish::Kill);
                    }
                }
            }
            while let Ok(event) = self.events.try_recv() {
                self.note(event);
            }
        }
    }
}

/// Returns once every database and every service answers; tells meanwhile which one it waits for.
async fn all_ready(clusters: Vec<Cluster>, base: u16, waiting_for: &RefCell<String>) {
    let pause = Duration::from_millis(50);
    for cluster in clusters {
        waiting_for.replace(cluster.name.clone());
        while !cluster.is_ready() {
            tokio::time::sleep(pause).await;
        }
    }
    for service in SERVICES {
        waiting_for.replace(service.binary.to_owned());
        let address = service.address(base);
        while !matches!(health::check(&address, "", Duration::from_secs(2)).await, Ok(ServingStatus::Serving)) {
            tokio::time::sleep(pause).await;
        }
    }
}

/// The line of a log that most likely says why the process ended.
fn complaint(log: &str) -> Option<&str> {
    let complains = |line: &&str| ["rror: ", "ERROR", "FATAL", "panicked"].iter().any(|mark| line.contains(mark));
    let mut lines = log.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.clone().rfind(complains).or_else(|| lines.next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_is_found_above_its_stack() {
        let log = "INFO up\nError: no database\n\nStack backtrace:\n  0: _start\n   at ./start.c:1\n";
        assert_eq!(complaint(log), Some("Error: no database"));
        assert_eq!(complaint("INFO up\nno such file\n\n"), Some("no such file"));
        assert_eq!(complaint(""), None);
    }
}
