//! The programs under test, as cargo built them beside the test's own.
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where a program of the workspace is. Panics when it is missing or older than its sources, because a test of
/// yesterday's program proves nothing.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the test's own program");
    // target/PROFILE/deps/TEST
    let folder = own.parent().and_then(Path::parent).expect("a target directory");
    let program = folder.join(name);
    let Some(built) = modified(&program) else {
        panic!("{} is missing: run `cargo build --workspace` first", program.display());
    };
    // Cargo's list of what the program was made from.
    let sources = fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let sources = sources.split_once(": ").map(|(_, sources)| sources).unwrap_or_default();
    let newer = sources.split_whitespace().find(|source| modified(Path::new(source)).is_some_and(|at| at > built));
    if let Some(source) = newer {
        panic!("{name} is older than {source}: run `cargo build --workspace` first");
    }
    program
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}
