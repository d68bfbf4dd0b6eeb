//! A Postgres of the benchmark's own: a cluster, made anew.
use std::path::{Path, PathBuf};
use std::time::Duration;

use bench::store::Server;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;

use crate::dev::data_dir::DataDir;
use crate::dev::postgres::{Cluster, Postgres, ROLE};
use crate::failure::Failure;

const READY_WITHIN: Duration = Duration::from_secs(30);

/// A cluster that runs.
pub struct Running {
    /// The server.
    pub server: Server,
    /// A folder for files of whoever uses it: pgbench's, or logs.
    pub folder: PathBuf,
    child: Child,
    _data_dir: DataDir,
}

impl Running {
    /// Makes it in `data_dir`, which is emptied first, with this one database, and starts it; in reports it is `DATABASE-db`.
    pub async fn start(data_dir: &Path, database: &str, port: u16) -> Result<Self, Failure> {
        let postgres = Postgres::find().await?;
        let data_dir = DataDir::open(data_dir, true)?;
        let password = data_dir.password()?;
        let clusters = data_dir.clusters(postgres.run_as.as_ref())?;
        let name = format!("{database}-db");
        let cluster = Cluster { folder: clusters.join(&name), name, database: database.to_owned(), port };
        postgres.make(&cluster, &password).await?;
        let child = start(&postgres, &cluster, &data_dir).await?;
        let server = Server {
            name: cluster.name,
            bin: postgres.bin().to_owned(),
            port,
            role: ROLE.to_owned(),
            password,
            database: cluster.database,
            pid: child.id().unwrap_or_default(),
        };
        Ok(Running { server, folder: data_dir.path().join("logs"), child, _data_dir: data_dir })
    }

    /// The URL that services connect to.
    pub fn url(&self) -> String {
        let Server { role, password, port, database, .. } = &self.server;
        format!("postgres://{role}:{password}@127.0.0.1:{port}/{database}")
    }

    /// A fast shutdown.
    pub async fn stop(mut self) -> Result<(), Failure> {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGINT); // gone already is as good
        }
        let ended = self.child.wait().await;
        ended.map(drop).map_err(|error| Failure::new(format!("cannot stop the database: {error}")))
    }
}

/// Starts the server and waits until it accepts connections.
async fn start(postgres: &Postgres, cluster: &Cluster, data_dir: &DataDir) -> Result<Child, Failure> {
    let log = data_dir.log(&cluster.name);
    let failed = |error: std::io::Error| Failure::new(format!("cannot start a database: {error}"));
    let out = std::fs::File::create(&log).map_err(failed)?;
    let err = out.try_clone().map_err(failed)?;
    let mut command = postgres.server(cluster);
    let mut child = command.stdin(std::process::Stdio::null()).stdout(out).stderr(err).spawn().map_err(failed)?;
    let ready = async {
        while !cluster.is_ready() {
            if let Some(status) = child.try_wait().map_err(failed)? {
                let failure = Failure::new(format!("the database does not come up: {status}"));
                return Err(failure.hint(format!("see {}", log.display())));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    let late = |_| Failure::new("the database does not become ready").hint(format!("see {}", log.display()));
    tokio::time::timeout(READY_WITHIN, ready).await.map_err(late)??;
    Ok(child)
}
