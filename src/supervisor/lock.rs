//! The two locks on a supervisor's directory.
//!
//! `supervisor.lock` is exclusive and closed on exec: *a supervisor is here*; guard and supervisor hold it. `alive.lock` is
//! shared and inherited on purpose by every service: *services are alive*. When the first is free and the second is not,
//! an earlier supervisor and its guard died together, and what they left behind must go before anything starts.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::child;
use super::error::Error;
use super::walk::{self, Cookie, Seen};

/// How long survivors of an earlier run have to vanish after SIGKILL. A process in uninterruptible I/O needs longer, and
/// then starting would be wrong.
const CLEARING: Duration = Duration::from_secs(10);

/// How long a supervisor may take to go after its guard.
const DYING: Duration = Duration::from_secs(2);

/// Held for as long as a supervisor is here.
pub struct Locks {
    /// Exclusive.
    _here: File,
    /// Shared; a duplicate goes to every service.
    pub alive: std::os::fd::OwnedFd,
    /// Marks the services of this run.
    pub cookie: Cookie,
    /// Processes of an earlier run that had to be ended.
    pub cleared: usize,
}

/// What the lock file says about its holder.
#[derive(Serialize, Deserialize, Default)]
struct Holder {
    pid: u32,
    since: String,
    cookie: u64,
}

/// Takes the directory, ending what an earlier run left behind.
pub fn take(dir: &Path, since: &str) -> Result<Locks, Error> {
    make_dir(dir)?;
    let path = dir.join("supervisor.lock");
    let mut here = open(&path)?;
    let holder = read(&mut here);
    if !lock(&here, holder.pid) {
        let since = if holder.since.is_empty() { "unknown".to_owned() } else { holder.since };
        return Err(Error::AlreadyRunning { dir: dir.to_owned(), pid: holder.pid, since });
    }
    let alive_path = dir.join("alive.lock");
    let alive = open(&alive_path)?;
    let cleared = clear(&alive, &alive_path, Cookie::from_base(holder.cookie))?;
    flock(&alive, FlockOperation::NonBlockingLockShared).map_err(|e| Error::file("lock", &alive_path)(e.into()))?;
    let cookie = Cookie::random();
    let holder = Holder { pid: std::process::id(), since: since.to_owned(), cookie: cookie.base() };
    write(&mut here, &holder).map_err(Error::file("write", &path))?;
    let alive = child::raise(alive.into()).map_err(Error::system("duplicate a descriptor"))?;
    Ok(Locks { _here: here, alive, cookie, cleared })
}

/// Takes the exclusive lock. When the guard that is named in it is gone already, its supervisor is about to go: that is
/// waited for, a little.
fn lock(file: &File, guard: u32) -> bool {
    let deadline = Instant::now() + DYING;
    loop {
        if flock(file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return true;
        }
        if walk::see(guard as i32).is_some_and(|seen| !seen.zombie) || Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Makes the directory, for its owner only.
fn make_dir(dir: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::file("make directory", dir))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
        .map_err(Error::file("close to others the directory", dir))
}

fn open(path: &Path) -> Result<File, Error> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(path).map_err(Error::file("open", path))
}

fn read(file: &mut File) -> Holder {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    serde_json::from_str(&text).unwrap_or_default()
}

fn write(file: &mut File, holder: &Holder) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(serde_json::to_string(holder)?.as_bytes())
}

/// Kills what an earlier run left behind; returns how many processes that were.
fn clear(alive: &File, path: &Path, cookie: Cookie) -> Result<usize, Error> {
    let deadline = Instant::now() + CLEARING;
    let mut killed = std::collections::HashSet::new();
    loop {
        let free = flock(alive, FlockOperation::NonBlockingLockExclusive).is_ok();
        let left = survivors(alive, cookie).map_err(Error::file("look for holders of", path))?;
        if free && left.is_empty() {
            return Ok(killed.len());
        }
        if Instant::now() > deadline {
            return Err(Error::Survivors { path: path.to_owned(), pids: left.iter().map(|s| s.pid as u32).collect() });
        }
        walk::kill(&left);
        killed.extend(left);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes, not ours, that hold the alive lock or carry the cookie.
fn survivors(alive: &File, cookie: Cookie) -> std::io::Result<Vec<Seen>> {
    let lock = alive.metadata()?;
    let me = std::process::id() as i32;
    let is_survivor =
        |pid: &i32| holds(*pid, lock.dev(), lock.ino()) || (cookie.base() != 0 && cookie.service(*pid).is_some());
    Ok(walk::all()
        .filter(|pid| *pid != me)
        .filter(is_survivor)
        .filter_map(walk::see)
        .filter(|seen| !seen.zombie)
        .collect())
}

fn holds(pid: i32, dev: u64, ino: u64) -> bool {
    let entries = fs::read_dir(PathBuf::from(format!("/proc/{pid}/fd"))).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| named_alive(path))
        .any(|path| fs::metadata(path).is_ok_and(|file| (file.dev(), file.ino()) == (dev, ino)))
}

/// Looked at first, because asking for a file's number on a dead network file system never returns.
fn named_alive(link: &Path) -> bool {
    fs::read_link(link)
        .is_ok_and(|target| target.as_os_str().as_encoded_bytes().windows(10).any(|w| w == b"alive.lock"))
}
