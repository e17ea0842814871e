//! The two locks of a supervisor.
//!
//! `DIR.lock`, beside the directory, is exclusive and closed on exec: *a supervisor is here*; guard and supervisor hold it.
//! `DIR/alive.lock` is shared and inherited on purpose by every service: *services are alive*. When the first is free and the
//! second is not, an earlier supervisor and its guard died together, and what they left behind must go before anything starts.
//!
//! Files may be removed by whoever clears up temporary ones, but not what holds them: the running supervisor makes anew what
//! is missing ([`Place::renew`]), and whoever comes in between finds its services by the names of what they hold open.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::walk::{self, Cookie, Seen};
use super::{child, client};

/// How long survivors of an earlier run have to vanish after SIGKILL. A process in uninterruptible I/O needs longer, and
/// then starting would be wrong.
pub const CLEARING: Duration = Duration::from_secs(10);

/// How long a supervisor without its lock may take to die, and its guard to clear up after it on a machine that is busy;
/// one that lives longer is there.
const DYING: Duration = Duration::from_secs(5);

/// How long a lock that only strangers hold is waited for: they may be given it, and are neither ended nor obeyed.
const STRANGERS: Duration = Duration::from_secs(1);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Held for as long as a supervisor is here.
pub struct Locks {
    /// Exclusive.
    pub place: Place,
    /// Shared; a duplicate goes to every service.
    pub alive: std::os::fd::OwnedFd,
    /// Marks the services of this run.
    pub cookie: Cookie,
    /// Processes of an earlier run that had to be ended.
    pub cleared: usize,
    /// Processes that held the services' lock and that no run of ours has started: they were left alone.
    pub strangers: Vec<i32>,
}

/// The directory and its exclusive lock.
pub struct Place {
    dir: PathBuf,
    /// The last one is the one that can be seen; the others have lost their names.
    held: Vec<File>,
    holder: Holder,
}

/// What the lock file says about its holder.
#[derive(Clone, Serialize, Deserialize, Default)]
pub struct Holder {
    /// The guard.
    pub pid: u32,
    /// RFC 3339, or empty.
    pub since: String,
    cookie: u64,
}

/// Takes the directory, ending what an earlier run left behind. A supervisor that does not answer is ending, or only
/// starting: that is waited for, up to `patience`.
pub fn take(dir: &Path, since: &str, patience: Duration) -> Result<Locks, Error> {
    let path = path(dir);
    let above = path.parent().unwrap_or(dir);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(above).map_err(Error::file("make directory", above))?;
    let deadline = Instant::now() + patience;
    let mut here = loop {
        let mut here = open(&path)?;
        let ours = flock(&here, FlockOperation::NonBlockingLockExclusive).is_ok();
        if let Some(status) = client::answers(dir) {
            return Err(Error::AlreadyRunning { dir: dir.to_owned(), pid: status.guard, since: status.since });
        }
        if ours && is_at(&here, &path) {
            break here;
        }
        if Instant::now() > deadline {
            let Holder { pid, since, .. } = read(&mut here);
            let since = if since.is_empty() { "unknown".to_owned() } else { since };
            return Err(Error::AlreadyRunning { dir: dir.to_owned(), pid, since });
        }
        std::thread::sleep(PAUSE);
    };
    make_dir(dir)?;
    let alive_path = dir.join("alive.lock");
    let (cleared, strangers) = clear(&open(&alive_path)?, &alive_path, Cookie::from_base(read(&mut here).cookie))?;
    if !strangers.is_empty() {
        // The lock goes with the file, whose holders keep what has lost its name.
        fs::remove_file(&alive_path).map_err(Error::file("remove", &alive_path))?;
    }
    let alive = open(&alive_path)?;
    flock(&alive, FlockOperation::NonBlockingLockShared).map_err(|e| Error::file("lock", &alive_path)(e.into()))?;
    let cookie = Cookie::random();
    let holder = Holder { pid: std::process::id(), since: since.to_owned(), cookie: cookie.base() };
    write(&mut here, &holder).map_err(Error::file("write", &path))?;
    let alive = child::raise(alive.into()).map_err(Error::system("duplicate a descriptor"))?;
    Ok(Locks { place: Place { dir: dir.to_owned(), held: vec![here], holder }, alive, cookie, cleared, strangers })
}

/// Who holds the directory, whether it answers or not.
pub fn holder(dir: &Path) -> Option<Holder> {
    let mut file = File::open(path(dir)).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut holder = read(&mut file);
    // What is written there could be of before; the kernel knows, where it counts processes as we do.
    if let Some(pid) = locked_by(&file) {
        holder.pid = pid;
    }
    Some(holder)
}

impl Place {
    /// Makes anew what was removed, for as long as the lock is held; whether anything was.
    ///
    /// # Errors
    /// The directory can't be made, or somebody else has taken it.
    pub fn renew(&mut self) -> Result<bool, Error> {
        let path = path(&self.dir);
        let whole = self.dir.is_dir();
        if !whole {
            make_dir(&self.dir)?;
        }
        if self.held.last().is_some_and(|file| is_at(file, &path)) {
            return Ok(!whole);
        }
        let mut file = open(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|e| Error::file("lock", &path)(e.into()))?;
        write(&mut file, &self.holder).map_err(Error::file("write", &path))?;
        self.held.push(file);
        Ok(true)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The file with the exclusive lock. It stands beside the directory, which can so be removed without it.
pub fn path(dir: &Path) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    dir.with_file_name(name)
}

/// Whether an open file is still what its path names.
fn is_at(file: &File, path: &Path) -> bool {
    let number = |meta: &fs::Metadata| (meta.dev(), meta.ino());
    let (open, named) = (file.metadata(), fs::symlink_metadata(path));
    open.is_ok_and(|open| named.is_ok_and(|named| number(&open) == number(&named)))
}

/// The process that took a lock on this file. Lines are like `7: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF`.
fn locked_by(file: &File) -> Option<u32> {
    let meta = file.metadata().ok()?;
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    let this = format!("{major:02x}:{minor:02x}:{}", meta.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let mut lines = locks.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let line = lines.find(|fields| fields.get(3) == Some(&"WRITE") && fields.get(5) == Some(&this.as_str()))?;
    line[4].parse().ok().filter(|pid| *pid != 0)
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

/// Lets go of the services' lock when none of them is left, whoever else was given it.
pub fn release(locks: &Locks) {
    let _ = flock(&locks.alive, FlockOperation::Unlock);
}

/// Kills what an earlier run left behind; returns how many processes that were, and who else holds the lock.
fn clear(alive: &File, path: &Path, cookie: Cookie) -> Result<(usize, Vec<i32>), Error> {
    let begun = Instant::now();
    let deadline = begun + CLEARING;
    let mut killed = std::collections::HashSet::new();
    loop {
        let free = flock(alive, FlockOperation::NonBlockingLockExclusive).is_ok();
        let (left, strangers) = survivors(alive, path, cookie).map_err(Error::file("look for holders of", path))?;
        if free && left.is_empty() {
            return Ok((killed.len(), Vec::new()));
        }
        let supervisor = || strangers.iter().find(|pid| is_supervisor(**pid)).and_then(|pid| u32::try_from(*pid).ok());
        if let Some(pid) = left.iter().find_map(keeper).or_else(supervisor) {
            // Their supervisor is just dying, or its lock was removed a moment ago and it takes it again.
            if Instant::now() > begun + DYING {
                let dir = path.parent().unwrap_or(path).to_owned();
                return Err(Error::AlreadyRunning { dir, pid, since: "unknown".to_owned() });
            }
            std::thread::sleep(PAUSE);
            continue;
        }
        if left.is_empty() && !strangers.is_empty() && Instant::now() > begun + STRANGERS {
            return Ok((killed.len(), strangers));
        }
        if Instant::now() > deadline {
            return Err(Error::Survivors { path: path.to_owned(), pids: left.iter().map(|s| s.pid as u32).collect() });
        }
        walk::kill(&left);
        killed.extend(left);
        std::thread::sleep(PAUSE);
    }
}

/// Whether a process is a supervisor or a guard: our program, run by our user.
fn is_supervisor(pid: i32) -> bool {
    let name = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    let user = |pid: i32| fs::metadata(format!("/proc/{pid}")).map(|meta| meta.uid()).ok();
    let me = std::process::id() as i32;
    name(pid).is_some_and(|it| Some(it) == name(me)) && user(pid) == user(me)
}

/// The supervisor or guard above a process, if one lives.
fn keeper(seen: &Seen) -> Option<u32> {
    let mut pid = seen.pid;
    while let Some(parent) = walk::parent(pid).filter(|parent| *parent > 0) {
        if is_supervisor(parent) {
            return u32::try_from(parent).ok();
        }
        pid = parent;
    }
    None
}

/// Processes that an earlier run has started: they carry its cookie, or hold the alive lock and carry the mark of a run; then
/// those that hold the lock and do not. A descriptor can be given to anybody, and who has been given it is not to be ended.
fn survivors(alive: &File, path: &Path, cookie: Cookie) -> std::io::Result<(Vec<Seen>, Vec<i32>)> {
    let lock = alive.metadata()?;
    let me = std::process::id() as i32;
    let (mut left, mut strangers) = (Vec::new(), Vec::new());
    for pid in walk::all().filter(|pid| *pid != me) {
        let carries = cookie.base() != 0 && cookie.service(pid).is_some();
        if !carries && !holds(pid, path, (lock.dev(), lock.ino())) {
            continue;
        }
        // Looked at after its marks were: a later process with the same number was started later.
        match walk::see(pid).filter(|seen| !seen.zombie) {
            Some(seen) if carries || walk::is_of_a_run(pid) => left.push(seen),
            Some(_) => strangers.push(pid),
            None => {}
        }
    }
    Ok((left, strangers))
}

/// Whether a process holds the file, or one that was removed and had its name.
fn holds(pid: i32, path: &Path, number: (u64, u64)) -> bool {
    let mut removed = path.as_os_str().to_owned();
    removed.push(" (deleted)");
    let entries = fs::read_dir(PathBuf::from(format!("/proc/{pid}/fd"))).into_iter().flatten().flatten();
    let links = entries.map(|entry| entry.path()).filter_map(|link| Some((fs::read_link(&link).ok()?, link)));
    // Looked at first, because asking for a file's number on a dead network file system never returns.
    let mut named = links.filter(|(to, _)| to.as_os_str().as_encoded_bytes().windows(10).any(|w| w == b"alive.lock"));
    named.any(|(to, link)| {
        to.as_os_str() == removed || fs::metadata(link).is_ok_and(|file| (file.dev(), file.ino()) == number)
    })
}
