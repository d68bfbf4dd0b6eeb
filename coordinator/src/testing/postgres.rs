//! A private Postgres for this crate's tests.
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::PgPool;

use crate::store::Store;

/// A Postgres cluster in a temporary directory; gone when dropped.
pub struct Postgres {
    server: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Postgres {
    /// Starts a cluster on a free port.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let data = directory.path().join("data");
        let mut initdb = command("initdb");
        initdb.args(["-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C", "-D"]).arg(&data);
        assert!(initdb.stdout(Stdio::null()).status().unwrap().success(), "initdb failed");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = command("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "fsync=off", "-c", "unix_socket_directories="])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Postgres { server, port, _directory: directory }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Stops it from answering anyone.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it answer again.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Signals the whole cluster: its backends are the postmaster's children.
    fn signal(&self, signal: &str) {
        let postmaster = self.server.id().to_string();
        Command::new("kill").args([signal, &postmaster]).status().unwrap();
        Command::new("pkill").args([signal, "-P", &postmaster]).status().unwrap();
    }

    /// A pool on it, with the coordinator's schema.
    pub async fn pool(&self) -> PgPool {
        let wait = Duration::from_secs(20);
        let pool = participant::postgres::connect_pool(&self.url(), "test", 8, wait).await.unwrap();
        Store::migrate(&pool).await.unwrap();
        pool
    }

    /// A store of its own writer, as another coordinator would have.
    pub async fn store(&self) -> Store {
        let connect = participant::postgres::connect_options(&self.url(), "test").unwrap();
        Store::start(self.pool().await, connect)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A program of Postgres, run as its own user where the tests run as root, which it refuses.
fn command(name: &str) -> Command {
    let known = ["/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin"];
    let folder = known.iter().map(PathBuf::from).find(|folder| folder.join(name).exists()).unwrap_or_default();
    let mut command = Command::new(folder.join(name));
    command.current_dir("/");
    if runs_as_root() {
        let (uid, gid) = postgres_user();
        command.uid(uid).gid(gid);
    }
    command
}

fn runs_as_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

fn postgres_user() -> (u32, u32) {
    let users = std::fs::read_to_string(Path::new("/etc/passwd")).unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("a user named postgres");
    let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
    (fields.next().unwrap(), fields.next().unwrap())
}
