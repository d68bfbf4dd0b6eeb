//! Processes that end when the test's process ends, however that ends.
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};

/// A running process, killed when dropped and by the kernel when this process ends.
#[derive(Debug)]
pub struct Process {
    id: Pid,
    child: Mutex<Child>,
}

impl Process {
    /// Starts `program` as `user`, or as ourselves; `set_up` gets the command to add arguments and the like to.
    pub fn start(program: impl AsRef<std::ffi::OsStr>, user: Option<&User>, set_up: impl FnOnce(&mut Command)) -> Self {
        // setpriv becomes the program, so the child's pid is the program's.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(user) = user {
            command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid)).arg("--clear-groups");
        }
        command.arg("--").arg(program);
        set_up(&mut command);
        let child = spawn(command).expect("can't start a process; is setpriv (util-linux) installed?");
        let id = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        Process { id, child: Mutex::new(child) }
    }

    /// Its pid.
    pub fn id(&self) -> i32 {
        self.id.as_raw()
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("waiting for a process")
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.ended().is_none() {
            // It may end in between.
            let _ = kill(self.id, signal);
        }
    }

    /// Whether it is stopped by a signal, with every one of its threads.
    pub fn is_frozen(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id)).into_iter().flatten().flatten();
        let mut states = threads.map(|thread| stat(&thread.path()).map(|(state, _)| state)).peekable();
        states.peek().is_some() && states.all(|state| state.as_deref() == Some("T"))
    }

    /// Ends it at once.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child().wait();
    }

    /// Waits for its end.
    pub fn wait_within(&self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            match self.ended() {
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
                ended => return ended,
            }
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The fields of a process's stat after the program's name: state, parent, ... `folder` is its /proc/PID, or that of one
/// of its threads.
pub(super) fn stat(folder: &Path) -> Option<(String, i32)> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// Whether a program is installed; if not, that is said loudly.
pub(super) fn installed(program: &str) -> Option<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    if !found {
        println!("SKIPPED: no {program} is installed here; scripts/setup.sh does it");
    }
    found.then_some(())
}

/// Waits until a server that was started listens on its port.
pub(super) fn wait_for_port(process: &Process, port: u16, deadline: Instant) {
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(process.ended().is_none() && Instant::now() < deadline, "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whom to run Postgres as, which refuses root: ourselves (none), unless we are root.
pub fn postgres_user() -> Option<User> {
    if !geteuid().is_root() {
        return None;
    }
    Some(User::from_name("postgres").ok().flatten().expect("tests run by root need a user named postgres"))
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Spawns on a thread that lives as long as this process: the kernel watches the thread that a child came from, and
/// those of tests end with their tests.
fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        let serve = move || {
            for (mut command, answer) in orders {
                let _ = answer.send(command.spawn());
            }
        };
        std::thread::Builder::new().name("spawner".to_owned()).spawn(serve).expect("a thread");
        Mutex::new(sender)
    });
    let (answer, spawned) = mpsc::channel();
    let order = spawner.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer));
    order.expect("the spawner lives");
    spawned.recv().expect("the spawner answers")
}
