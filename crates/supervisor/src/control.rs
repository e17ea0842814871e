//! The control socket: one thread that answers clients and can't hold up the supervisor.
//!
//! A client sends one JSON line and gets one back. Only our own user and root are listened to, and nothing that we have
//! started; connections, the length of a request and the time for it are bounded. Status is copied from what the main loop has
//! published last.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Pid;
use rustix::time::Timespec;

use super::engine::{Mailbox, Message};
use super::error::Error;
use super::lock::Place;
use super::log::Log;
use super::status::{Reply, Request, Status};
use super::walk;

/// Clients at the same time; the oldest has to go for one more, so that silent ones keep nobody out.
const CLIENTS: usize = 64;

/// Longest request in bytes.
const REQUEST: usize = 4096;

/// Time for a client to send its request and take the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Name of the socket in the state directory.
pub const SOCKET: &str = "control.sock";

/// Time between two looks whether socket, directory and lock are still there.
const LOOK: Duration = Duration::from_millis(500);

/// A bound socket.
pub struct Socket {
    fd: OwnedFd,
    /// Device and number of the file that is its name.
    number: Option<(u64, u64)>,
}

/// Binds the socket: under a name of its own first, then moved over whatever a crash has left. The caller holds the lock.
pub fn bind(dir: &Path) -> Result<Socket, Error> {
    let path = dir.join(SOCKET);
    let temporary = dir.join("control.new");
    check_length(&path)?;
    let _ = std::fs::remove_file(&temporary);
    let bind = || -> io::Result<Socket> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&temporary)?)?;
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))?;
        rustix::net::listen(&socket, 128)?;
        let number = number(&temporary);
        std::fs::rename(&temporary, &path)?;
        Ok(Socket { fd: socket, number })
    };
    bind().map_err(Error::file("bind the socket", &path))
}

fn number(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Refuses a path that the kernel would cut or reject.
pub fn check_length(path: &Path) -> Result<(), Error> {
    // The temporary name is no longer than the final one.
    match path.as_os_str().len() {
        0..=107 => Ok(()),
        _ => Err(Error::PathTooLong { path: PathBuf::from(path) }),
    }
}

/// What the thread answers from.
pub struct Desk {
    pub status: Arc<Mutex<Status>>,
    pub log: Arc<Log>,
    pub mailbox: Mailbox,
}

struct Client {
    fd: OwnedFd,
    request: Vec<u8>,
    reply: Vec<u8>,
    sent: usize,
    until: Instant,
}

/// What becomes of a client after a look at it.
#[derive(PartialEq)]
enum Fate {
    Stays,
    Goes,
}

/// Starts the thread; it ends with the process.
pub fn start(socket: Socket, place: Place, desk: Desk) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("control".into()).stack_size(256 << 10);
    thread.spawn(move || serve(&mut Door { socket, place, trouble: false }, &desk)).map(drop)
}

/// Where clients come in: kept open whatever is removed from the file system.
struct Door {
    socket: Socket,
    place: Place,
    /// The last look failed, which is told once.
    trouble: bool,
}

impl Door {
    fn look(&mut self) {
        let renewed = self.place.renew().and_then(|renewed| {
            if self.socket.number == number(&self.place.dir().join(SOCKET)) {
                return Ok(renewed);
            }
            self.socket = bind(self.place.dir())?;
            Ok(true)
        });
        match renewed {
            Ok(renewed) => {
                if renewed {
                    tracing::warn!("made anew what was removed of {}", self.place.dir().display());
                }
                self.trouble = false;
            }
            Err(error) => {
                if !self.trouble {
                    let why = std::error::Error::source(&error).map_or(String::new(), |why| format!(": {why}"));
                    tracing::error!("no client can reach the supervisor: {error}{why}");
                }
                self.trouble = true;
            }
        }
    }
}

fn serve(door: &mut Door, desk: &Desk) {
    let mut clients: Vec<Client> = Vec::new();
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() >= LOOK {
            door.look();
            looked = Instant::now();
        }
        let listener = &door.socket.fd;
        let ready = wait(listener, &clients);
        let now = Instant::now();
        let mut at = 0;
        clients.retain_mut(|client| {
            at += 1;
            let fate = if ready.get(at).copied().unwrap_or(false) { client.attend(desk) } else { Fate::Stays };
            fate == Fate::Stays && now < client.until
        });
        if ready.first().copied().unwrap_or(false) {
            accept(listener, &mut clients);
        }
    }
}

/// Waits for the listener or a client; which of them are ready, the listener first.
fn wait(listener: &OwnedFd, clients: &[Client]) -> Vec<bool> {
    let mut fds = vec![PollFd::new(listener, PollFlags::IN)];
    for client in clients {
        fds.push(PollFd::new(&client.fd, if client.reply.is_empty() { PollFlags::IN } else { PollFlags::OUT }));
    }
    let soonest = clients.iter().map(|client| client.until).min();
    let left = soonest.map_or(LOOK, |at| at.saturating_duration_since(Instant::now()).min(LOOK));
    let timeout = Timespec::try_from(left).ok();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => fds.iter().map(|fd| !fd.revents().is_empty()).collect(),
        Err(_) => {
            std::thread::sleep(Duration::from_millis(10));
            Vec::new()
        }
    }
}

fn accept(listener: &OwnedFd, clients: &mut Vec<Client>) {
    // At most so many at a time, or a flood of them would keep those who were accepted from being heard.
    for _ in 0..CLIENTS / 2 {
        let Ok(fd) = rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) else { return };
        if super::sys::peer(fd.as_fd()).is_some_and(|(pid, uid)| is_welcome(pid, uid)) {
            let until = Instant::now() + PATIENCE;
            if clients.len() == CLIENTS {
                clients.remove(0);
            }
            clients.push(Client { fd, request: Vec::new(), reply: Vec::new(), sent: 0, until });
        }
    }
}

/// A service may be of our own user, and has no say here. What it has started descends from us for as long as it lives;
/// who is gone already waits for no answer.
fn is_welcome(pid: i32, uid: u32) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    // A process outside of our namespace is nobody's that we have started, and has no number here. One that is there and can't be
    // looked at is a client of root's that has become us, where `/proc` hides such processes (ProtectProc of a unit). There a service
    // could hide itself as well: it then commands the supervisor of its own role, which is all that a unit's supervisor has.
    let is_there = || {
        Pid::from_raw(pid).is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
    };
    (uid == ours || uid == 0)
        && (pid == 0 || walk::descends(pid, std::process::id() as i32).map_or_else(is_there, |descends| !descends))
}

impl Client {
    fn attend(&mut self, desk: &Desk) -> Fate {
        if self.reply.is_empty() {
            let mut bytes = [0u8; REQUEST];
            match rustix::io::read(&self.fd, &mut bytes) {
                Ok(0) => return Fate::Goes,
                Ok(n) => self.request.extend_from_slice(&bytes[..n]),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Fate::Stays,
                Err(_) => return Fate::Goes,
            }
            if let Some(end) = self.request.iter().position(|byte| *byte == b'\n') {
                self.reply = answer(&self.request[..end], desk);
            } else if self.request.len() >= REQUEST {
                self.reply = line(&Reply::Refused(format!("a request is one line of at most {REQUEST} bytes")));
            } else {
                return Fate::Stays;
            }
        }
        match rustix::net::send(&self.fd, &self.reply[self.sent..], rustix::net::SendFlags::NOSIGNAL) {
            Ok(n) => self.sent += n,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => return Fate::Goes,
        }
        if self.sent == self.reply.len() { Fate::Goes } else { Fate::Stays }
    }
}

fn answer(request: &[u8], desk: &Desk) -> Vec<u8> {
    let reply = match serde_json::from_slice(request) {
        Ok(Request::Status) => Reply::Status(Box::new(desk.status())),
        Ok(Request::Stop) => {
            desk.mailbox.send(Message::Stop);
            Reply::Done
        }
        Ok(Request::Restart { service }) => {
            let status = desk.status();
            match status.services.iter().position(|known| known.name == service) {
                _ if status.stopping => Reply::Refused("everything is being stopped".to_owned()),
                None => Reply::Refused(format!("there is no service {service:?}")),
                Some(i) => {
                    desk.mailbox.send(Message::Restart(i));
                    Reply::Done
                }
            }
        }
        Err(error) => Reply::Refused(format!("not a request: {error}")),
    };
    line(&reply)
}

fn line(reply: &Reply) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(reply).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

impl Desk {
    fn status(&self) -> Status {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (status.lines_lost, status.log_trouble) = self.log.losses();
        status
    }
}
