//! The lock servers that are measured with, each for as long as it is needed.
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Child;

use crate::dev::spawn;
use crate::failure::Failure;

/// Where Debian's package has ZooKeeper.
const CLASSES: &str = "/usr/share/java/zookeeper.jar";
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What a strategy's locks need.
pub struct Locks {
    /// Flags for `assent dev`.
    pub flags: Vec<String>,
    /// Ended when dropped.
    _server: Option<Child>,
}

/// Starts the lock server of a strategy, if it has one. An error says why it can't be had.
pub async fn start(strategy: &str, port: u16, data_dir: &Path) -> Result<Locks, Failure> {
    match strategy {
        "redis-lock" => {
            let arguments = format!("--port {port} --bind 127.0.0.1 --save  --appendonly no");
            let server = run("redis-server", arguments.split(' ').map(OsString::from).collect(), port).await?;
            Ok(Locks { flags: vec!["--redis".to_owned(), format!("redis://127.0.0.1:{port}")], _server: Some(server) })
        }
        "zookeeper-lock" => {
            let port = port + 1;
            if !Path::new(CLASSES).exists() {
                return Err(Failure::new("no zookeeper is installed here"));
            }
            let settings = zookeeper_settings(data_dir, port)?;
            let main = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
            let arguments = ["-Xmx256m", "-cp", CLASSES, main].map(OsString::from);
            let arguments = arguments.into_iter().chain([settings.into()]).collect();
            let server = run("java", arguments, port).await?;
            Ok(Locks { flags: vec!["--zookeeper".to_owned(), format!("127.0.0.1:{port}")], _server: Some(server) })
        }
        _ => Ok(Locks { flags: Vec::new(), _server: None }),
    }
}

/// Writes the settings of a ZooKeeper on empty data, which it forces to the disk, as it does where it is used.
fn zookeeper_settings(data_dir: &Path, port: u16) -> Result<PathBuf, Failure> {
    let folder = std::path::absolute(data_dir.join("zookeeper"));
    let failed = |error: std::io::Error| Failure::new(format!("cannot make ZooKeeper's data: {error}"));
    let folder = folder.map_err(failed)?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(failed)?;
    }
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let path = folder.join("zoo.cfg");
    let settings = format!(
        "tickTime=200\nminSessionTimeout=400\nmaxSessionTimeout=60000\ndataDir={}\nclientPort={port}\n\
         clientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0\n",
        folder.join("data").display()
    );
    std::fs::write(&path, settings).map_err(failed)?;
    Ok(path)
}

/// Runs a server until it listens.
async fn run(program: &str, arguments: Vec<OsString>, port: u16) -> Result<Child, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    let found = found.ok_or_else(|| Failure::new(format!("no {program} is installed here")))?;
    let mut command = spawn::bound(&found, &arguments, None, Signal::SIGKILL);
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let child = command.spawn().map_err(|error| Failure::new(format!("cannot start {program}: {error}")))?;
    let listening = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(READY_WITHIN, listening).await {
        Ok(()) => Ok(child),
        Err(_) => Err(Failure::new(format!("{program} does not come up on port {port}"))),
    }
}
