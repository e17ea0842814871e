//! A process supervisor that knows nothing of FlowKit: services are data ([`Service`]), the rest is behaviour.
//!
//! ```text
//! guard        passes signals down and systemd's messages up; when the supervisor is gone, ends all that is left
//!   supervisor   one main loop (engine) that forks, reaps, signals; threads for logs, probes, clients
//!     services     each in a session of its own, with a written environment and four descriptors
//! ```
//!
//! The rules are in `set` and `machine`, which touch neither clock nor process and are tested by millions of random
//! steps; `engine` acts on what they decide. What keeps the promise that nothing is left behind, whatever is killed with
//! SIGKILL: a death signal in each service (`child`), the guard, and two marks that every descendant inherits (`lock`, `walk`).
//!
//! Start it with [`supervise`] (in the foreground, as PID 1, under systemd) or [`spawn_detached`]; ask it with [`client`].

// A dependency that nothing uses. Tests have some more, and each of their programs uses but a few.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

mod child;
pub mod client;
mod confine;
mod control;
mod detach;
mod engine;
mod error;
mod exit;
mod glance;
mod guard;
mod listener;
mod lock;
mod log;
mod machine;
#[cfg(test)]
mod model;
mod notify;
mod oom;
mod options;
mod process;
mod service;
mod set;
mod status;
mod sys;
pub mod system;
mod view;
mod walk;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Pid, Signal, set_child_subreaper, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, CapabilitySets};

pub use client::Stopped;
pub use confine::{confine_self, gaps, stay_visible};
pub use detach::spawn_detached;
use engine::{Engine, Parts};
pub use error::Error;
pub use glance::glance;
pub use guard::clear as end_descendants;
pub use listener::{connect_to_own, connect_to_user};
pub use options::{LogFormat, LogTarget, Options, Outcome};
use say::tell;
pub use service::{Alive, Command, Confinement, Kind, OnDependency, Probe, Reach, Restart, Service, StopStep, User};
pub use status::{ServiceState, ServiceStatus, Status};
pub use sys::Acting;
pub use walk::{Seen, descendants};

/// Runs the services until they are asked to stop or can't be kept up. The calling process becomes the guard.
///
/// It must be called before the first thread is started, because it forks. The first SIGTERM, SIGINT, SIGQUIT or SIGHUP
/// (unless it was ignored, as under `nohup`) stops everything in order; a second one shortens the time for that, a third
/// one kills.
///
/// # Errors
/// When the directory is taken, the services make no sense or the system refuses something. Nothing has been started then.
pub fn supervise(services: Vec<Service>, options: Options) -> Result<Outcome, Error> {
    Prepared::new(services, options)?.run()
}

/// Everything that can fail, done; nothing started.
struct Prepared {
    services: Vec<Service>,
    options: Options,
    set: set::Set,
    locks: lock::Locks,
    socket: control::Socket,
    outlet: log::Outlet,
    since: String,
}

impl Prepared {
    fn new(services: Vec<Service>, options: Options) -> Result<Prepared, Error> {
        sys::close_on_exec_from(3);
        let options = options.absolute().map_err(Error::system("find the working directory"))?;
        let set = set::Set::new(&services, options.budget, Box::new(rand::random::<u64>))?;
        control::check_length(&options.state.join(control::SOCKET))?;
        let since = log::stamp(time::OffsetDateTime::now_utc());
        let locks = lock::take(&options.state, &since, lock::CLEARING)?;
        let outlet = log::Outlet::open(&options.log).map_err(|source| match &options.log {
            LogTarget::Stdout => Error::System { action: "open the log", source },
            LogTarget::File { path, .. } => Error::file("open", path)(source),
        })?;
        let socket = control::bind(&options.state)?;
        Ok(Prepared { services, options, set, locks, socket, outlet, since })
    }

    /// Forks into guard and supervisor; returns in the guard.
    fn run(self) -> Result<Outcome, Error> {
        harden()?;
        let ignore_hup = sys::take_over_signals().map_err(Error::system("block signals"))?;
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(Error::system("make a socket pair"))?;
        let guard_pid = std::process::id() as i32;
        match sys::fork()? {
            sys::Fork::Parent(supervisor) => {
                drop((theirs, self.socket, self.services, self.set));
                let budget = self.options.budget;
                let outcome = guard::Guard { supervisor, messages: ours, budget, ignore_hup }.run();
                lock::release(&self.locks);
                let _ = std::fs::remove_file(self.options.state.join(control::SOCKET));
                outcome
            }
            sys::Fork::Child => {
                drop(ours);
                sys::never_return(|| {
                    self.supervise(theirs, guard_pid, ignore_hup).unwrap_or_else(|error| {
                        tell!("supervisor: {error}");
                        1
                    })
                })
            }
        }
    }

    /// The supervisor's side.
    fn supervise(self, guard: OwnedFd, guard_pid: i32, ignore_hup: bool) -> std::io::Result<u8> {
        // A terminal's Ctrl-C is for the guard, which passes it on once.
        rustix::process::setsid()?;
        // Not inherited by fork: the guard has its own.
        set_child_subreaper(Pid::from_raw(1))?;
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(guard_pid) {
            return Ok(1);
        }
        let names: Vec<String> = self.services.iter().map(|service| service.name.clone()).collect();
        let log = Arc::new(log::Log::start(&names, self.outlet, self.options.format)?);
        log::listen(&log)?;
        if self.locks.cleared > 0 {
            tracing::warn!("ended {} processes that an earlier run had left behind", self.locks.cleared);
        }
        if !self.locks.strangers.is_empty() {
            let who = &self.locks.strangers;
            tracing::warn!(
                "the lock of the services was in the hands of processes that are none of ours, left alone: {who:?}"
            );
        }
        let status = Status {
            ready: false,
            stopping: false,
            since: self.since,
            supervisor: std::process::id(),
            guard: guard_pid as u32,
            services: Vec::new(),
            facts: self.options.facts,
            lines_lost: 0,
            log_trouble: None,
        };
        let alive = self.locks.alive.try_clone()?;
        let mut engine = Engine::new(Parts {
            processes: process::Processes::new(self.services.len(), child::raise(alive)?, self.locks.cookie)?,
            services: self.services,
            set: self.set,
            log: log.clone(),
            guard,
            guard_pid,
            ignore_hup,
            status,
        })?;
        control::start(
            self.socket,
            self.locks.place,
            control::Desk { status: engine.status(), log, mailbox: engine.mailbox() },
        )?;
        Ok(engine.run())
    }
}

/// Neither our memory, where probes keep passwords, nor our core is for others; orphans of the services come to us.
fn harden() -> Result<(), Error> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Error::system("hide the process's memory"))?;
    let no_core = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, no_core).map_err(Error::system("forbid core files"))?;
    set_child_subreaper(Pid::from_raw(1)).map_err(Error::system("become the reaper of orphans"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    give_up_capabilities()
}

/// What root's supervisor needs: to become the services' users and signal them, to take their capabilities and set their
/// limits, and to reach the files of its own directory and theirs.
const CAPABILITIES: CapabilitySet = CapabilitySet::SETUID
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SYS_RESOURCE)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER);

/// Keeps what is needed of a privileged user's rights; no program that is run from here on gets the others back.
fn give_up_capabilities() -> Result<(), Error> {
    let failed = "give up capabilities";
    let had = rustix::thread::capabilities(None).map_err(Error::system(failed))?;
    if had.permitted.is_empty() {
        return Ok(());
    }
    for capability in CapabilitySet::all().difference(CAPABILITIES).iter() {
        // Refused to those who can't: they run no program with more than they have.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let kept = CapabilitySets {
        effective: had.effective & CAPABILITIES,
        permitted: had.permitted & CAPABILITIES,
        inheritable: had.inheritable & CAPABILITIES,
    };
    rustix::thread::set_capabilities(None, kept).map_err(Error::system(failed))
}
