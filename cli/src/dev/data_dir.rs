//! The data-dir of `assent dev`: what lies where, whose it is, and that only one uses it.
//!
//! ```text
//! VERSION          marks the directory as ours; the version of this layout
//! lock             locked while `assent dev` runs
//! password         of the databases, readable by the owner alone
//! state.json       the processes as last seen (see state.rs)
//! logs/NAME.log    what each process printed
//! postgres/NAME/   the database clusters
//! ```
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::Rng;

use super::postgres::RunAs;
use crate::failure::Failure;

const VERSION: &str = "1";
const MARKER: &str = "assent data-dir";
const PASSWORD: &str = "password";

/// A data-dir that this process has locked.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // Unlocked by the operating system when the file is closed, however this process ends.
    _lock: File,
}

fn io<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Failure + 'a {
    move |error| Failure::new(format!("cannot {what} {}: {error}", path.display()))
}

impl DataDir {
    /// Opens or makes the data-dir at `path`. `fresh`: empties it first, if it is one.
    pub fn open(path: &Path, fresh: bool) -> Result<Self, Failure> {
        fs::create_dir_all(path).map_err(io("make the data-dir", path))?;
        let path = path.canonicalize().map_err(io("find the data-dir", path))?;
        let version = read_version(&path)?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another `assent dev` runs on {}", path.display());
                return Err(Failure::new(message).hint("stop it, or choose another --data-dir"));
            }
            Err(TryLockError::Error(error)) => return Err(io("lock", &lock_path)(error)),
        }
        let data_dir = DataDir { path, _lock: lock };
        match version.as_deref() {
            Some(_) if fresh => {
                data_dir.kill_leftovers_before_emptying()?;
                data_dir.empty()?;
            }
            Some(VERSION) | None => {}
            Some(other) => {
                let message = format!("{} is a data-dir of version {other}", data_dir.path.display());
                let hint = format!("this assent reads version {VERSION}: use the one that made it, or --fresh");
                return Err(Failure::new(message).hint(hint));
            }
        }
        let marker = data_dir.path.join("VERSION");
        fs::write(&marker, format!("{MARKER} {VERSION}\n")).map_err(io("write", &marker))?;
        let logs = data_dir.path.join("logs");
        fs::create_dir_all(&logs).map_err(io("make", &logs))?;
        Ok(data_dir)
    }

    fn kill_leftovers_before_emptying(&self) -> Result<(), Failure> {
        super::state::State::read(&self.path)?.map_or(Ok(()), |state| state.end_leftovers())
    }

    /// Removes everything but the lock.
    fn empty(&self) -> Result<(), Failure> {
        for entry in fs::read_dir(&self.path).map_err(io("read", &self.path))? {
            let path = entry.map_err(io("read", &self.path))?.path();
            if path == self.path.join("lock") {
                continue;
            }
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(io("remove", &path))?;
        }
        Ok(())
    }

    /// Where it is, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a process' output goes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    /// The folder of the clusters, made and given to whoever runs Postgres.
    pub fn clusters(&self, run_as: Option<&RunAs>) -> Result<PathBuf, Failure> {
        let clusters = self.path.join("postgres");
        fs::create_dir_all(&clusters).map_err(io("make", &clusters))?;
        if let Some(user) = run_as {
            self.check_can_enter(user)?;
            std::os::unix::fs::chown(&clusters, Some(user.uid), Some(user.gid)).map_err(io("give away", &clusters))?;
        }
        Ok(clusters)
    }

    /// Postgres, running as `user`, must be able to walk down to its files.
    fn check_can_enter(&self, user: &RunAs) -> Result<(), Failure> {
        for folder in self.path.ancestors() {
            let metadata = fs::metadata(folder).map_err(io("look at", folder))?;
            let execute = match () {
                () if metadata.uid() == user.uid => 0o100,
                () if metadata.gid() == user.gid => 0o010,
                () => 0o001,
            };
            if metadata.permissions().mode() & execute == 0 {
                let message = format!("the user {} who runs Postgres cannot enter {}", user.name, folder.display());
                return Err(Failure::new(message).hint("choose a --data-dir elsewhere, such as /var/tmp/assent"));
            }
        }
        Ok(())
    }

    /// The databases' password: made at the first start, kept for the next.
    pub fn password(&self) -> Result<String, Failure> {
        let path = self.path.join(PASSWORD);
        if path.exists() {
            let password = read_password(&self.path)?;
            if !password.is_empty() {
                return Ok(password);
            }
        }
        let password = format!("{:032x}", rand::rng().random::<u128>());
        write_secret(&path, &password)?;
        Ok(password)
    }
}

/// The databases' password in the data-dir at `path`.
pub fn read_password(path: &Path) -> Result<String, Failure> {
    let path = path.join(PASSWORD);
    let password = fs::read_to_string(&path).map_err(io("read", &path))?;
    Ok(password.trim().to_owned())
}

/// Writes a file that only its owner may read.
pub fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path).map_err(io("write", path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io("write", path))
}

/// The version of the data-dir at `path`; `None` if it is empty. Anything else there is not ours to touch.
fn read_version(path: &Path) -> Result<Option<String>, Failure> {
    let foreign = || {
        let message = format!("{} has files but is no data-dir of assent", path.display());
        Failure::new(message).hint("choose another --data-dir")
    };
    match fs::read_to_string(path.join("VERSION")) {
        Ok(text) => {
            let version = text.strip_prefix(MARKER).ok_or_else(foreign)?;
            Ok(Some(version.trim().to_owned()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut entries = fs::read_dir(path).map_err(io("read", path))?;
            let ours = |entry: std::io::Result<fs::DirEntry>| entry.is_ok_and(|entry| entry.file_name() == "lock");
            if entries.all(ours) { Ok(None) } else { Err(foreign()) }
        }
        Err(_) => Err(foreign()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("assent-data-dir-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn only_one_uses_a_data_dir_and_the_next_finds_the_same_password() {
        let path = scratch("lock");
        let first = DataDir::open(&path, false).unwrap();
        let password = first.password().unwrap();
        assert_eq!(fs::metadata(path.join("password")).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(DataDir::open(&path, false).unwrap_err().message.contains("another `assent dev`"));
        assert!(DataDir::open(&path, true).unwrap_err().message.contains("another `assent dev`"));
        drop(first);
        // A process that another test is just starting has the lock as well, until it becomes its own program.
        let until = Instant::now() + Duration::from_secs(10);
        let next = loop {
            match DataDir::open(&path, false) {
                Ok(next) => break next,
                Err(failure) => assert!(Instant::now() < until, "{failure:?}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(next.password().unwrap(), password);
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn fresh_empties_a_data_dir_and_nothing_else() {
        let path = scratch("fresh");
        drop(DataDir::open(&path, false).unwrap());
        fs::write(path.join("logs/old.log"), "old").unwrap();
        drop(DataDir::open(&path, true).unwrap());
        assert!(!path.join("logs/old.log").exists());
        fs::remove_dir_all(&path).unwrap();

        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("thesis.tex"), "years of work").unwrap();
        for fresh in [false, true] {
            assert!(DataDir::open(&path, fresh).unwrap_err().message.contains("no data-dir of assent"));
        }
        assert!(path.join("thesis.tex").exists() && !path.join("lock").exists());
        fs::write(path.join("VERSION"), "5.1").unwrap();
        assert!(DataDir::open(&path, true).unwrap_err().message.contains("no data-dir of assent"));
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_data_dir_of_another_version_is_left_alone() {
        let path = scratch("version");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("VERSION"), "assent data-dir 99\n").unwrap();
        let failure = DataDir::open(&path, false).unwrap_err();
        assert!(failure.message.contains("version 99"), "{}", failure.line());
        drop(DataDir::open(&path, true).unwrap());
        assert_eq!(fs::read_to_string(path.join("VERSION")).unwrap(), "assent data-dir 1\n");
        fs::remove_dir_all(&path).unwrap();
    }
}
