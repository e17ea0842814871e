//! What a service is, as data. Nothing here acts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One process that is kept running, or one task that is run to its end.
#[derive(Clone)]
pub struct Service {
    /// Unique in its set; shown in logs, tables and errors.
    pub name: String,
    /// Whether the process is meant to stay or to finish.
    pub kind: Kind,
    /// Run one after the other, each to exit status 0, before every start of `command`. They are stopped like
    /// `command` is, and what they print is logged under the service's name.
    pub before: Vec<Command>,
    /// The main process.
    pub command: Command,
    /// Services that must be ready (daemons) or finished (tasks) before this one is started.
    pub needs: Vec<String>,
    /// What happens to this service when one that it needs goes away and comes back.
    pub on_dependency: OnDependency,
    /// Asked until it says yes; `None` means ready as soon as the process exists. Ignored for tasks.
    pub ready: Option<Arc<dyn Probe>>,
    /// Asked for as long as the service is ready; restarts it when it fails for too long. Never for a database.
    pub alive: Option<Alive>,
    /// Signals to the main process, each with the time it is given; SIGKILL to every descendant follows.
    pub stop: Vec<StopStep>,
    /// When and how fast a dead process is started again.
    pub restart: Restart,
    /// Exit statuses that count as a clean end after a stop was asked for; for a task, also without.
    pub success: Vec<i32>,
    /// Exit statuses, of `before` or of `command`, after which another try can't help: the service fails at once.
    pub hopeless: Vec<i32>,
    /// Where it can be reached, for people (`127.0.0.1:9000`).
    pub address: Option<String>,
    /// `oom_score_adj` of the main process; `None` leaves it as inherited.
    pub oom_score_adj: Option<i32>,
    /// Soft limit of open files.
    pub open_files: u64,
    /// Limit of each process' own memory in bytes (`RLIMIT_DATA`): past it an allocation fails; `None` for none of ours.
    pub memory: Option<u64>,
}

/// Whether a process is meant to stay or to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Kept running.
    Daemon,
    /// Run once to a clean end; what needs it waits for that.
    Task,
}

/// A program and everything it inherits: nothing else reaches it.
#[derive(Clone, Debug)]
pub struct Command {
    /// Absolute path.
    pub program: PathBuf,
    /// Arguments without the program's own name. Never a secret: they are public on the machine.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: BTreeMap<OsString, OsString>,
    /// Working directory.
    pub dir: PathBuf,
    /// Who it runs as; `None` for the supervisor's own user.
    pub user: Option<User>,
    /// What it may reach of what its user may; `None` for all of it.
    pub confinement: Option<Confinement>,
}

/// What a process and all that it starts may reach. The rest is closed as far as the kernel can (see [`super::gaps`]): files,
/// TCP ports, other processes (signals, memory, environment) and abstract unix sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Files, and directories with all that is below. Looked up at each start; what is not there is left out.
    pub files: Vec<(PathBuf, Reach)>,
    /// TCP ports on which it may listen.
    pub listen: Vec<u16>,
    /// TCP ports, of whatever host, to which it may connect; `None` for all.
    pub connect: Option<Vec<u16>>,
    /// It needs no unix sockets, no memory shared by name (System V), and none of the calls that reach into other processes,
    /// change modes and owners of files, or change the system.
    pub plain: bool,
    /// Of a plain one: whether it may send datagrams (UDP), which no rule about ports holds back. Without them it can't ask for
    /// the addresses of hosts.
    pub datagrams: bool,
    /// Of a plain one: whether it may make unix sockets all the same.
    pub unix: bool,
}

/// What may be done with a file, or what is below a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Read and run.
    Run,
    /// Read, write, make and remove, but not run.
    Change,
}

/// A user by number, so that no passwd entry is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups; an empty list drops them all.
    pub groups: Vec<u32>,
}

/// A question to a running service, answered by a real request in the service's own protocol.
///
/// It is called on a thread of its own, at most one at a time for a service. It must not start processes.
pub trait Probe: Send + Sync {
    /// `Ok` for yes; otherwise what was wrong, in a few words, for the status line. Never a secret.
    fn check(&self, patience: Duration) -> Result<(), String>;
}

impl<F> Probe for F
where
    F: Fn(Duration) -> Result<(), String> + Send + Sync,
{
    fn check(&self, patience: Duration) -> Result<(), String> {
        self(patience)
    }
}

/// How a ready service is watched.
#[derive(Clone)]
pub struct Alive {
    /// The question.
    pub probe: Arc<dyn Probe>,
    /// Time between two questions.
    pub every: Duration,
    /// Longest wait for an answer.
    pub patience: Duration,
    /// Restart after this many failures in a row.
    pub failures: u32,
}

/// What a dependency's restart means for a service that needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDependency {
    /// It copes by itself.
    Keep,
    /// It is stopped, and started again once the dependency is ready.
    Restart,
}

/// A signal and the time the main process is given to end after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopStep {
    /// Signal number.
    pub signal: i32,
    /// Time before the next step.
    pub patience: Duration,
}

/// Exponential back-off with full jitter on the monotonic clock, and a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restart {
    /// Upper bound of the first delay; it doubles with every further death.
    pub first: Duration,
    /// Upper bound of every delay.
    pub cap: Duration,
    /// Having been ready this long forgets earlier deaths.
    pub reset_after: Duration,
    /// Deaths before "stable" within `window` after which the whole set gives up; 0 for a service that must not die.
    pub limit: u32,
    /// See `limit`.
    pub window: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Restart {
            first: Duration::from_millis(250),
            cap: Duration::from_secs(30),
            reset_after: Duration::from_secs(10),
            limit: 10,
            window: Duration::from_secs(600),
        }
    }
}
