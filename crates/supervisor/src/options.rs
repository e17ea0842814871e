//! What the caller of the supervisor chooses, and what it gets back.

use std::path::PathBuf;
use std::time::Duration;

/// Everything about a run that is not a service.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory for the control socket, made with mode 0700 when it is missing, and made anew when somebody removes it;
    /// `DIR.lock` beside it says who is there. Its path must be short: a unix socket's address holds 107 bytes.
    pub state: PathBuf,
    /// Where the services' output goes.
    pub log: LogTarget,
    /// How a line is written there.
    pub format: LogFormat,
    /// Longest time from the request to stop to the end of the last process. It should be a little shorter than the time
    /// after which the outside (Docker, systemd) sends SIGKILL.
    pub budget: Duration,
    /// Shown by `status` as they are; for people and programs that ask.
    pub facts: serde_json::Value,
}

impl Options {
    /// Text on stdout, a budget of eight seconds (Docker sends SIGKILL after ten), no facts.
    pub fn new(state: impl Into<PathBuf>) -> Options {
        Options {
            state: state.into(),
            log: LogTarget::Stdout,
            format: LogFormat::Text,
            budget: Duration::from_secs(8),
            facts: serde_json::Value::Null,
        }
    }
}

impl Options {
    /// Makes paths independent of the working directory, which a detached supervisor leaves.
    pub(super) fn absolute(mut self) -> std::io::Result<Options> {
        self.state = std::path::absolute(&self.state)?;
        if let LogTarget::File { path, .. } = &mut self.log {
            *path = std::path::absolute(&*path)?;
        }
        Ok(self)
    }
}

/// Where the services' output goes.
#[derive(Clone, Debug)]
pub enum LogTarget {
    /// The supervisor's own standard output. It is never rotated and never made non-blocking.
    Stdout,
    /// A file that is appended to. It is rotated (`NAME.1` is the youngest old one) when it is a regular file.
    File {
        /// The file; its directory must exist.
        path: PathBuf,
        /// Size in bytes past which the file is put aside.
        max_bytes: u64,
        /// Old files that are kept.
        keep: u32,
    },
}

/// How a line of a service's output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// `TIME SERVICE | LINE`, bytes as the service wrote them; a `+` for the bar means that the line goes on in the
    /// next record.
    #[default]
    Text,
    /// One JSON object a line: `time`, `service`, `stream`, `line`, and `part: true` where the line goes on.
    Json,
}

/// How the whole set ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Exit status for the program: 0 when it was asked to stop, 130 after Ctrl-C, otherwise that of the service that
    /// made it give up (128 + n for signal n).
    pub status: u8,
    /// Why, when it was not asked to.
    pub message: Option<String>,
}
