//! What a running supervisor tells about itself.

use serde::{Deserialize, Serialize};

/// A running supervisor and its services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Every service answers, every task is done.
    pub ready: bool,
    /// It has been asked to stop, or gave up.
    pub stopping: bool,
    /// When it was started, RFC 3339.
    pub since: String,
    /// Process id of the supervisor.
    pub supervisor: u32,
    /// Process id of its guard: the first process, and the one to signal.
    pub guard: u32,
    /// In the order in which they were given.
    pub services: Vec<ServiceStatus>,
    /// What the caller of the supervisor wanted shown.
    pub facts: serde_json::Value,
    /// Lines of log that were dropped or could not be written.
    pub lines_lost: u64,
    /// Why the log can't be written or put aside, while it can't.
    pub log_trouble: Option<String>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: ServiceState,
    /// Its running process.
    pub pid: Option<u32>,
    /// Since when it stands there, RFC 3339.
    pub since: String,
    /// Services with which it is started anew. A supervisor of an earlier version does not tell.
    #[serde(default)]
    pub follows: Vec<String>,
    /// Starts after the first.
    pub restarts: u64,
    /// Where it can be reached.
    pub address: Option<String>,
    /// What it waits for, or what was wrong at the last question.
    pub message: Option<String>,
    /// How its last process ended.
    pub last_exit: Option<String>,
}

/// Where a service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// For services that it needs.
    Waiting,
    /// It died and is started again soon.
    BackingOff,
    /// A step that comes before its start runs.
    Preparing,
    /// It runs and does not answer yet, or no more.
    Starting,
    /// It answers.
    Ready,
    /// Its processes have been asked to end.
    Stopping,
    /// By request.
    Stopped,
    /// A task that is done.
    Finished,
    /// It could not be kept up.
    Failed,
}

impl std::fmt::Display for ServiceState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            ServiceState::Waiting => "waiting",
            ServiceState::BackingOff => "backing off",
            ServiceState::Preparing => "preparing",
            ServiceState::Starting => "starting",
            ServiceState::Ready => "ready",
            ServiceState::Stopping => "stopping",
            ServiceState::Stopped => "stopped",
            ServiceState::Finished => "finished",
            ServiceState::Failed => "failed",
        })
    }
}

/// One line from a client.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Request {
    Status,
    Stop,
    Restart { service: String },
}

/// One line to a client.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reply {
    Status(Box<Status>),
    Done,
    Refused(String),
}
