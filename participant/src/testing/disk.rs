//! A small disk of its own, for tests that fill it. To mount it takes root.
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::folder::folder;

/// A disk in memory; gone when dropped.
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// A new one of so many megabytes; or why there is none.
    pub fn mount(megabytes: u32) -> Result<Self, String> {
        let folder = folder("disk-");
        let options = format!("size={megabytes}m,mode=755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Disk { folder }),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut ballast = fs::OpenOptions::new().create(true).append(true).open(self.ballast()).unwrap();
        for size in [256 * 1024, 4 * 1024] {
            let filled = std::iter::repeat_with(|| ballast.write_all(&vec![0; size])).find_map(Result::err);
            assert_eq!(filled.map(|error| error.kind()), Some(ErrorKind::StorageFull));
        }
    }

    /// Gives that room back.
    pub fn clear(&self) {
        let _ = fs::remove_file(self.ballast());
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there keeps it to itself.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
