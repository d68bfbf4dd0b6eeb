//! A system of the comparison's own: `assent dev` on fresh data, until it is stopped.
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::Services;
use crate::dev::spawn;
use crate::failure::Failure;

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
/// The doctor reads everything there is.
const DOCTOR_TIMEOUT_MS: &str = "120000";

/// A system that runs.
pub struct System {
    /// The way to it.
    pub services: Services,
    /// Its data-dir.
    pub data_dir: PathBuf,
    child: Child,
}

impl System {
    /// Starts it on fresh data; must be called on the thread that lives as long as the process (see [`spawn::bound`]).
    pub async fn start(data_dir: &Path, port_base: u16, like: &Services) -> Result<Self, Failure> {
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
        Ok(System { services, data_dir: data_dir.to_owned(), child })
    }

    /// Whether every invariant holds, as `assent doctor` says.
    pub async fn is_healthy(&self) -> Result<bool, Failure> {
        let failed = |error: std::io::Error| Failure::new(format!("cannot run the doctor: {error}"));
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["doctor", "--timeout-ms", DOCTOR_TIMEOUT_MS]);
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

    /// Stops it in good order.
    pub async fn stop(mut self) -> Result<(), Failure> {
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
