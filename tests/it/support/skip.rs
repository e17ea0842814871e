//! Tests that can't run here say so where it is counted: a runner shows nothing of what a passed test says.

use std::fs::File;
use std::io::Write;

/// What a test may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// To be root.
    Root,
    /// Leave to mount file systems.
    Mounts,
    /// A Docker engine, which `FLOWKIT_SKIP_DOCKER=1` does without.
    Docker,
    /// A checkout of nixpkgs' lib, which a person names with `NIXPKGS_LIB`.
    NixpkgsLib,
}

impl Lack {
    /// Whether CI has it, so that nothing may be skipped there.
    fn in_ci(self) -> bool {
        self != Lack::NixpkgsLib
    }
}

/// Says that this test is skipped, and why: in the file `FLOWKIT_TEST_SKIPS` names, which `scripts/test.sh` counts.
///
/// With `FLOWKIT_CI=1` it fails instead, unless CI can't have what is lacking.
#[track_caller]
pub fn skip(lack: Lack, reason: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("a test"));
    let in_ci = std::env::var_os("FLOWKIT_CI").is_some_and(|value| value == "1");
    assert!(!(in_ci && lack.in_ci()), "{line}and FLOWKIT_CI=1 says that {lack:?} is to be had here");
    say::tell!("{}", line.trim_end());
    if let Some(path) = std::env::var_os("FLOWKIT_TEST_SKIPS") {
        // One write: lines of tests that run at the same time don't mix.
        let file = File::options().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .unwrap_or_else(|error| panic!("FLOWKIT_TEST_SKIPS is {}: {error}", path.display()));
    }
}
