//! Does a server use the data directory?

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::LOCK;
use crate::Error;

/// How long what a killed start or server left behind is waited for: initdb ends by itself, and so do idle sessions.
const PATIENCE: Duration = Duration::from_secs(30);

const PID_FILE: &str = "postmaster.pid";

/// Refuses a directory in which a server runs; removes a `postmaster.pid` that is certainly stale. The lock is held.
///
/// With the lock ours, no server that was started by us runs there. The file is still believed when its pid is a
/// PostgreSQL that works in this very directory: somebody may have started one by hand. When the pid is some other
/// program (pids are small and soon used again in a restarted container), PostgreSQL would refuse to start until the
/// file is gone.
///
/// A power cut may leave the file empty or full of anything, and PostgreSQL then refuses, too. So with the lock files of
/// its socket, which are in `socket`, a directory of this data directory's own. What was removed is said.
pub fn refuse(data: &Path, socket: &Path) -> Result<Vec<String>, Error> {
    let mut removed = Vec::new();
    let of_sockets = fs::read_dir(socket).into_iter().flatten().flatten().map(|entry| entry.path());
    let of_sockets = of_sockets.filter(|path| path.to_string_lossy().ends_with(".lock"));
    for path in [data.join(PID_FILE)].into_iter().chain(of_sockets) {
        if !path.exists() {
            continue;
        }
        let Some(pid) = first_line(&path) else {
            fs::remove_file(&path).map_err(Error::file("remove the unreadable", &path))?;
            removed.push(format!("{} named no process, as after a power cut: it was removed", path.display()));
            continue;
        };
        match what_is(pid) {
            Some(process) if process.is_postgres_in(data) => return Err(in_use(data)),
            Some(process) if !process.is_postgres() => {
                fs::remove_file(&path).map_err(Error::file("remove the stale", path))?;
            }
            // Nobody, or a PostgreSQL of another directory: PostgreSQL itself knows what to do.
            _ => {}
        }
    }
    Ok(removed)
}

/// The lock of whoever works on the directory, which is ours or empty. Waits for leftovers, not for a server.
pub fn take_lock(data: &Path) -> Result<File, Error> {
    let path = data.join(LOCK);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open.map_err(Error::file("open", &path))?;
    let until = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if Instant::now() < until && !server_lives(data) => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(Errno::WOULDBLOCK) => return Err(in_use(data)),
            Err(error) => return Err(Error::file("lock", path)(error.into())),
        }
    }
}

fn server_lives(data: &Path) -> bool {
    first_line(&data.join(PID_FILE)).and_then(what_is).is_some_and(|process| process.is_postgres_in(data))
}

fn in_use(data: &Path) -> Error {
    let holder = match first_line(&data.join(PID_FILE)) {
        Some(pid) if server_lives(data) => format!("a PostgreSQL server (pid {pid})"),
        _ => "processes that a start or a server has left behind".into(),
    };
    Error::InUse { data: data.into(), holder }
}

/// A process as /proc shows it; what may not be read stays unknown.
struct Process {
    program: Option<PathBuf>,
    name: String,
    dir: Option<PathBuf>,
}

impl Process {
    fn is_postgres(&self) -> bool {
        let program = self.program.as_ref().and_then(|path| path.file_name());
        // After an upgrade of the package the kernel appends " (deleted)".
        program.map_or(self.name.as_str(), |name| name.to_str().unwrap_or_default()).starts_with("postgres")
    }

    /// A server works in its data directory. Where that can't be seen, it might.
    fn is_postgres_in(&self, data: &Path) -> bool {
        self.is_postgres() && self.dir.as_ref().is_none_or(|dir| Some(dir) == fs::canonicalize(data).ok().as_ref())
    }
}

fn what_is(pid: u32) -> Option<Process> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let name = fs::read_to_string(proc.join("comm")).ok()?.trim().to_owned();
    Some(Process { program: fs::read_link(proc.join("exe")).ok(), name, dir: fs::read_link(proc.join("cwd")).ok() })
}

/// The process that a lock file names; a negative one is a server without a postmaster.
fn first_line(path: &Path) -> Option<u32> {
    let text = fs::read(path).ok()?;
    let line = String::from_utf8_lossy(&text).lines().next()?.trim().parse::<i32>().ok()?;
    (line != 0).then(|| line.unsigned_abs())
}
