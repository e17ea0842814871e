//! Staying with a running deployment: its log on the screen, its stop on Ctrl-C.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::Timespec;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator;

use super::Failure;
use super::table::Live;

use say::tell;
use supervisor::Error;
use supervisor::client::{self, Stopped};

/// Time between two looks at the log or the status; a person can't tell it from at once.
const TICK: Duration = Duration::from_millis(100);

/// Longer than any stop takes: the supervisor kills what is left when its own budget is spent.
const PATIENCE: Duration = Duration::from_secs(300);

/// Most bytes that are read at once; a longer line is shown in parts.
const LONGEST: usize = 64 << 10;

/// The signals that ask this command to end. Caught from before the services are begun, so that none ends it and leaves them.
pub struct Signals(iterator::Signals);

/// What they have asked for.
pub struct Asked {
    /// The number of the first, or 0.
    first: Arc<AtomicI32>,
    /// `None` where the guard had ended before, or can't be held.
    guard: Option<Arc<OwnedFd>>,
}

impl Signals {
    /// Catches them; still without a thread.
    ///
    /// # Errors
    /// The system's.
    pub fn catch() -> std::io::Result<Signals> {
        let wanted =
            [SIGINT, SIGTERM, SIGQUIT, SIGHUP].into_iter().filter(|&signal| signal != SIGHUP || !is_ignored(signal));
        iterator::Signals::new(wanted).map(Signals)
    }

    /// Tells the guard of each. The first stops in order, the second shortens every grace, the third kills.
    pub fn pass_on(mut self, guard: u32) -> Asked {
        let pid = i32::try_from(guard).ok().and_then(Pid::from_raw);
        let guard = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()).map(Arc::new);
        let asked = Asked { first: Arc::default(), guard };
        let (first, guard) = (asked.first.clone(), asked.guard.clone());
        std::thread::spawn(move || {
            for signal in self.0.forever() {
                let _ = first.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
                // If it is gone, that is what was asked for.
                let _ = guard.as_ref().map(|guard| pidfd_send_signal(guard, Signal::INT));
            }
        });
        asked
    }
}

impl Asked {
    /// The first of them, if there was one.
    pub fn signal(&self) -> Option<i32> {
        Some(self.first.load(Ordering::SeqCst)).filter(|&signal| signal != 0)
    }

    /// Waits a moment for the deployment's end; whether it has come. A guard that was killed is survived by its supervisor, which then stops
    /// all by itself.
    fn has_ended(&self, run: &Path) -> bool {
        let moment = Timespec::try_from(TICK).ok();
        let runs =
            |guard: &Arc<OwnedFd>| !matches!(poll(&mut [PollFd::new(guard, PollFlags::IN)], moment.as_ref()), Ok(1..));
        if self.guard.as_ref().is_some_and(runs) {
            return false;
        }
        let ended = matches!(client::status(run), Err(Error::NotRunning { .. }));
        if !ended {
            std::thread::sleep(TICK);
        }
        ended
    }
}

/// Whether whoever started this command wants it to outlive a signal, as `nohup` does.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

/// Copies the log to stdout until the deployment ends, by itself or because a signal asks for it.
///
/// # Errors
/// The deployment ended by itself, or would not stop.
pub fn until_interrupted(run: &Path, log: &Path, asked: &Asked) -> Result<ExitCode, Failure> {
    let mut tail = Tail::at_end(log);
    loop {
        tail.copy();
        if let Some(signal) = asked.signal() {
            see_off(run, asked)?;
            tail.finish();
            tell!("everything has stopped");
            return Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(1)));
        }
        if matches!(client::status(run), Err(Error::NotRunning { .. })) {
            tail.finish();
            return Err(Failure::from(std::io::Error::other("the deployment ended by itself; its log says why")));
        }
        std::thread::sleep(TICK);
    }
}

/// Shows how the services of a deployment end that has been asked to stop.
fn see_off(run: &Path, asked: &Asked) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    let (mut live, mut supervisor) = (Live::new(), 0);
    while !asked.has_ended(run) {
        if let Ok(status) = client::status(run) {
            supervisor = status.supervisor;
            live.show(&status.services);
        }
        if Instant::now() > deadline {
            return Err(Error::StillRunning { dir: run.to_owned(), pid: supervisor, seconds: PATIENCE.as_secs() });
        }
    }
    Ok(())
}

/// Stops the deployment and shows how its services end.
///
/// # Errors
/// It is still running when patience ends, or its directory is not ours.
pub fn stop(run: &Path, patience: Duration) -> Result<Stopped, Error> {
    let stopping = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| client::stop(run, patience));
        let mut live = Live::new();
        while !stopping.is_finished() {
            if let Ok(status) = client::status(run) {
                live.show(&status.services);
            }
            std::thread::sleep(TICK);
        }
        stopping.join()
    });
    stopping.expect("stopping does not panic")
}

/// Reads what is appended to a file that may be rotated away under us, and shows it while somebody reads.
struct Tail<'a> {
    path: &'a Path,
    file: Option<File>,
    /// Read, and no whole line yet.
    partial: Vec<u8>,
    /// Not taken by the reader yet.
    waiting: Vec<u8>,
}

impl Tail<'_> {
    fn at_end(path: &Path) -> Tail<'_> {
        let file = File::open(path).ok().and_then(|mut file| {
            std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).ok()?;
            Some(file)
        });
        Tail { path, file, partial: Vec::new(), waiting: Vec::new() }
    }

    /// Shows what is new. A reader that stands still finds it later, and keeps nobody from Ctrl-C.
    fn copy(&mut self) {
        loop {
            let taken = say::OUT.offer(&self.waiting);
            self.waiting.drain(..taken);
            if !self.waiting.is_empty() || !self.read() {
                return;
            }
        }
    }

    /// The rest, for a reader that is not too slow.
    fn finish(&mut self) {
        let deadline = Instant::now() + say::PATIENCE;
        self.copy();
        while !self.waiting.is_empty() && Instant::now() < deadline {
            std::thread::sleep(TICK);
            self.copy();
        }
    }

    /// Takes whole lines out of the file, as they can be shown; whether there were any.
    fn read(&mut self) -> bool {
        let before = self.partial.len();
        self.read_on();
        if self.partial.len() == before && self.rotated() {
            self.file = File::open(self.path).ok();
            self.read_on();
        }
        let whole = self.partial.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let whole = if self.partial.len() >= LONGEST { self.partial.len() } else { whole };
        let lines: Vec<u8> = self.partial.drain(..whole).collect();
        self.waiting.extend_from_slice(say::printable(&String::from_utf8_lossy(&lines)).as_bytes());
        whole > 0
    }

    fn read_on(&mut self) {
        let room = (LONGEST - self.partial.len()) as u64;
        // A file that can't be read any more has nothing new.
        let _ = self.file.as_ref().map(|file| file.take(room).read_to_end(&mut self.partial));
    }

    fn rotated(&self) -> bool {
        let inode = |file: &File| file.metadata().map(|data| data.ino()).ok();
        let here = std::fs::metadata(self.path).map(|data| data.ino()).ok();
        here.is_some() && self.file.as_ref().and_then(inode) != here
    }
}
