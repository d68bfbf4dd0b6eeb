//! What stands between `assent dev` and a process it starts: it binds the child's life to its parent's and gives up
//! root where Postgres demands it, then becomes the child.
//!
//! Both have to happen inside the new process before it runs its program. This hidden verb does them in safe code
//! and ends in `exec`, so that the child keeps its pid and nothing of ours stays between.
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{User, getppid, setgid, setgroups, setsid, setuid};

use crate::failure::Failure;

/// Name of the hidden verb.
pub const VERB: &str = "dev-child";

/// Become another program that dies with its parent
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub struct Child {
    /// The process that must be alive.
    #[arg(long)]
    parent: i32,
    /// What to be sent when it dies.
    #[arg(long)]
    death_signal: Signal,
    /// Whom to become first.
    #[arg(long)]
    user: Option<String>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Child {
    /// Becomes the program; returns only if that failed.
    pub fn run(self) -> Result<(), Failure> {
        let failed = |what: &str, error: &dyn std::fmt::Display| Failure::new(format!("{what}: {error}"));
        // A session of its own: the terminal's Ctrl-C reaches our parent alone, which stops us in order; and the kernel shares
        // the processors out among sessions (each backend of Postgres is one), so all that is started here must not be one.
        setsid().map_err(|error| failed("cannot begin a session", &error))?;
        if let Some(name) = &self.user {
            let user = User::from_name(name).ok().flatten().ok_or_else(|| failed("no such user", name))?;
            setgroups(&[user.gid])
                .and_then(|()| setgid(user.gid))
                .and_then(|()| setuid(user.uid))
                .map_err(|error| failed("cannot become another user", &error))?;
        }
        // After the change of user, which would clear it.
        set_pdeathsig(self.death_signal).map_err(|error| failed("cannot bind to the parent", &error))?;
        if getppid().as_raw() != self.parent {
            return Err(Failure::new("the parent is gone already"));
        }
        let (program, arguments) = self.command.split_first().ok_or_else(|| Failure::usage("no program given"))?;
        let error = Command::new(program).args(arguments).exec();
        Err(failed(&program.to_string_lossy(), &error))
    }
}
