//! Postgres servers on this machine, as their own programs reach them, and all SQL that is sent to them.
//!
//! Only a benchmark on one machine does so: the services are measured over gRPC, their databases by what they count.
pub mod past;
pub mod statistics;
pub mod tables;
pub mod totals;
mod wal;

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Without these, Postgres forgets what it has answered.
const DURABLE: [&str; 3] = ["fsync", "synchronous_commit", "full_page_writes"];

/// A Postgres server, and its programs.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its name in reports.
    pub name: String,
    /// The folder of `psql` and `pgbench`; what is not there is looked for on PATH.
    pub bin: PathBuf,
    /// Where it listens, on the loopback interface.
    pub port: u16,
    /// Whom to connect as.
    pub role: String,
    /// With which password.
    pub password: String,
    /// To which database.
    pub database: String,
    /// The server's process.
    pub pid: u32,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// A program of Postgres is not there, or does not run.
    #[error("{tool} does not run: {error}")]
    NotRun {
        /// Which.
        tool: &'static str,
        /// Why.
        error: io::Error,
    },
    /// A program of Postgres failed.
    #[error("{tool} failed: {said}")]
    Tool {
        /// Which.
        tool: &'static str,
        /// What it says.
        said: String,
    },
    /// pgbench's files are not as expected.
    #[error("pgbench's files: {0}")]
    Files(io::Error),
    /// The server is not durable, so its figures are worth nothing.
    #[error("{name} has {setting} {value}; without it nothing is durable, and figures are worth nothing")]
    NotDurable {
        /// Which server.
        name: String,
        /// Which setting.
        setting: String,
        /// What it is.
        value: String,
    },
    /// There are no such orders here.
    #[error("the baseline has no {0}")]
    NoSuchOrders(&'static str),
    /// The server's answer is not as expected.
    #[error("{name} answers {said:?} where figures are expected")]
    NoFigures {
        /// Which server.
        name: String,
        /// What it says.
        said: String,
    },
}

impl Server {
    /// The durability settings, as the server tells them; fails unless all are on.
    pub async fn durability(&self) -> Result<Vec<(String, String)>, Failed> {
        let told = self.ask(&DURABLE.map(|name| format!("SHOW {name}"))).await?;
        let settings: Vec<(String, String)> =
            DURABLE.into_iter().zip(told.lines()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        match settings.iter().find(|(_, value)| value != "on") {
            Some((setting, value)) => {
                let (setting, value) = (setting.clone(), value.clone());
                Err(Failed::NotDurable { name: self.name.clone(), setting, value })
            }
            None => Ok(settings),
        }
    }

    /// What the server answers to each of `questions`, a line each.
    async fn ask(&self, questions: &[String]) -> Result<String, Failed> {
        let asked = questions.iter().flat_map(|question| ["-c", question]);
        self.run("psql", ["-XqAt", "-v", "ON_ERROR_STOP=1"].into_iter().chain(asked), "").await
    }

    /// Runs one of Postgres' programs, with `input` on its stdin; answers what it printed.
    pub(crate) async fn run<A: AsRef<OsStr>>(
        &self,
        tool: &'static str,
        arguments: impl IntoIterator<Item = A>,
        input: &str,
    ) -> Result<String, Failed> {
        let not_run = |error| Failed::NotRun { tool, error };
        // Clients may be installed elsewhere than the server.
        let beside = self.bin.join(tool);
        let mut command = Command::new(if beside.is_file() { beside } else { tool.into() });
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        command.env("PGPASSWORD", &self.password).env("PGDATABASE", &self.database);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", &self.role]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(not_run)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await.map_err(not_run)?;
        }
        let output = child.wait_with_output().await.map_err(not_run)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let error = said.lines().find(|line| line.to_lowercase().contains("error"));
        let why = error.or_else(|| said.lines().rfind(|line| !line.is_empty())).map(str::to_owned);
        Err(Failed::Tool { tool, said: why.unwrap_or_else(|| format!("it ended with {}", output.status)) })
    }
}
