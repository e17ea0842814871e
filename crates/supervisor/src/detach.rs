//! Starting a supervisor that outlives its starter.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::options::{LogTarget, Options};
use super::service::Service;
use super::{Prepared, sys};

/// What the new process tells its starter, once.
#[derive(Serialize, Deserialize)]
enum Report {
    /// The lock is held and the socket bound.
    Running {
        guard: u32,
    },
    Taken {
        pid: u32,
        since: String,
    },
    Failed {
        mistake: bool,
        message: String,
    },
}

/// Starts guard and supervisor in a session of their own and returns the guard's process id, once the directory is theirs and
/// the control socket answers. To be called before the first thread, and with a log in a file.
///
/// # Errors
/// As for [`super::supervise`]; then nothing runs.
pub fn spawn_detached(services: Vec<Service>, options: Options) -> Result<u32, Error> {
    let (read, write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(Error::system("make a pipe"))?;
    let options = options.absolute().map_err(Error::system("find the working directory"))?;
    let dir = options.state.clone();
    match sys::fork()? {
        sys::Fork::Parent(pid) => {
            drop(write);
            let mut text = String::new();
            let heard = File::from(read).read_to_string(&mut text);
            wait_for(pid);
            heard.map_err(Error::system("read the new supervisor's report"))?;
            match serde_json::from_str(&text) {
                Ok(Report::Running { guard }) => Ok(guard),
                Ok(Report::Taken { pid, since }) => Err(Error::AlreadyRunning { dir, pid, since }),
                Ok(Report::Failed { mistake: true, message }) => Err(Error::Services(message)),
                Ok(Report::Failed { mistake: false, message }) => Err(Error::Detached(message)),
                Err(_) => Err(Error::Detached("the new supervisor ended before it had the lock".to_owned())),
            }
        }
        sys::Fork::Child => {
            drop(read);
            // The session's leader ends at once, so that the guard can never get a controlling terminal.
            let _ = rustix::process::setsid();
            match sys::fork() {
                Ok(sys::Fork::Child) => sys::never_return(|| run(services, options, write)),
                _ => sys::exit_now(0),
            }
        }
    }
}

/// Waits for the middle process, which ends at once.
fn wait_for(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    }
}

/// The new process.
fn run(services: Vec<Service>, options: Options, report: OwnedFd) -> u8 {
    let mut report = File::from(report);
    let mut tell = |what: &Report| {
        let _ = serde_json::to_string(what).map(|text| report.write_all(text.as_bytes()));
    };
    // Whoever hears of the guard may signal it: what comes before it listens waits for that.
    let held = sys::take_over_signals().map_err(Error::system("block signals"));
    match held.and_then(|_| redirect(&options)).and_then(|()| Prepared::new(services, options)) {
        Ok(prepared) => {
            tell(&Report::Running { guard: std::process::id() });
            drop(report);
            prepared.run().map_or(1, |outcome| outcome.status)
        }
        Err(error) => {
            tell(&match error {
                Error::AlreadyRunning { pid, since, .. } => Report::Taken { pid, since },
                error => Report::Failed { mistake: error.is_mistake(), message: say::in_full(&error) },
            });
            1
        }
    }
}

/// Nothing of the starter's terminal is kept.
fn redirect(options: &Options) -> Result<(), Error> {
    let null = File::options().read(true).write(true).open("/dev/null").map_err(Error::system("open /dev/null"))?;
    let errors = match &options.log {
        LogTarget::File { path, .. } => {
            File::options().append(true).create(true).open(path).map_err(Error::file("open", path))?
        }
        LogTarget::Stdout => null.try_clone().map_err(Error::system("duplicate a descriptor"))?,
    };
    rustix::stdio::dup2_stdin(&null).map_err(Error::system("redirect standard input"))?;
    rustix::stdio::dup2_stdout(&errors).map_err(Error::system("redirect standard output"))?;
    rustix::stdio::dup2_stderr(&errors).map_err(Error::system("redirect standard error"))?;
    std::env::set_current_dir("/").map_err(Error::system("change to /"))?;
    Ok(())
}
