//! The cluster that every new one is a copy of: initdb takes seconds, a copy of a small cluster a few milliseconds.
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::unistd::User;

use super::folder::folder;
use super::process::{Process, postgres_user};

/// Part of the name under which a template is kept: changes whenever [`make`] does.
const FORM: u32 = 1;

/// What is not needed by one database in one cluster, two thirds of the files.
const SHRINK: &str = "UPDATE pg_database SET datistemplate = false, datallowconn = true;
DROP DATABASE template0;
DROP DATABASE template1;
";

/// Writes a copy of the template to `data`, which must not exist.
pub fn copy_to(data: &Path) {
    copy(template(), data, postgres_user().as_ref()).expect("can't copy the template of a Postgres cluster");
}

/// A program of Postgres: of `ASSENT_PG_BIN`, of the newest version where Debian keeps them, or of PATH.
pub fn program(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("ASSENT_PG_BIN").filter(|folder| !folder.is_empty()) {
        return PathBuf::from(folder).join(name);
    }
    let versions: Vec<fs::DirEntry> =
        fs::read_dir("/usr/lib/postgresql").map(|entries| entries.flatten().collect()).unwrap_or_default();
    let mut found: Vec<(u32, PathBuf)> = versions
        .iter()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin").join(name))))
        .filter(|(_, path)| path.exists())
        .collect();
    found.sort();
    found.pop().map_or_else(|| PathBuf::from(name), |(_, path)| path)
}

/// Where the template is; made by whoever needs it first.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let version = Command::new(program("postgres")).arg("--version").output();
        let version = version.expect("no Postgres is installed here; set ASSENT_PG_BIN to the folder of its programs");
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        let number = version.split_whitespace().find(|word| word.starts_with(|each: char| each.is_ascii_digit()));
        let cache = cache();
        let kept = cache.join(format!("postgres-{}-{FORM}", number.unwrap_or("unknown")));
        if !kept.exists() {
            make(&cache, &kept).expect("can't make the template of a Postgres cluster");
        }
        kept
    })
}

/// Under cargo's target directory, which is where a test's program is; else among the temporary files.
fn cache() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    target.map_or_else(std::env::temp_dir, |target| target.join("tmp"))
}

/// Makes a template, shrinks it and renames it to `kept`: whoever looks finds all of it or nothing.
fn make(cache: &Path, kept: &Path) -> io::Result<()> {
    // The user of Postgres may not enter the target directory, so it is made elsewhere.
    let folder = folder("template-");
    let user = postgres_user();
    if let Some(user) = &user {
        chown(folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    let data = folder.path().join("data");
    let flags = ["-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C", "--wal-segsize=1", "-D"];
    run("initdb", user.as_ref(), "", |command| command.args(flags).arg(&data));
    run("postgres", user.as_ref(), SHRINK, |command| command.arg("--single").arg("-D").arg(&data).arg("postgres"));
    fs::create_dir_all(cache)?;
    let new = tempfile::Builder::new().prefix("postgres-new-").tempdir_in(cache)?;
    let copied = new.path().join("data");
    copy(&data, &copied, None)?;
    match fs::rename(&copied, kept) {
        // Another process was faster.
        Err(_) if kept.exists() => Ok(()),
        renamed => renamed,
    }
}

/// Runs a program of Postgres to its end.
fn run(name: &str, user: Option<&User>, input: &str, set_up: impl FnOnce(&mut Command) -> &mut Command) {
    let files = folder("input-");
    let path = files.path().join("input");
    let mut file = fs::File::create(&path).expect("a file");
    file.write_all(input.as_bytes()).expect("written");
    let process = Process::start(program(name), user, |command| {
        let input = fs::File::open(&path).expect("the file");
        set_up(command.current_dir("/").stdin(input).stdout(Stdio::null()).stderr(Stdio::null()));
    });
    let ended = process.wait_within(std::time::Duration::from_secs(60));
    assert!(ended.is_some_and(|status| status.success()), "{name} failed: {ended:?}");
}

/// Copies a folder, for nobody but `owner`.
fn copy(from: &Path, to: &Path, owner: Option<&User>) -> io::Result<()> {
    let own = |path: &Path| match owner {
        Some(user) => chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())),
        None => Ok(()),
    };
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
    own(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, owner)?;
        } else {
            fs::copy(entry.path(), &target)?;
            own(&target)?;
        }
    }
    Ok(())
}
