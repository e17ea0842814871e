//! Why a supervisor could not be started or asked.

use std::io;
use std::path::{Path, PathBuf};

/// Why a supervisor could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody supervises this directory already. Going on would start every service twice, on the same data.
    #[error("already running under {}: process {pid}, since {since}", dir.display())]
    AlreadyRunning {
        /// The directory with the lock.
        dir: PathBuf,
        /// The holder, as it named itself in the lock file; 0 when the file says nothing yet.
        pid: u32,
        /// RFC 3339, or `unknown`.
        since: String,
    },
    /// Processes that an earlier supervisor left behind could not be ended. Starting beside them could damage data.
    #[error("processes of an earlier run still hold {} and do not end: {pids:?}", path.display())]
    Survivors {
        /// The lock that they hold.
        path: PathBuf,
        /// Their process ids.
        pids: Vec<u32>,
    },
    /// The set of services makes no sense.
    #[error("the set of services is wrong: {0}")]
    Services(String),
    /// A socket's path would not fit into its address.
    #[error("{} is {} bytes long and a socket's path may have 107: choose a shorter directory", path.display(), path.as_os_str().len())]
    PathTooLong {
        /// The path of the socket.
        path: PathBuf,
    },
    /// Forking a process that has threads would leave locks held for ever in the child.
    #[error("the supervisor must be started before the first thread, and there are {0}")]
    Threads(usize),
    /// A file could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// A verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system refused something that the supervisor can't do without.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Nothing runs there.
    #[error("nothing is running under {}", dir.display())]
    NotRunning {
        /// The directory that was asked.
        dir: PathBuf,
    },
    /// It holds its lock, and nobody listens at its socket.
    #[error(
        "process {pid} (since {since}) holds {}, and does not listen at its control socket: it may be stopping; \
         `kill {pid}` stops everything in order",
        dir.display()
    )]
    Deaf {
        /// The directory that was asked.
        dir: PathBuf,
        /// The holder of the lock.
        pid: u32,
        /// RFC 3339.
        since: String,
    },
    /// The running supervisor said no.
    #[error("refused: {0}")]
    Refused(String),
    /// It did not answer as it should.
    #[error("the supervisor under {} gave no usable answer", dir.display())]
    Answer {
        /// The directory that was asked.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was still running when patience ended.
    #[error("the supervisor under {} (process {pid}) is still stopping after {seconds} s", dir.display())]
    StillRunning {
        /// The directory that was asked.
        dir: PathBuf,
        /// Its process id.
        pid: u32,
        /// How long it was given.
        seconds: u64,
    },
    /// What a detached start wrote before it failed.
    #[error("{0}")]
    Detached(String),
}

impl Error {
    /// Whether the caller's user asked for something that can't be (exit status 2), not a failure (1).
    pub fn is_mistake(&self) -> bool {
        matches!(self, Error::AlreadyRunning { .. } | Error::PathTooLong { .. })
    }

    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::File { action, path, source }
    }

    pub(super) fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Error {
        move |source| Error::System { action, source: source.into() }
    }
}
