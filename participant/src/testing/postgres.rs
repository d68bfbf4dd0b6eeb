//! A private Postgres that can be stopped, killed, frozen, and started again on its data.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::migrate::Migrator;
use tempfile::TempDir;

use super::disk::Disk;
use super::folder::folder;
use super::port::Port;
use super::process::{Process, postgres_user, stat};
use super::template;
use crate::Pool;

/// What keeps a test's cluster quick and small. Nothing is flushed to the disk, which only matters when the machine
/// dies: what a killed server had not written to its files is lost here as well.
const SETTINGS: &[&str] = &[
    "fsync=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "shared_buffers=32MB",
    "unix_socket_directories=",
    "log_checkpoints=off",
];
/// What keeps the log of a cluster on a small disk small.
const SMALL: &[&str] = &["min_wal_size=2MB", "max_wal_size=4MB"];
/// How long a start or a stop may take, on a machine that is busy with many.
const WITHIN: Duration = Duration::from_secs(30);

/// A Postgres cluster in a temporary directory; gone when dropped.
pub struct Postgres {
    server: Mutex<Option<Process>>,
    port: Port,
    directory: TempDir,
    /// Where its data is, if not in the directory.
    disk: Option<Disk>,
}

impl Postgres {
    /// Starts a cluster on a free port; returns when it can be connected to.
    pub fn start() -> Self {
        Self::start_on(None)
    }

    /// The same, with its data on a disk of its own.
    pub fn start_on(disk: Option<Disk>) -> Self {
        let postgres =
            Postgres { server: Mutex::new(None), port: Port::reserve(), directory: folder("postgres-"), disk };
        template::copy_to(&postgres.data());
        postgres.start_again();
        postgres
    }

    /// Its disk, if it has one of its own.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    fn data(&self) -> PathBuf {
        self.disk.as_ref().map_or(self.directory.path(), Disk::path).join("data")
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Its URL.
    pub fn url(&self) -> String {
        Self::url_at(self.port())
    }

    /// Its URL at another port, of a proxy.
    pub fn url_at(port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
    }

    /// A pool on it, with the log's and a service's schema.
    pub async fn pool(&self, migrator: Migrator) -> Pool {
        let pool = crate::postgres::connect_pool(&self.url(), "test", 8, Duration::from_secs(20)).await.unwrap();
        crate::log::Log::migrate(&pool).await.unwrap();
        crate::postgres::migrate(&pool, migrator, "_service_migrations").await.unwrap();
        pool
    }

    /// Starts it on the same data and port, after it was stopped or killed; returns when it can be connected to.
    pub fn start_again(&self) {
        let mut server = self.server();
        assert!(server.is_none(), "the cluster runs already");
        let data = self.data();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.directory.path().join("log")).unwrap();
        // One that was killed left its file behind, which says that it is ready.
        let _ = fs::remove_file(data.join("postmaster.pid"));
        let process = Process::start(template::program("postgres"), postgres_user().as_ref(), |command| {
            command.args(["-h", "127.0.0.1", "-p", &self.port.number().to_string(), "-D"]).arg(&data);
            let small = if self.disk.is_some() { SMALL } else { &[] };
            command.args(SETTINGS.iter().chain(small).flat_map(|setting| ["-c", setting]));
            command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        });
        let deadline = Instant::now() + WITHIN;
        while !fs::read_to_string(data.join("postmaster.pid")).is_ok_and(|text| text.contains("\nready")) {
            let failed = process.ended().is_some() || Instant::now() > deadline;
            assert!(!failed, "Postgres does not come up:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        *server = Some(process);
    }

    /// Stops it in order: what is under way is rolled back, nothing that was committed is lost.
    pub fn stop(&self) {
        let server = self.server().take().expect("the cluster runs");
        server.signal(Signal::SIGINT);
        assert!(server.wait_within(WITHIN).is_some(), "Postgres does not stop:\n{}", self.log());
    }

    /// Kills the postmaster with SIGKILL; its backends end by themselves, as they do. What was committed lazily may be
    /// lost.
    pub fn kill(&self) {
        let server = self.server().take().expect("the cluster runs");
        let backends = children(server.id());
        server.kill();
        let patience = Instant::now() + Duration::from_secs(2);
        while backends.iter().any(|backend| is_alive(*backend)) {
            if Instant::now() > patience {
                // One that computes or is frozen notices nothing; as long as it lives no new server starts.
                backends.iter().for_each(|backend| send(*backend, Signal::SIGKILL));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it has ended by itself.
    pub fn ended(&self) -> bool {
        self.server().as_ref().is_some_and(|server| server.ended().is_some())
    }

    /// Stops it from answering anyone.
    pub fn pause(&self) {
        self.signal_all(Signal::SIGSTOP);
    }

    /// Lets it answer again.
    pub fn resume(&self) {
        self.signal_all(Signal::SIGCONT);
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Signals the postmaster, which then makes no new backends, and all of its backends.
    fn signal_all(&self, signal: Signal) {
        let server = self.server();
        let server = server.as_ref().expect("the cluster runs");
        server.signal(signal);
        children(server.id()).into_iter().for_each(|backend| send(backend, signal));
    }

    fn server(&self) -> MutexGuard<'_, Option<Process>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Before its files go; in haste, but so that its shared memory goes with it.
        let ended = self.server().as_ref().map(|server| {
            server.signal(Signal::SIGQUIT);
            server.wait_within(Duration::from_secs(2))
        });
        if ended.is_some() {
            self.kill();
        }
    }
}

fn send(process: i32, signal: Signal) {
    // It may have ended meanwhile.
    let _ = kill(Pid::from_raw(process), signal);
}

/// A process that has ended, but that nobody has asked about yet, is gone.
fn is_alive(process: i32) -> bool {
    stat(Path::new(&format!("/proc/{process}"))).is_some_and(|(state, _)| state != "Z")
}

fn children(parent: i32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = processes.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    let children = numbered.filter(|(_, folder)| stat(folder).is_some_and(|(_, of)| of == parent));
    children.map(|(process, _)| process).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{Connection, PgConnection};

    async fn count(postgres: &Postgres) -> i64 {
        let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM thing").fetch_one(&mut connection).await.unwrap()
    }

    #[tokio::test]
    async fn a_killed_cluster_starts_again_on_its_data_and_port() {
        let began = Instant::now();
        let postgres = Postgres::start();
        let took = began.elapsed();
        let url = postgres.url();
        let mut connection = PgConnection::connect(&url).await.unwrap();
        sqlx::query("CREATE TABLE thing AS SELECT 1 AS id").execute(&mut connection).await.unwrap();
        postgres.kill();
        assert!(PgConnection::connect(&url).await.is_err());
        assert!(sqlx::query("SELECT 1").execute(&mut connection).await.is_err(), "its backends must be gone");
        postgres.start_again();
        assert_eq!((count(&postgres).await, postgres.url()), (1, url));
        assert!(postgres.log().contains("not properly shut down"));
        postgres.stop();
        postgres.start_again();
        assert_eq!(count(&postgres).await, 1);
        println!("up in {} ms", took.as_millis());
    }

    #[tokio::test]
    async fn a_frozen_cluster_answers_when_it_goes_on() {
        let postgres = Postgres::start();
        let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
        postgres.pause();
        let mut asked = std::pin::pin!(async { sqlx::query("SELECT 1").execute(&mut connection).await });
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut asked).await.is_err());
        postgres.resume();
        tokio::time::timeout(Duration::from_secs(10), asked).await.expect("it goes on").unwrap();
    }
}
