//! Staying with a running deployment: its log on the screen, its stop on Ctrl-C.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Failure;
use super::table::Live;
use crate::supervisor::Error;
use crate::supervisor::client::{self, Stopped};

/// Time between two looks at the log or the status; a person can't tell it from at once.
const TICK: Duration = Duration::from_millis(100);

/// Longer than any stop takes: the supervisor kills what is left when its own budget is spent.
const PATIENCE: Duration = Duration::from_secs(300);

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
            tail.copy();
            return Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(1)));
        }
        if matches!(client::status(run), Err(Error::NotRunning { .. })) {
            tail.copy();
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

/// Reads what is appended to a file that may be rotated away under us.
struct Tail<'a> {
    path: &'a Path,
    file: Option<File>,
}

impl Tail<'_> {
    fn at_end(path: &Path) -> Tail<'_> {
        let file = File::open(path).ok().and_then(|mut file| {
            std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).ok()?;
            Some(file)
        });
        Tail { path, file }
    }

    fn copy(&mut self) {
        let mut bytes = Vec::new();
        if let Some(file) = &mut self.file {
            let _ = file.read_to_end(&mut bytes);
        }
        if self.rotated() {
            self.file = File::open(self.path).ok();
            if let Some(file) = &mut self.file {
                let _ = file.read_to_end(&mut bytes);
            }
        }
        // A reader that went away does not concern the services.
        let _ = std::io::stdout().write_all(&bytes);
    }

    fn rotated(&self) -> bool {
        let inode = |file: &File| file.metadata().map(|data| data.ino()).ok();
        let here = std::fs::metadata(self.path).map(|data| data.ino()).ok();
        here.is_some() && self.file.as_ref().and_then(inode) != here
    }
}
