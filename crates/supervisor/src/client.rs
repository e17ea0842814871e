//! Asking a running supervisor.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;

use super::control::{SOCKET, check_length};
use super::error::Error;
use super::status::{Reply, Request, Status};
use super::{lock, log, sys};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a supervisor that holds its lock may be without its socket; it looks after it twice a second.
const DEAF: Duration = Duration::from_secs(2);

/// Longest answer that is believed, in bytes.
const ANSWER: u64 = 1 << 20;

/// How a request to stop was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It was running, and is down with all that it had started.
    Now,
    /// Nothing was running. So many processes had been left behind by a run that was killed, and were ended.
    Before {
        /// How many.
        left_behind: usize,
    },
}

/// How everything stands.
pub fn status(dir: &Path) -> Result<Status, Error> {
    match ask(dir, &Request::Status)? {
        Reply::Status(status) => Ok(*status),
        reply => Err(unexpected(dir, reply)),
    }
}

/// Restarts one service, without a wait for the result.
pub fn restart(dir: &Path, service: &str) -> Result<(), Error> {
    match ask(dir, &Request::Restart { service: service.to_owned() })? {
        Reply::Done => Ok(()),
        reply => Err(unexpected(dir, reply)),
    }
}

/// Stops everything and returns when nothing is left, at most `patience` later.
pub fn stop(dir: &Path, patience: Duration) -> Result<Stopped, Error> {
    let deadline = Instant::now() + patience;
    loop {
        match status(dir) {
            Ok(status) => {
                let held = [status.guard, status.supervisor].map(hold);
                match ask(dir, &Request::Stop) {
                    Ok(Reply::Done) | Err(Error::NotRunning { .. } | Error::Deaf { .. } | Error::Answer { .. }) => {}
                    Ok(reply) => return Err(unexpected(dir, reply)),
                    Err(error) => return Err(error),
                }
                let left = |fd: &OwnedFd| !gone(fd, deadline);
                if held.iter().flatten().any(left) {
                    return Err(Error::StillRunning {
                        dir: dir.into(),
                        pid: status.supervisor,
                        seconds: patience.as_secs(),
                    });
                }
                return Ok(Stopped::Now);
            }
            Err(Error::NotRunning { .. }) if !dir.exists() && !lock::path(dir).exists() => {
                return Ok(Stopped::Before { left_behind: 0 });
            }
            // Its socket is gone for good, and its lock names the process to be signalled.
            Err(Error::Deaf { pid, .. }) => {
                if let Some(fd) = terminate(dir, pid) {
                    return match gone(&fd, deadline) {
                        true => Ok(Stopped::Now),
                        false => Err(Error::StillRunning { dir: dir.into(), pid, seconds: patience.as_secs() }),
                    };
                }
            }
            // Nobody answers. Either nobody is there, and taking the lock also clears up; or somebody just starts or ends.
            Err(Error::NotRunning { .. } | Error::Answer { .. }) => match lock::take(dir, &now(), Duration::ZERO) {
                Ok(locks) => return Ok(Stopped::Before { left_behind: locks.cleared }),
                Err(Error::AlreadyRunning { pid, .. }) if Instant::now() > deadline => {
                    return Err(Error::StillRunning { dir: dir.into(), pid, seconds: patience.as_secs() });
                }
                Err(Error::AlreadyRunning { .. }) => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
}

/// Ends what a run that was killed has left behind, and gives the number of processes. For whoever is about to start
/// and wants to look at the machine first.
///
/// # Errors
/// Somebody runs there, or starts at this moment.
pub fn clear(dir: &Path) -> Result<usize, Error> {
    Ok(lock::take(dir, &now(), lock::CLEARING)?.cleared)
}

fn now() -> String {
    log::stamp(time::OffsetDateTime::now_utc())
}

fn hold(pid: u32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid as i32)?, PidfdFlags::empty()).ok()
}

/// Waits for the end of a process; whether it came in time.
fn gone(pidfd: &OwnedFd, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Sends SIGTERM to the process that holds the lock, if it still does.
fn terminate(dir: &Path, pid: u32) -> Option<OwnedFd> {
    let fd = hold(pid)?;
    // Looked at after the descriptor was opened: still the holder, so the descriptor is its.
    let still = lock::holder(dir).is_some_and(|holder| holder.pid == pid);
    (still && super::sys::signal(fd.as_fd(), libc::SIGTERM)).then_some(fd)
}

fn ask(dir: &Path, request: &Request) -> Result<Reply, Error> {
    let path = dir.join(SOCKET);
    check_length(&path)?;
    let deadline = Instant::now() + DEAF;
    let stream = loop {
        match connect(dir) {
            Ok(stream) => break stream,
            Err(error) if !is_absent(&error) => return Err(Error::file("connect to", &path)(error)),
            Err(_) => match lock::holder(dir) {
                None => return Err(Error::NotRunning { dir: dir.into() }),
                // It starts, it ends, or it makes its socket anew.
                Some(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                Some(holder) => return Err(Error::Deaf { dir: dir.into(), pid: holder.pid, since: holder.since }),
            },
        }
    };
    talk(stream, request).map_err(|source| Error::Answer { dir: dir.into(), source })
}

/// Connects, without a wait for one who accepts nobody, to a supervisor of our own user or root's.
fn connect(dir: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let (address, until) = (SocketAddrUnix::new(dir.join(SOCKET))?, Instant::now() + PATIENCE);
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break,
            // Too many wait there already.
            Err(Errno::AGAIN) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let us = rustix::process::geteuid().as_raw();
    match sys::peer(socket.as_fd()) {
        Some((_, peer)) if peer == us || peer == 0 => {}
        peer => {
            let who = peer.map_or("nobody known".to_owned(), |(_, peer)| format!("user {peer}"));
            return Err(io::Error::other(format!("{who} answers there, who is not the one that runs the services")));
        }
    }
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Who answers there, if anybody does: a supervisor that was just killed can still be connected to.
pub(super) fn answers(dir: &Path) -> Option<Status> {
    match connect(dir).and_then(|stream| talk(stream, &Request::Status)) {
        Ok(Reply::Status(status)) => Some(*status),
        _ => None,
    }
}

/// Whether a failed connection means that nobody listens.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | NotADirectory)
}

fn talk(mut stream: UnixStream, request: &Request) -> io::Result<Reply> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER)).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&answer)?)
}

fn unexpected(dir: &Path, reply: Reply) -> Error {
    match reply {
        Reply::Refused(why) => Error::Refused(why),
        _ => Error::Answer { dir: dir.into(), source: io::ErrorKind::InvalidData.into() },
    }
}
