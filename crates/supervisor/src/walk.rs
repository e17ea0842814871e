//! Which processes descend from us, and from which service: nothing that a service started is lost from sight.
//!
//! The supervisor is a subreaper, so an orphan of a service becomes its child. Which service it came from is told by the
//! *cookie*, a value of a resource limit that Linux has not used since 2.4.25 (`RLIMIT_LOCKS`): every process inherits
//! it through fork, setsid, exec and change of user; nothing overwrites it, unlike an environment variable (PostgreSQL and
//! redis write over theirs) or a descriptor (Python's `subprocess` closes them).

use std::collections::HashSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::sys;

/// The hard limit beside every cookie, which is smaller. Without a privilege a process can lower it, but never get rid of it.
pub const MARK: u64 = 0x4000_0000_0000_0000;

/// Marks the processes of one run: the high bits say which run, the low sixteen which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie(u64);

impl Cookie {
    /// A random one, for a new run. Its top bits are clear: a limit must be a positive number of the C library.
    pub fn random() -> Cookie {
        Cookie((rand::random::<u64>() & 0x3fff_ffff_ffff_0000) | 0x1000_0000_0000_0000)
    }

    /// As it is kept in the lock file.
    pub fn from_base(base: u64) -> Cookie {
        Cookie(base & !0xffff)
    }

    /// See [`Cookie::from_base`].
    pub fn base(self) -> u64 {
        self.0
    }

    /// The value for a service, by its place in the set.
    pub fn of(self, service: usize) -> u64 {
        self.0 | (service as u64 & 0xffff)
    }

    /// The service that a process belongs to, by the mark it carries.
    pub fn service(self, pid: i32) -> Option<usize> {
        let value = limit_of_locks(pid, 0)?;
        (value & !0xffff == self.0).then_some((value & 0xffff) as usize)
    }
}

/// Whether some supervisor has started a process, or one above it, whatever it has made of its cookie.
pub fn is_of_a_run(pid: i32) -> bool {
    limit_of_locks(pid, 1).is_some_and(|hard| hard <= MARK)
}

/// `RLIMIT_LOCKS` of a process, the soft (0) or the hard one (1); `None` for no limit.
fn limit_of_locks(pid: i32, which: usize) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let values = limits.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    values.split_ascii_whitespace().nth(which)?.parse().ok()
}

/// A process as it was seen; enough to recognise it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Process id.
    pub pid: i32,
    /// The child of the root that it descends from.
    pub top: i32,
    /// When it was started, in ticks since boot: tells it from a later process with the same id.
    pub started: u64,
    /// Dead and not yet reaped.
    pub zombie: bool,
}

/// All descendants of a process, itself not among them.
pub fn descendants(root: i32) -> Vec<Seen> {
    let mut found = Vec::new();
    let mut known = HashSet::new();
    let mut todo: Vec<(i32, Option<i32>)> = vec![(root, None)];
    while let Some((parent, top)) = todo.pop() {
        for pid in children(parent) {
            if known.insert(pid)
                && let Some(stat) = stat(pid)
            {
                let top = top.unwrap_or(pid);
                found.push(Seen { pid, top, started: stat.started, zombie: stat.zombie });
                todo.push((pid, Some(top)));
            }
        }
    }
    found
}

/// Sends SIGKILL to processes seen a moment ago, unless an id has changed its owner since.
pub fn kill<'a>(processes: impl IntoIterator<Item = &'a Seen>) {
    for seen in processes {
        if !seen.zombie
            && let Some(fd) = hold(seen)
        {
            sys::signal(fd.as_fd(), libc::SIGKILL);
        }
    }
}

/// A descriptor for a process, by which it can be signalled without mistaking another for it.
pub fn hold(seen: &Seen) -> Option<OwnedFd> {
    let fd = pidfd_open(Pid::from_raw(seen.pid)?, PidfdFlags::empty()).ok()?;
    // Looked at after the descriptor was opened: still the same process, so the descriptor is its.
    (stat(seen.pid)?.started == seen.started).then_some(fd)
}

/// Looks a process up.
pub fn see(pid: i32) -> Option<Seen> {
    let stat = stat(pid)?;
    Some(Seen { pid, top: pid, started: stat.started, zombie: stat.zombie })
}

/// Whether a process descends from another one; `None` when it is gone.
pub fn descends(mut pid: i32, from: i32) -> Option<bool> {
    // A process that ends meanwhile hands its children up, so that the way gets no longer; the limit is for bugs.
    for _ in 0..1 << 16 {
        match parent(pid)? {
            parent if parent == from => return Some(true),
            0 => return Some(false),
            parent => pid = parent,
        }
    }
    None
}

/// The parent of a process.
pub fn parent(pid: i32) -> Option<i32> {
    Some(stat(pid)?.parent)
}

struct Stat {
    parent: i32,
    started: u64,
    zombie: bool,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    // The program's name may hold anything, also spaces and brackets; the last bracket ends it.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let threads: u32 = fields.nth(15)?.parse().ok()?;
    let started = fields.nth(1)?.parse().ok()?;
    // A dead first thread says little: while another one lives, so do the process's descriptors and ports.
    Some(Stat { parent, started, zombie: matches!(state, "Z" | "X") && threads <= 1 })
}

/// The children of a process, from its threads' lists; from all processes' parents where the kernel keeps no lists.
fn children(parent: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let mut listed = false;
    for task in fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
        if let Ok(text) = fs::read_to_string(task.path().join("children")) {
            listed = true;
            found.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
    }
    if !listed {
        found.extend(all().filter(|pid| stat(*pid).is_some_and(|stat| stat.parent == parent)));
    }
    found
}

/// Every process that we can see.
pub fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
