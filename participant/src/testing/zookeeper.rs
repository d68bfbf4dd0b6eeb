//! A private ZooKeeper that can be killed, frozen, made to forget, and started again.
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::folder::folder;
use super::port::Port;
use super::process::{Process, installed, wait_for_port};

/// Where Debian's package has it.
const CLASSES: &str = "/usr/share/java/zookeeper.jar";

/// A server on data of its own; gone when dropped.
pub struct ZooKeeper {
    port: Port,
    folder: TempDir,
    process: Mutex<Option<Process>>,
}

impl ZooKeeper {
    /// Starts one on a free port; none if there is no ZooKeeper here, which is said loudly.
    pub fn start() -> Option<Self> {
        installed("java")?;
        if !Path::new(CLASSES).exists() {
            println!("SKIPPED: no zookeeper is installed here; scripts/setup.sh does it");
            return None;
        }
        let (port, folder) = (Port::reserve(), folder("zookeeper-"));
        // A session lives at least two ticks.
        let settings = format!(
            "tickTime=50\nminSessionTimeout=100\nmaxSessionTimeout=60000\ndataDir={}\nclientPort={}\n\
             clientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0\nforceSync=no\n",
            folder.path().join("data").display(),
            port.number()
        );
        fs::write(folder.path().join("zoo.cfg"), settings).expect("its settings");
        let zookeeper = ZooKeeper { port, folder, process: Mutex::default() };
        zookeeper.start_again();
        Some(zookeeper)
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// Starts it on the same data and port, after it was killed.
    pub fn start_again(&self) {
        let process = Process::start("java", None, |command| {
            command.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", CLASSES]);
            command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(self.folder.path().join("zoo.cfg"));
            command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        });
        let until = Instant::now() + Duration::from_secs(60);
        wait_for_port(&process, self.port.number(), until);
        // It listens before it serves, and closes sessions that are begun meanwhile.
        while !self.serves() {
            assert!(Instant::now() < until, "zookeeper does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        *self.process() = Some(process);
    }

    fn serves(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut connection = TcpStream::connect(self.address())?;
            connection.set_read_timeout(Some(Duration::from_secs(5)))?;
            connection.write_all(b"srvr")?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.contains("Mode:"))
    }

    /// Ends it at once.
    pub fn kill(&self) {
        self.process().take().expect("it runs").kill();
    }

    /// Removes its data, while it does not run.
    pub fn forget(&self) {
        fs::remove_dir_all(self.folder.path().join("data")).expect("its data");
    }

    /// Freezes it.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        self.process().as_ref().expect("it runs").signal(signal);
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
