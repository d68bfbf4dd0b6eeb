//! The processes of a data-dir as last seen, kept in `state.json`: for `assent dev ps`, and for the next start, which
//! must end what a killed `assent dev` may have left.
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

const FILE: &str = "state.json";

/// What kind of process it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A Postgres cluster.
    Database,
    /// One of the services.
    Service,
}

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It runs but does not answer yet.
    Starting,
    /// It runs and answers.
    Ready,
    /// It died and will be started again.
    Restarting,
    /// It died and will not be started again.
    Dead,
    /// It was stopped.
    Stopped,
}

impl Condition {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Condition::Starting => "starting",
            Condition::Ready => "ready",
            Condition::Restarting => "restarting",
            Condition::Dead => "dead",
            Condition::Stopped => "stopped",
        }
    }
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its process id while it runs.
    pub pid: Option<i32>,
    /// Its start time in clock ticks since boot: with the pid, it names a process for ever.
    pub start_ticks: Option<u64>,
    /// Where it listens.
    pub address: String,
    /// How it is.
    pub state: Condition,
    /// How often it was started again.
    pub restarts: u32,
}

impl Process {
    /// Whether the very process still runs.
    pub fn is_alive(&self) -> bool {
        match (self.pid, self.start_ticks) {
            (Some(pid), Some(ticks)) => start_ticks(pid) == Some(ticks),
            _ => false,
        }
    }
}

/// All processes of a data-dir.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// In the order of their start.
    pub processes: Vec<Process>,
}

impl State {
    /// Reads the state of the data-dir at `path`; `None` if none was written. An unreadable one counts as none.
    pub fn read(path: &Path) -> Result<Option<Self>, Failure> {
        match fs::read(path.join(FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::new(format!("cannot read {}: {error}", path.join(FILE).display()))),
        }
    }

    /// Writes it; a reader sees the old or the new one, never half of it.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
        let text = serde_json::to_vec_pretty(self).map_err(|error| Failure::new(error.to_string()))?;
        let new = path.join("state.json.new");
        fs::write(&new, text).map_err(failed)?;
        fs::rename(&new, path.join(FILE)).map_err(failed)
    }

    /// Ends the processes that a killed `assent dev` left behind: services first, at once; databases in order.
    pub fn end_leftovers(&self) -> Result<(), Failure> {
        let alive = |kind| self.processes.iter().filter(move |one: &&Process| one.kind == kind && one.is_alive());
        for (kind, signal) in [(Kind::Service, Signal::SIGKILL), (Kind::Database, Signal::SIGINT)] {
            alive(kind).for_each(|process| send(process, signal));
            if !gone(|| alive(kind).next().is_none(), Duration::from_secs(10)) {
                alive(kind).for_each(|process| send(process, Signal::SIGKILL));
                gone(|| alive(kind).next().is_none(), Duration::from_secs(5));
            }
            if let Some(process) = alive(kind).next() {
                let message = format!("{} (pid {:?}) of an earlier run does not end", process.name, process.pid);
                return Err(Failure::new(message).hint("end it and try again"));
            }
        }
        Ok(())
    }
}

fn send(process: &Process, signal: Signal) {
    if let Some(pid) = process.pid {
        let _ = kill(Pid::from_raw(pid), signal); // gone already is as good
    }
}

fn gone(condition: impl Fn() -> bool, patience: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    condition()
}

/// When a process started, in clock ticks since boot; `None` if it does not run (a zombie does not).
pub fn start_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses that may hold anything; the third (the state) follows the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_alone_names_no_process() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut process = Process {
            name: "me".to_owned(),
            kind: Kind::Service,
            pid: Some(own),
            start_ticks: start_ticks(own),
            address: String::new(),
            state: Condition::Ready,
            restarts: 0,
        };
        assert!(process.is_alive());
        process.start_ticks = process.start_ticks.map(|ticks| ticks + 1);
        assert!(!process.is_alive());
        // Nothing of another life is ended.
        State { processes: vec![process] }.end_leftovers().unwrap();
    }

    #[test]
    fn what_is_left_of_an_earlier_run_is_ended() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = Process {
            name: "left".to_owned(),
            kind: Kind::Service,
            pid: Some(pid),
            start_ticks: start_ticks(pid),
            address: String::new(),
            state: Condition::Ready,
            restarts: 0,
        };
        State { processes: vec![process] }.end_leftovers().unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
