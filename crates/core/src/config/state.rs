//! Where a deployment on a plain host keeps its state.

use std::path::{Path, PathBuf};

/// The state directory: everything of one deployment is below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// The state directory at this path; nothing is made or looked at.
    pub fn new(root: impl Into<PathBuf>) -> StateDir {
        StateDir(root.into())
    }

    /// Where a deployment is unless `--dir` says otherwise: `/var/lib/flowkit` for root, the XDG state directory for others.
    pub fn usual() -> StateDir {
        if rustix::process::geteuid().is_root() {
            return StateDir::new("/var/lib/flowkit");
        }
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/".into())).join(".local/state");
        StateDir::new(std::env::var_os("XDG_STATE_HOME").map_or_else(home, PathBuf::from).join("flowkit"))
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The optional settings file.
    pub fn settings_file(&self) -> PathBuf {
        self.0.join("flowkit.toml")
    }

    /// The secrets, one a file.
    pub fn secrets(&self) -> PathBuf {
        self.0.join("secrets")
    }

    /// A role's own directory.
    pub fn role(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where roles that are users of their own find copies of the secrets that each of them uses, a directory each.
    pub fn credentials(&self) -> PathBuf {
        self.0.join("credentials")
    }

    /// Logs.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Control socket and locks.
    pub fn run(&self) -> PathBuf {
        self.0.join("run")
    }
}
