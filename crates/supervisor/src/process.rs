//! The processes of the services: started, signalled, and found again however they hide.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::child::{self, Inherit, Told};
use super::exit::Exit;
use super::log::Log;
use super::machine::Phase;
use super::oom::Kills;
use super::service::{Command, Service};
use super::sys;
use super::walk::{self, Cookie, Seen};

/// A pipe holds this much, so that a service rarely waits for the reader. Best effort: the system has a limit for a user.
const PIPE: usize = 1 << 20;

/// Rounds of looking and killing before the next pause.
const ROUNDS: usize = 20;

/// A service's first process, not reaped yet.
pub struct Process {
    pid: i32,
    pidfd: OwnedFd,
    phase: Phase,
    /// Tells whether the program was reached; `None` once it has.
    pipe: Option<OwnedFd>,
    failure: Option<(String, i32)>,
    /// Processes that the kernel had killed for memory when this one was started.
    oom_kills: Option<u64>,
    /// SIGKILL came from us.
    killed: bool,
}

/// All services' first processes, and the way to the others.
pub struct Processes {
    running: Vec<Option<Process>>,
    alive: OwnedFd,
    null: OwnedFd,
    cookie: Cookie,
    oom: Kills,
}

impl Processes {
    pub fn new(services: usize, alive: OwnedFd, cookie: Cookie) -> io::Result<Processes> {
        let running = (0..services).map(|_| None).collect();
        Ok(Processes { running, alive, null: child::open_null()?, cookie, oom: Kills::find() })
    }

    /// Starts a service's program and hands its output to the log.
    pub fn start(&self, i: usize, phase: Phase, service: &Service, log: &Log) -> io::Result<Process> {
        let (out_read, out_write) = output_pipe()?;
        let (err_read, err_write) = output_pipe()?;
        let inherit = Inherit {
            stdout: out_write.as_fd(),
            stderr: err_write.as_fd(),
            alive: self.alive.as_fd(),
            null: self.null.as_fd(),
            open_files: service.open_files,
            memory: service.memory.filter(|_| phase == Phase::Main),
            oom_score_adj: service.oom_score_adj.filter(|_| phase == Phase::Main),
            cookie: self.cookie.of(i),
        };
        let oom_kills = self.oom.now();
        let started = child::start(command(service, phase), &inherit)?;
        // Only we reap it, so the id is its own until then.
        let pid = Pid::from_raw(started.pid).ok_or(io::ErrorKind::NotFound)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        log.attach(i, out_read, err_read)?;
        Ok(Process {
            pid: started.pid,
            pidfd,
            phase,
            pipe: Some(started.pipe),
            failure: None,
            oom_kills,
            killed: false,
        })
    }

    /// Takes a started process on; its pipe is to be watched.
    pub fn keep(&mut self, i: usize, process: Process) -> Option<&OwnedFd> {
        self.running[i].insert(process).pipe.as_ref()
    }

    /// Called when a start's pipe has something to say. Whether the program was reached, and the pipe when it has served.
    pub fn hear(&mut self, i: usize, service: &Service) -> (bool, Option<OwnedFd>) {
        let Some(process) = &mut self.running[i] else { return (false, None) };
        let Some(pipe) = &process.pipe else { return (false, None) };
        match child::told(pipe.as_fd(), command(service, process.phase)) {
            Told::Nothing => (false, None),
            Told::Reached => (true, process.pipe.take()),
            Told::Failed(step, errno) => {
                process.failure = Some((step, errno));
                (false, process.pipe.take())
            }
        }
    }

    /// The service whose first process this is.
    pub fn place(&self, pid: i32) -> Option<usize> {
        self.running.iter().position(|process| process.as_ref().is_some_and(|process| process.pid == pid))
    }

    /// How a first process ended, with what only we know about it.
    pub fn exit(&self, i: usize, exit: Exit, services: &[Service]) -> Exit {
        let Some(process) = &self.running[i] else { return exit };
        let late = || match child::told(process.pipe.as_ref()?.as_fd(), command(&services[i], process.phase)) {
            Told::Failed(step, errno) => Some((step, errno)),
            _ => None,
        };
        if let Some((step, errno)) = process.failure.clone().or_else(late) {
            return Exit::NotStarted { step, errno };
        }
        let grown = || matches!((process.oom_kills, self.oom.now()), (Some(before), Some(after)) if after > before);
        match exit {
            Exit::Signal(libc::SIGKILL) if !process.killed && grown() => Exit::OutOfMemory,
            exit => exit,
        }
    }

    /// The first process was reaped. Its pipe, when it had not served.
    pub fn forget(&mut self, i: usize) -> Option<OwnedFd> {
        self.running[i].take()?.pipe
    }

    /// Whether what runs of a service is a step before its start.
    pub fn is_step(&self, i: usize) -> bool {
        self.running[i].as_ref().is_some_and(|process| process.phase != Phase::Main)
    }

    pub fn pids(&self) -> Vec<Option<u32>> {
        self.running.iter().map(|process| process.as_ref().map(|process| process.pid as u32)).collect()
    }

    /// Signals a service's first process, and only that.
    pub fn signal(&self, i: usize, signal: i32) {
        if let Some(process) = &self.running[i] {
            sys::signal(process.pidfd.as_fd(), signal);
            // A stopped process would not see it.
            sys::signal(process.pidfd.as_fd(), libc::SIGCONT);
        }
    }

    /// Everything that descends from a service and lives.
    ///
    /// What hangs on another service's first process is that one's; what hangs on the supervisor itself is an orphan and
    /// goes by its cookie. An orphan without one (its program set the limit) goes to nobody until the set is cleared.
    pub fn of(&self, i: usize) -> Vec<Seen> {
        let me = std::process::id() as i32;
        let mut all = walk::descendants(me);
        all.retain(|seen| !seen.zombie && self.owner(seen) == Some(i));
        all
    }

    fn owner(&self, seen: &Seen) -> Option<usize> {
        self.place(seen.top).or_else(|| self.cookie.service(seen.top))
    }

    /// SIGKILL to everything that descends from a service, until a look finds nothing new.
    pub fn kill_all(&mut self, i: usize) {
        if let Some(process) = &mut self.running[i] {
            process.killed = true;
        }
        for _ in 0..ROUNDS {
            let found = self.of(i);
            if found.is_empty() {
                return;
            }
            walk::kill(&found);
        }
    }
}

fn command(service: &Service, phase: Phase) -> &Command {
    match phase {
        Phase::Before(step) => &service.before[step],
        Phase::Main => &service.command,
    }
}

/// Non-blocking at our end only: the flag belongs to the end, and a service must not see it at its own.
fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK)?;
    let _ = fcntl_setpipe_size(&write, PIPE);
    Ok((read, child::raise(write)?))
}
