//! The participant in Python (examples/python-participant) conforms, and after each kill -9.
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use participant::testing::{Port, Postgres, folder};
use tempfile::TempDir;
use tests::verify;

/// Its script, with the environment that it runs in; what it has started is ended when dropped.
struct Example {
    postgres: Postgres,
    port: Port,
    run: TempDir,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/python-participant/run.sh")
}

impl Example {
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(script());
        command.arg(verb).envs(self.environment());
        command
    }

    fn environment(&self) -> [(&'static str, String); 6] {
        [
            ("SEATS_DATABASE_URL", self.postgres.url()),
            ("SEATS_LISTEN", format!("127.0.0.1:{}", self.port.number())),
            ("SEATS_RUN", self.run.path().display().to_string()),
            // Nobody: a coordinator would abort what the kit leaves prepared.
            ("SEATS_COORDINATOR", "127.0.0.1:9".to_owned()),
            ("SEATS_WATERMARK_LAG_MS", "60000".to_owned()),
            ("SEATS_COLLECT_SECONDS", "0.1".to_owned()),
        ]
    }

    /// Its script's command line, for the kit.
    fn line(&self, verb: &str) -> String {
        let set = self.environment().map(|(name, value)| format!("{name}='{value}'"));
        format!("{} {} {verb}", set.join(" "), script().display())
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", std::fs::read_to_string(self.run.path().join("log")).unwrap_or_default());
        }
        let _ = self.command("stop").status();
    }
}

/// Says so loudly: what a test prints is kept from the reader when it passes, what it writes to stderr is not.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "\nSKIPPED: the participant in Python: {}", why.trim());
}

fn succeeded(what: &str, output: &Output) -> bool {
    if !output.status.success() {
        skipped(&format!("{what} failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    output.status.success()
}

/// Makes the venv, or finds the one of an earlier run. False, and said loudly, where Python or the packages can't be had.
fn set_up() -> bool {
    match Command::new("python3").args(["-c", "import ensurepip, venv"]).output() {
        Ok(output) if succeeded("import venv (`make setup` installs it)", &output) => {
            let made = Command::new(script()).arg("setup").output().expect("bash runs");
            succeeded("run.sh setup", &made)
        }
        Ok(_) => false,
        Err(error) => {
            skipped(&format!("no python3 here: {error}"));
            false
        }
    }
}

#[tokio::test]
async fn a_participant_in_python_conforms_also_when_it_is_killed() {
    if !set_up() {
        return;
    }
    let example = Example { postgres: Postgres::start(), port: Port::reserve(), run: folder("python-") };
    let started = example.command("start").output().expect("bash runs");
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let (restart, books) = (example.line("restart"), example.line("books"));
    // In the example's own language: "gala 1", and more than there are.
    let mut arguments = vec!["--name", "seats", "--branch-hex", "67616c612031"];
    arguments.extend(["--refused-branch-hex", "67616c612031303030303030"]);
    arguments.extend(["--books-command", &books, "--restart-command", &restart]);
    let verified = verify(&format!("http://127.0.0.1:{}", example.port.number()), &arguments).await;
    verified.holds_but_for(&[]);
}
