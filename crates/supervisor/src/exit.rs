//! How a process ended, and how that is told.

use std::fmt;

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// By the kernel, because memory ran out.
    OutOfMemory,
    /// The program never ran.
    NotStarted {
        /// The step of its start that failed, with what it was tried on.
        step: String,
        /// `errno`.
        errno: i32,
    },
}

impl Exit {
    /// The status that a shell would report.
    pub fn status(&self) -> u8 {
        match self {
            Exit::Code(code) => *code as u8,
            Exit::Signal(signal) => 128u8.saturating_add(*signal as u8),
            Exit::OutOfMemory => 128 + libc::SIGKILL as u8,
            Exit::NotStarted { errno: libc::ENOENT, .. } => 127,
            Exit::NotStarted { .. } => 126,
        }
    }

    /// Whether trying again can't help: a missing program, a missing right, a wrong directory. What the machine may have
    /// again in a moment (memory, processes, a busy file) is not permanent.
    pub fn is_permanent(&self) -> bool {
        let passing = [libc::EAGAIN, libc::ENOMEM, libc::ETXTBSY, libc::EMFILE, libc::ENFILE, libc::EINTR, libc::EIO];
        matches!(self, Exit::NotStarted { errno, .. } if !passing.contains(errno))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit status {code}"),
            Exit::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
            Exit::OutOfMemory => f.write_str("killed for lack of memory"),
            Exit::NotStarted { step, errno } => {
                write!(f, "not started: {step}: {}", std::io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

/// The usual name of a signal.
pub fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_read_like_sentences_and_give_a_shells_status() {
        let not_started = Exit::NotStarted { step: "run /nowhere".into(), errno: libc::ENOENT };
        let table = [
            (Exit::Code(3), "exit status 3", 3, false),
            (Exit::Signal(9), "signal 9 (SIGKILL)", 137, false),
            (Exit::Signal(40), "signal 40", 168, false),
            (Exit::OutOfMemory, "killed for lack of memory", 137, false),
            (not_started, "not started: run /nowhere: No such file or directory (os error 2)", 127, true),
            (
                Exit::NotStarted { step: "run /bin".into(), errno: libc::EACCES },
                "not started: run /bin: Permission denied (os error 13)",
                126,
                true,
            ),
            (
                Exit::NotStarted { step: "fork".into(), errno: libc::EAGAIN },
                "not started: fork: Resource temporarily unavailable (os error 11)",
                126,
                false,
            ),
        ];
        for (exit, text, status, permanent) in table {
            assert_eq!((exit.to_string().as_str(), exit.status(), exit.is_permanent()), (text, status, permanent));
        }
    }
}
