//! The words of the state machine: what it knows, is told, wants, and where it can stand.

use std::time::Duration;

use super::Time;
use super::probing::{Asked, Probing};
use crate::exit::Exit;
use crate::service::{Kind, OnDependency, Restart, Service, StopStep};

/// What a machine knows of its service.
#[derive(Clone, Debug)]
pub struct Policy {
    pub kind: Kind,
    pub before: usize,
    pub probed: bool,
    pub alive: Option<(Duration, Duration, u32)>,
    pub stop: Vec<StopStep>,
    pub restart: Restart,
    pub success: Vec<i32>,
    pub hopeless: Vec<i32>,
    pub on_dependency: OnDependency,
}

impl From<&Service> for Policy {
    fn from(service: &Service) -> Policy {
        Policy {
            kind: service.kind,
            before: service.before.len(),
            probed: service.ready.is_some() && service.kind == Kind::Daemon,
            alive: service.alive.as_ref().map(|alive| (alive.every, alive.patience, alive.failures)),
            stop: service.stop.clone(),
            restart: service.restart,
            success: service.success.clone(),
            hopeless: service.hopeless.clone(),
            on_dependency: service.on_dependency,
        }
    }
}

/// Which program of a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The step of `before` with this number.
    Before(usize),
    /// The main process.
    Main,
}

/// Where a service stands.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// For its dependencies. `spread` after one of them took it down.
    Waiting { spread: bool },
    /// Until a moment, after a death or to spread the load.
    Delayed { until: Time },
    /// A process exists and is wanted.
    Running(Running),
    /// Processes exist and are not wanted.
    Ending(Ending),
    /// A task that is done.
    Finished,
    /// By request.
    Stopped,
    /// For good.
    Failed,
}

/// A process exists and is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    pub phase: Phase,
    /// The program of a daemon runs, so it can be asked.
    pub reached: bool,
    /// It answers.
    pub ready: bool,
    /// When it first answered.
    pub ready_since: Option<Time>,
    pub probing: Probing,
}

/// Processes exist and are not wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    pub(super) then: Then,
    /// The stop step that was taken last.
    pub(super) step: usize,
    pub(super) until: Time,
    /// The main process has not been reaped.
    pub(super) main: bool,
    pub(super) killed: bool,
}

/// What follows when nothing is left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Then {
    Stop,
    Start {
        spread: bool,
    },
    Delay(Duration),
    Fail,
    Finish,
    Next(Phase),
    /// The process is being ended as if it had died: liveness failed.
    Dead,
}

/// What a machine is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// Its dependencies are ready and it is wanted.
    Start,
    /// A dependency went away under it.
    DependencyLost,
    /// An operator wants it restarted.
    Restart,
    /// It shall stop; see [`Limit`].
    Stop,
    /// The program of this instance was reached.
    Reached,
    /// The running program ended. `left`: descendants remain.
    Exited { exit: Exit, left: bool },
    /// No descendant remains.
    Emptied,
    /// A probe's answer.
    Answered { instance: u64, ok: bool },
    /// Time has passed.
    Tick,
    /// No more patience: SIGKILL to all.
    Kill,
}

/// What is to be done for a machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start this program; nothing of the service runs.
    Spawn(Phase),
    /// To the main process.
    Signal(i32),
    /// SIGKILL to every descendant.
    KillAll,
    /// Ask; answer with this instance.
    Ask { asked: Asked, instance: u64, patience: Duration },
    /// The service can't be kept up: end the set with this.
    GiveUp(Exit),
}

/// A service's share of the time in which everything must be stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// The last of several stop steps begins now at the latest.
    pub last_step: Time,
    /// SIGKILL now at the latest.
    pub kill: Time,
}
