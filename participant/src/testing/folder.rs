//! One folder for all that the tests of a process write; gone when the process ends, however that ends.
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// Waits until its stdin is closed, then removes the folder, and unmounts the disks in it. It may have to try again: a
/// database server that was killed with us may not be gone yet.
const REAPER: &str = r#"read -r _; n=0; while [ -e "$0" ] && [ $n -lt 50 ]; do umount -l "$0"/disk-* 2>/dev/null; rm -rf "$0" 2>/dev/null; n=$((n+1)); sleep 0.1; done"#;

struct Root {
    path: PathBuf,
    /// Holds the other end of the pipe until we end.
    _reaper: Child,
}

/// A new folder that every user may enter; gone when dropped.
pub fn folder(prefix: &str) -> TempDir {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(&root().path).expect("a folder");
    set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("its permissions");
    folder
}

fn root() -> &'static Root {
    static ROOT: OnceLock<Root> = OnceLock::new();
    ROOT.get_or_init(|| {
        let path = tempfile::Builder::new().prefix("assent-tests-").tempdir().expect("a folder").keep();
        set_permissions(&path, Permissions::from_mode(0o755)).expect("its permissions");
        let reaper = Command::new("sh")
            .args(["-c", REAPER])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What ends the tests from a terminal must not end the one who tidies up after them.
            .process_group(0)
            .spawn()
            .expect("sh");
        Root { path, _reaper: reaper }
    })
}
