//! Staying with a running deployment: its log on the screen, its stop on Ctrl-C.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Failure;
use super::table::Live;

use supervisor::Error;
use supervisor::client::{self, Stopped};

/// Time between two looks at the log or the status; a person can't tell it from at once.
const TICK: Duration = Duration::from_millis(100);

/// Longer than any stop takes: the supervisor kills what is left when its own budget is spent.
const PATIENCE: Duration = Duration::from_secs(300);

/// Most bytes that are read at once; a longer line is shown in parts.
const LONGEST: usize = 64 << 10;

/// Copies the log to stdout until the deployment ends or a signal asks for its end. The first signal stops in order,
/// the second shortens every grace, the third kills.
///
/// # Errors
/// The deployment ended by itself, or would not stop.
pub fn until_interrupted(run: &Path, log: &Path) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let mut tail = Tail::at_end(log);
    let guard = client::status(run)?.guard;
    loop {
        tail.copy();
        if let Some(signal) = signals.pending().next() {
            // The guard passes each further request on, and each makes the supervisor less patient.
            let hurry = std::thread::spawn(move || signals.forever().for_each(|_| interrupt(guard)));
            stop(run, PATIENCE)?;
            drop(hurry);
            tail.finish();
            return Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(1)));
        }
        if matches!(client::status(run), Err(Error::NotRunning { .. })) {
            tail.finish();
            return Err(Failure::from(std::io::Error::other("the deployment ended by itself; its log says why")));
        }
        std::thread::sleep(TICK);
    }
}

fn interrupt(guard: u32) {
    let pid = i32::try_from(guard).ok().and_then(rustix::process::Pid::from_raw);
    // It is gone, which is what was asked for.
    let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::INT));
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
