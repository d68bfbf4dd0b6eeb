//! A system of the benchmark's own: `assent dev` on fresh data, until it is stopped.
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::client::Services;
use crate::dev::data_dir::read_password;
use crate::dev::postgres::ROLE;
use crate::dev::services::{self, SERVICES};
use crate::dev::spawn;
use crate::dev::state::State;
use crate::failure::Failure;
use crate::health;

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
/// The doctor reads everything there is.
const DOCTOR_PATIENCE: Duration = Duration::from_secs(120);

/// A system that runs.
pub struct System {
    /// The way to it.
    pub services: Services,
    /// Its data-dir.
    pub data_dir: PathBuf,
    child: Child,
    more: Vec<Child>,
}

impl System {
    /// Starts it on fresh data; must be called on the thread that lives as long as the process (see [`spawn::bound`]).
    pub async fn start(data_dir: &Path, port_base: u16, like: &Services) -> Result<Self, Failure> {
        System::start_with(data_dir, port_base, like, &[]).await
    }

    /// The same; the services are told more, as environment variables.
    pub async fn start_with(
        data_dir: &Path,
        port_base: u16,
        like: &Services,
        environment: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::new(format!("cannot start a system: {error}"));
        let own = std::env::current_exe().map_err(failed)?;
        let arguments: Vec<OsString> = vec![
            "dev".into(),
            "--data-dir".into(),
            data_dir.into(),
            "--port-base".into(),
            port_base.to_string().into(),
            "--fresh".into(),
        ];
        let mut command = spawn::bound(&own, &arguments, None, Signal::SIGTERM);
        // Its own words are of use only if it does not come up.
        let said = data_dir.with_extension("log");
        std::fs::create_dir_all(said.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        let errors = std::fs::File::create(&said).map_err(failed)?;
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().map_err(failed)?;
        let mut lines = BufReader::new(child.stdout.take().ok_or_else(|| Failure::new("no stdout"))?).lines();
        let ready = tokio::time::timeout(READY_WITHIN, lines.next_line()).await;
        if !matches!(&ready, Ok(Ok(Some(line))) if line.starts_with("ready:")) {
            let failure = Failure::new("the system does not come up");
            return Err(failure.hint(format!("see {}", said.display())));
        }
        let address = |offset: u16| format!("http://127.0.0.1:{}", port_base + offset);
        let services = Services {
            coordinator: address(0),
            inventory: address(1),
            order: address(2),
            payment: address(3),
            ..like.clone()
        };
        Ok(System { services, data_dir: data_dir.to_owned(), child, more: Vec::new() })
    }

    /// Starts so many more coordinators on the same database, from port `first` on; answers their addresses.
    pub async fn add_coordinators(&mut self, first: u16, count: u16) -> Result<Vec<String>, Failure> {
        let failed = |error: std::io::Error| Failure::new(format!("cannot start a coordinator: {error}"));
        let [service, ..] = SERVICES;
        let state = State::read(&self.data_dir)?.unwrap_or_default();
        let name = format!("{}-db", service.short);
        let database = state.processes.iter().find(|process| process.name == name);
        let database = database.ok_or_else(|| Failure::new("the coordinator's database is not known"))?;
        let address = database.address.trim_start_matches("http://");
        let url = format!("postgres://{ROLE}:{}@{address}/{}", read_password(&self.data_dir)?, service.short);
        let Services { inventory, order, payment, .. } = &self.services;
        let mut addresses = Vec::new();
        for port in first..first + count {
            let environment = [
                ("ASSENT_LISTEN".to_owned(), format!("127.0.0.1:{port}")),
                ("ASSENT_DATABASE_URL".to_owned(), url.clone()),
                ("ASSENT_NAME".to_owned(), format!("coordinator-at-{port}")),
                ("ASSENT_PARTICIPANTS".to_owned(), format!("inventory={inventory},order={order},payment={payment}")),
            ];
            let mut command = services::command(&services::find(service)?, &environment);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
            self.more.push(command.spawn().map_err(failed)?);
            let address = format!("http://127.0.0.1:{port}");
            until_serving(&address).await?;
            addresses.push(address);
        }
        Ok(addresses)
    }

    /// Whether every invariant holds, as `assent doctor` says.
    pub async fn is_healthy(&self) -> Result<bool, Failure> {
        self.is_healthy_within(DOCTOR_PATIENCE).await
    }

    /// The same, where there is so much to read that one answer may take so long.
    pub async fn is_healthy_within(&self, patience: Duration) -> Result<bool, Failure> {
        let failed = |error: std::io::Error| Failure::new(format!("cannot run the doctor: {error}"));
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["doctor", "--timeout-ms", &patience.as_millis().to_string()]);
        let Services { coordinator, inventory, order, payment, .. } = &self.services;
        for (name, address) in
            [("COORDINATOR", coordinator), ("INVENTORY", inventory), ("ORDER", order), ("PAYMENT", payment)]
        {
            command.env(format!("ASSENT_{name}"), address);
        }
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.map_err(failed)?;
        if !output.status.success() {
            eprintln!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        }
        Ok(output.status.success())
    }

    /// Stops it in good order, and removes its data.
    pub async fn remove(self) -> Result<(), Failure> {
        let data_dir = self.data_dir.clone();
        self.stop().await?;
        remove(&data_dir)
    }

    /// Stops it in good order.
    pub async fn stop(mut self) -> Result<(), Failure> {
        for coordinator in &mut self.more {
            let _ = coordinator.kill().await; // gone already is as good
        }
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM); // gone already is as good
        }
        match tokio::time::timeout(STOPPED_WITHIN, self.child.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failure::new(format!("cannot stop the system: {error}"))),
            Err(_) => Err(Failure::new("the system does not stop").hint("`assent dev ps` shows what is left")),
        }
    }
}

/// Removes data of the benchmark's own.
pub fn remove(data_dir: &Path) -> Result<(), Failure> {
    let removed = std::fs::remove_dir_all(data_dir);
    removed.map_err(|error| Failure::new(format!("cannot remove {}: {error}", data_dir.display())))
}

/// Waits until what was started there serves.
pub async fn until_serving(address: &str) -> Result<(), Failure> {
    let serving = async {
        while !matches!(health::check(address, "", Duration::from_secs(2)).await, Ok(ServingStatus::Serving)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let late = |_| Failure::new(format!("what was started at {address} does not come up"));
    tokio::time::timeout(READY_WITHIN, serving).await.map_err(late)
}
