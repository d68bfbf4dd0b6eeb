//! A private Postgres for the tests of participants, and what they all do with it.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::{PreparedBranch, Refusal, Resource};

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

    /// A pool on it, with a service's schema.
    pub async fn pool(&self, migrator: Migrator) -> PgPool {
        let pool = crate::postgres::connect_pool(&self.url(), "test", 8, Duration::from_secs(20)).await.unwrap();
        crate::postgres::migrate(&pool, migrator, "_service_migrations").await.unwrap();
        pool
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A branch of a new transaction.
pub fn branch<B>(branch: B) -> PreparedBranch<B> {
    PreparedBranch { transaction_id: Uuid::now_v7(), branch }
}

/// Prepares a batch in one local transaction.
pub async fn prepare<R: Resource>(
    resource: &R,
    pool: &PgPool,
    branches: &[PreparedBranch<R::Branch>],
) -> Vec<Result<(), Refusal>> {
    let mut local = pool.begin().await.unwrap();
    let votes = resource.prepare(&mut local, branches).await.unwrap();
    local.commit().await.unwrap();
    assert_eq!(votes.len(), branches.len(), "one vote for each branch");
    votes
}

/// Commits a batch in one local transaction.
pub async fn commit<R: Resource>(resource: &R, pool: &PgPool, branches: &[PreparedBranch<R::Branch>]) {
    let mut local = pool.begin().await.unwrap();
    resource.commit(&mut local, branches).await.unwrap();
    local.commit().await.unwrap();
}

/// Aborts a batch in one local transaction.
pub async fn abort<R: Resource>(resource: &R, pool: &PgPool, branches: &[PreparedBranch<R::Branch>]) {
    let why = Refusal::new("TIMED_OUT", "it took too long");
    let branches: Vec<_> = branches.iter().map(|branch| (branch.clone(), why.clone())).collect();
    let mut local = pool.begin().await.unwrap();
    resource.abort(&mut local, &branches).await.unwrap();
    local.commit().await.unwrap();
}

/// What the service finds wrong, as `invariant subject: detail`.
pub async fn audit<R: Resource>(resource: &R, pool: &PgPool, prepared: &[PreparedBranch<R::Branch>]) -> Vec<String> {
    let mut connection = pool.acquire().await.unwrap();
    let mut snapshot: sqlx::Transaction<'_, sqlx::Postgres> =
        PgConnection::begin_with(&mut connection, "BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let checks = resource.audit(&mut snapshot, prepared).await.unwrap();
    snapshot.rollback().await.unwrap();
    let found = |check: crate::audit::Check| {
        let line = move |violation: &crate::audit::Violation| {
            format!("{} {}: {}", check.invariant, violation.subject, violation.detail)
        };
        check.violations.iter().map(line).collect::<Vec<_>>()
    };
    checks.into_iter().flat_map(found).collect()
}

/// A program of Postgres, run as its own user where the tests run as root, which it refuses.
fn command(name: &str) -> Command {
    let folders = ["/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin"];
    let folder = folders.iter().map(PathBuf::from).find(|folder| folder.join(name).exists()).unwrap_or_default();
    let mut command = Command::new(folder.join(name));
    command.current_dir("/");
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        let users = std::fs::read_to_string(Path::new("/etc/passwd")).unwrap();
        let line = users.lines().find(|line| line.starts_with("postgres:")).expect("a user named postgres");
        let mut ids = line.split(':').skip(2).map(|field| field.parse::<u32>().unwrap());
        command.uid(ids.next().unwrap()).gid(ids.next().unwrap());
    }
    command
}
