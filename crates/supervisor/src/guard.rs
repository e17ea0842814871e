//! The guard: a small process above the supervisor that outlives it by the time it takes to clear up.
//!
//! It has one thread, starts nothing, and knows four things: to pass signals down, to pass messages for systemd up, to end
//! every descendant once the supervisor is gone, and to end with its status. The supervisor asks the kernel for SIGTERM
//! at the guard's death, so whichever of the two is killed, the other one clears up.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;

use super::error::Error;
use super::exit::Exit;
use super::options::Outcome;
use super::sys::{self, Signals};
use super::{notify, walk};

/// Past the stop budget the supervisor must be stuck, and is killed.
const OVERTIME: Duration = Duration::from_secs(5);

/// The guard's view of the supervisor.
pub struct Guard {
    pub supervisor: i32,
    /// Messages from the supervisor: `N` for systemd, `E` with the reason of its end.
    pub messages: OwnedFd,
    pub budget: Duration,
    pub ignore_hup: bool,
}

impl Guard {
    /// Runs until nothing is left below.
    pub fn run(self) -> Result<Outcome, Error> {
        let mut signals = Signals::new().map_err(Error::system("read signals"))?;
        let pid = Pid::from_raw(self.supervisor).ok_or_else(|| Error::Services("no supervisor".into()))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(Error::system("hold the supervisor"))?;
        let mut message = None;
        let mut kill_at = None;
        let exit = loop {
            wait(&signals, &self.messages, kill_at);
            self.relay(&mut message);
            let mut ended = None;
            while let Some(signal) = signals.next() {
                match signal {
                    libc::SIGCHLD => ended = ended.or(self.reap()),
                    libc::SIGHUP if self.ignore_hup => {}
                    // systemd's watchdog: the supervisor stands still.
                    libc::SIGABRT => drop(sys::signal(pidfd.as_fd(), libc::SIGKILL)),
                    libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP => {
                        sys::signal(pidfd.as_fd(), signal);
                        kill_at.get_or_insert(sys::now() + self.budget + OVERTIME);
                    }
                    _ => {}
                }
            }
            if let Some(exit) = ended {
                break exit;
            }
            if kill_at.is_some_and(|at| sys::now() >= at) {
                sys::signal(pidfd.as_fd(), libc::SIGKILL);
            }
        };
        self.relay(&mut message);
        clear();
        Ok(outcome(exit, message))
    }

    /// Reaps everything; how the supervisor ended, if it did.
    fn reap(&self) -> Option<Exit> {
        let mut ended = None;
        while let Some((pid, exit)) = sys::next_ended() {
            if pid == self.supervisor {
                ended = Some(exit);
            }
            sys::reap(pid);
        }
        ended
    }

    fn relay(&self, message: &mut Option<String>) {
        let mut record = vec![0u8; 64 << 10];
        let flags = rustix::net::RecvFlags::DONTWAIT;
        while let Ok((n @ 1.., _)) = rustix::net::recv(&self.messages, &mut record[..], flags) {
            match record[0] {
                b'N' => notify::send(&record[1..n]),
                _ => *message = Some(String::from_utf8_lossy(&record[1..n]).into_owned()),
            }
        }
    }
}

fn wait(signals: &Signals, messages: &OwnedFd, kill_at: Option<Duration>) {
    let mut fds = [PollFd::new(signals, PollFlags::IN), PollFd::new(messages, PollFlags::IN)];
    let timeout = kill_at.and_then(|at| Timespec::try_from(at.saturating_sub(sys::now())).ok());
    // When the supervisor is gone its end of the socket hangs up; SIGCHLD is there then, or within microseconds.
    let _ = poll(&mut fds, timeout.as_ref());
}

/// Kills every descendant of this process until none is left. As their subreaper, which it has to be, we inherit the orphans, so that none
/// can slip away.
pub fn clear() {
    let me = std::process::id() as i32;
    let mut pause = Duration::from_millis(1);
    loop {
        while let Some((pid, _)) = sys::next_ended() {
            sys::reap(pid);
        }
        let left = walk::descendants(me);
        if left.is_empty() {
            return;
        }
        walk::kill(&left);
        std::thread::sleep(pause);
        // What is in the middle of a system call on a dead disk ends when that does.
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

fn outcome(exit: Exit, message: Option<String>) -> Outcome {
    let status = exit.status();
    let message = message.or_else(|| match exit {
        Exit::Code(0 | 130) => None,
        exit => Some(format!("the supervisor itself ended: {exit}; everything it had started was ended too")),
    });
    Outcome { status, message }
}
