//! Private Postgres clusters: the binaries, a cluster's making, and how one is run.
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User, geteuid};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::data_dir::write_secret;
use super::spawn;
use crate::failure::Failure;

/// The databases' superuser, whom the services connect as.
pub const ROLE: &str = "assent";

/// The user who runs Postgres when `assent dev` is started by root, which Postgres refuses.
#[derive(Debug, Clone)]
pub struct RunAs {
    /// Its name.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
}

/// The Postgres binaries that were found, and who runs them.
#[derive(Debug, Clone)]
pub struct Postgres {
    bin: PathBuf,
    major: String,
    /// Set if another user than the one who started us.
    pub run_as: Option<RunAs>,
}

/// One cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its name, such as "inventory-db".
    pub name: String,
    /// The one database in it.
    pub database: String,
    /// Where it listens, on the loopback interface.
    pub port: u16,
    /// Its files.
    pub folder: PathBuf,
}

/// A tool that runs, the leader of its process group: ended with all that it started, should nobody await its end.
struct Unfinished(Option<Pid>);

impl Unfinished {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL); // fails only if all of them are gone
        }
    }
}

impl Postgres {
    /// Finds the binaries: `ASSENT_PG_BIN`, then PATH, then where Debian keeps them.
    pub async fn find() -> Result<Self, Failure> {
        let complete = |folder: &PathBuf| folder.join("postgres").is_file() && folder.join("initdb").is_file();
        let hint = "install Postgres (Debian: apt install postgresql), or set ASSENT_PG_BIN to the folder of its \
                    `postgres` and `initdb`";
        let bin = match std::env::var_os("ASSENT_PG_BIN").filter(|value| !value.is_empty()) {
            Some(folder) => Some(PathBuf::from(folder))
                .filter(complete)
                .ok_or("ASSENT_PG_BIN leads to no folder with `postgres` and `initdb`"),
            None => std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
                .chain(debian_folders())
                .find(complete)
                .ok_or("no Postgres is installed here"),
        };
        let bin = bin.map_err(|message| Failure::new(message).hint(hint))?;
        let answer = Command::new(bin.join("postgres")).arg("--version").output().await;
        let answer = answer.map_err(|error| Failure::new(format!("{} does not run: {error}", bin.display())))?;
        let major = String::from_utf8_lossy(&answer.stdout)
            .split_whitespace()
            .find_map(|word| word.split('.').next().filter(|part| part.parse::<u32>().is_ok()).map(str::to_owned))
            .ok_or_else(|| Failure::new(format!("{}/postgres does not tell its version", bin.display())))?;
        Ok(Postgres { bin, major, run_as: run_as()? })
    }

    /// The folder of the binaries.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Makes the cluster if it does not stand yet: all of it or nothing.
    pub async fn make(&self, cluster: &Cluster, password: &str) -> Result<(), Failure> {
        match fs::read_to_string(cluster.folder.join("PG_VERSION")) {
            Ok(major) if major.trim() == self.major => return Ok(()),
            Ok(major) => {
                let message =
                    format!("{} was made by Postgres {}, but {} is here", cluster.name, major.trim(), self.major);
                return Err(Failure::new(message).hint("set ASSENT_PG_BIN to that version, or begin anew with --fresh"));
            }
            Err(_) => {}
        }
        let new = cluster.folder.with_extension("new");
        let failed = |error: std::io::Error| Failure::new(format!("cannot make {}: {error}", new.display()));
        if new.exists() {
            fs::remove_dir_all(&new).map_err(failed)?;
        }
        let secret = cluster.folder.with_extension("secret");
        write_secret(&secret, password)?;
        if let Some(user) = &self.run_as {
            std::os::unix::fs::chown(&secret, Some(user.uid), Some(user.gid)).map_err(failed)?;
        }
        let path = |path: &Path| path.as_os_str().to_owned();
        let mut pwfile = OsString::from("--pwfile=");
        pwfile.push(&secret);
        let arguments: Vec<OsString> = vec![
            "-D".into(),
            path(&new),
            "-U".into(),
            ROLE.into(),
            pwfile,
            "--auth=scram-sha-256".into(),
            "--encoding=UTF8".into(),
            "--no-locale".into(),
            "--data-checksums".into(),
            "--no-instructions".into(),
        ];
        let made = self.run("initdb", &arguments, "").await;
        let _ = fs::remove_file(&secret);
        made?;
        // Single-user mode needs no server and no client program.
        let create = format!("CREATE DATABASE \"{}\"\n", cluster.database);
        let single: Vec<OsString> = vec!["--single".into(), "-D".into(), path(&new), "postgres".into()];
        self.run("postgres", &single, &create).await?;
        fs::rename(&new, &cluster.folder).map_err(failed)
    }

    /// Runs a tool to its end, with `input` on its stdin.
    async fn run(&self, tool: &str, arguments: &[OsString], input: &str) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(format!("{tool} failed: {error}"));
        let mut command = spawn::bound(&self.bin.join(tool), arguments, self.user(), Signal::SIGKILL);
        clean_environment(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let unfinished = Unfinished(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await.map_err(|error| failed(&error))?;
        }
        let output = child.wait_with_output().await.map_err(|error| failed(&error))?;
        unfinished.done();
        let said = String::from_utf8_lossy(&output.stderr);
        // Single-user mode reports a failed statement only in words.
        let error = said.lines().find(|line| line.contains("ERROR:") || line.contains("FATAL:"));
        if output.status.success() && error.is_none() {
            return Ok(());
        }
        Err(failed(&error.or_else(|| said.lines().rfind(|line| !line.is_empty())).unwrap_or("it does not say why")))
    }

    fn user(&self) -> Option<&str> {
        self.run_as.as_ref().map(|user| user.name.as_str())
    }

    /// The command that runs the cluster. Durability stays as Postgres sets it.
    ///
    /// All clusters were started together: autovacuum comes to each of them at moments of its own, often and for little, or orders
    /// wait for it.
    pub fn server(&self, cluster: &Cluster) -> Command {
        let mut arguments: Vec<OsString> = vec!["-D".into(), cluster.folder.as_os_str().to_owned()];
        let settings = [
            format!("port={}", cluster.port),
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            format!("cluster_name={}", cluster.name),
            format!("autovacuum_naptime={}s", NAPTIMES_S[usize::from(cluster.port) % NAPTIMES_S.len()]),
        ];
        for setting in settings {
            arguments.push("-c".into());
            arguments.push(setting.into());
        }
        // A fast shutdown, should we be killed.
        let mut command = spawn::bound(&self.bin.join("postgres"), &arguments, self.user(), Signal::SIGINT);
        clean_environment(&mut command);
        command
    }
}

/// Rarely at the same time.
const NAPTIMES_S: [u8; 4] = [7, 8, 9, 11];

impl Cluster {
    /// The URL that the services connect to. The password goes to them by environment, never on a command line.
    pub fn url(&self, password: &str) -> String {
        format!("postgres://{ROLE}:{password}@127.0.0.1:{}/{}", self.port, self.database)
    }

    /// Whether the server accepts connections, as it says itself in its pid file.
    pub fn is_ready(&self) -> bool {
        says_ready(&self.folder)
    }
}

/// Whether the server of the cluster in `folder` says that it accepts connections.
pub fn says_ready(folder: &Path) -> bool {
    let status = fs::read_to_string(folder.join("postmaster.pid"));
    status.is_ok_and(|text| text.lines().nth(7).is_some_and(|line| line.trim() == "ready"))
}

/// Nothing of the person's own Postgres settings (PGPORT, PGDATA, ...) reaches a private cluster.
fn clean_environment(command: &mut Command) {
    command.current_dir("/");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
        command.env_remove(name);
    }
}

/// /usr/lib/postgresql/VERSION/bin, newest first.
fn debian_folders() -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| {
            let version =
                |entry: fs::DirEntry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")));
            entries.flatten().filter_map(version).collect()
        })
        .unwrap_or_default();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, folder)| folder).collect()
}

/// Whom to run Postgres as: ourselves, unless we are root.
fn run_as() -> Result<Option<RunAs>, Failure> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres").ok().flatten().ok_or_else(|| {
        Failure::new("Postgres refuses to run as root, and there is no user `postgres` to run it as")
            .hint("start `assent dev` as another user")
    })?;
    Ok(Some(RunAs { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
}
