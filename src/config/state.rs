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

    /// PostgreSQL's data directory.
    pub fn flowdb_data(&self) -> PathBuf {
        self.0.join("flowdb/data")
    }

    /// Where PostgreSQL puts its socket.
    pub fn flowdb_run(&self) -> PathBuf {
        self.0.join("flowdb/run")
    }

    /// redis' directory.
    pub fn redis(&self) -> PathBuf {
        self.0.join("redis")
    }

    /// FlowMachine's directory.
    pub fn flowmachine(&self) -> PathBuf {
        self.0.join("flowmachine")
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
