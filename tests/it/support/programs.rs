//! Our programs where every user may start them.
//!
//! Tests that run as root start services as somebody else, and root's checkout may be closed to others.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::deployment::copy_program;

/// The program under test.
pub fn flowkit() -> PathBuf {
    open_to_all(Path::new(env!("CARGO_BIN_EXE_flowkit")))
}

/// FlowAPI, built beside it.
pub fn flowapi() -> PathBuf {
    beside("flowapi")
}

/// FlowAuth, likewise.
pub fn flowauth() -> PathBuf {
    beside("flowauth")
}

/// AutoFlow, likewise.
pub fn autoflow() -> PathBuf {
    beside("autoflow")
}

fn beside(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_flowkit")).with_file_name(name);
    assert!(program.exists(), "{} is missing; `cargo build -p {name}`", program.display());
    open_to_all(&program)
}

/// The program itself when everybody can reach it, else a copy of it that is kept for the next test.
pub fn open_to_all(program: &Path) -> PathBuf {
    let closed = |dir: &Path| fs::metadata(dir).unwrap().mode() & 0o001 == 0;
    if !rustix::process::geteuid().is_root() || !program.ancestors().skip(1).any(closed) {
        return program.to_owned();
    }
    let dir = PathBuf::from("/tmp/flowkit-it-programs");
    let _ = fs::DirBuilder::new().mode(0o755).create(&dir);
    let found = fs::symlink_metadata(&dir).unwrap();
    assert!(found.is_dir() && found.uid() == 0, "{} is not ours: remove it", dir.display());
    // Another build is another copy.
    let built = fs::metadata(program).unwrap();
    let name = program.file_name().unwrap().to_string_lossy();
    let copy = dir.join(format!("{name}-{}-{}", built.mtime(), built.mtime_nsec()));
    if !copy.exists() {
        let new = dir.join(format!(".{name}-{}-{:?}", std::process::id(), std::thread::current().id()));
        copy_program(program, &new);
        fs::rename(&new, &copy).unwrap();
    }
    copy
}
