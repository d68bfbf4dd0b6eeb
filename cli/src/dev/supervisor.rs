//! Keeps processes running: starts them, starts them again when they die, and stops them in order.
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use super::state::Kind;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(2);
/// A process that lived this long was well: its next death starts from the first backoff again.
const WELL_AFTER: Duration = Duration::from_secs(10);

/// A process to keep running.
pub struct Spec {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where it will listen.
    pub address: String,
    /// Makes the command that runs it.
    pub command: Box<dyn Fn() -> Command + Send + Sync>,
    /// Where its output goes; `None`: to our stderr.
    pub log: Option<PathBuf>,
    /// What asks it to stop.
    pub stop_signal: Signal,
}

/// What is wanted of the processes of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Run.
    Run,
    /// Stop in good order.
    Stop,
    /// End at once.
    Kill,
}

/// What happened to the process of this index.
#[derive(Debug)]
pub enum Event {
    /// It runs.
    Started(usize, i32),
    /// It died, or could not be started; it is started again after the given time, if at all.
    Ended(usize, String, Option<Duration>),
    /// It was stopped as wished.
    Stopped(usize),
}

/// Keeps one process running until the wish changes.
pub async fn supervise(
    index: usize,
    spec: Spec,
    restart: bool,
    mut wish: watch::Receiver<Wish>,
    events: mpsc::UnboundedSender<Event>,
) {
    let mut backoff = FIRST_BACKOFF;
    // The receiver of the events lives as long as this task; a failed send only means that nobody listens any more.
    let tell = |event| drop(events.send(event));
    while *wish.borrow() == Wish::Run {
        let begun = Instant::now();
        let ended = match start(&spec) {
            Err(error) => format!("cannot be started: {error}"),
            Ok(mut child) => {
                tell(Event::Started(index, child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0)));
                tokio::select! {
                    status = child.wait() => match status {
                        Ok(status) => format!("ended ({status})"),
                        Err(error) => format!("was lost: {error}"),
                    },
                    () = until(&mut wish, Wish::Stop) => {
                        stop(&mut child, spec.stop_signal, &mut wish).await;
                        break;
                    }
                }
            }
        };
        if begun.elapsed() > WELL_AFTER {
            backoff = FIRST_BACKOFF;
        }
        tell(Event::Ended(index, ended, restart.then_some(backoff)));
        if !restart {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(backoff) => {}
            () = until(&mut wish, Wish::Stop) => {}
        }
        backoff = (backoff * 2).min(LAST_BACKOFF);
    }
    tell(Event::Stopped(index));
}

/// Returns once at least this is wished, or nobody can wish any more.
async fn until(wish: &mut watch::Receiver<Wish>, least: Wish) {
    let _ = wish.wait_for(|wish| *wish >= least).await;
}

fn start(spec: &Spec) -> std::io::Result<Child> {
    let mut command = (spec.command)();
    if let Some(log) = &spec.log {
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        command.stdout(file.try_clone()?).stderr(file);
    } else {
        // Data goes to stdout, and this is none.
        command.stdout(std::io::stderr());
    }
    command.stdin(Stdio::null()).kill_on_drop(true).spawn()
}

/// Asks it to stop, and ends it if it does not in time or if that is wished.
async fn stop(child: &mut Child, signal: Signal, wish: &mut watch::Receiver<Wish>) {
    let patience = Duration::from_secs(10);
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = kill(Pid::from_raw(pid), signal); // not reaped yet, so the pid is still its own
    }
    tokio::select! {
        _ = child.wait() => return,
        () = tokio::time::sleep(patience) => {}
        () = until(wish, Wish::Kill) => {}
    }
    let _ = child.kill().await;
}
