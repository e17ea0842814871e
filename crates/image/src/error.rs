//! What can go wrong with images, each with the place it went wrong at.

use std::io;
use std::path::{Path, PathBuf};

/// Why an image was not built, read or loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The description of the image does not make sense; nothing was written.
    #[error("{file} does not describe an image:\n{}", list(.problems))]
    Spec {
        /// File that was read.
        file: String,
        /// Everything that is wrong with it.
        problems: Vec<String>,
    },
    /// A file or directory cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The result cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Where the result should go something is already.
    #[error("{path} is there already and is not an empty directory: give another place, or remove it")]
    InTheWay {
        /// Which.
        path: PathBuf,
    },
    /// A file in a store path was changed while it was read: the image would be of neither state.
    #[error("{path} changed while it was read: it had {expected} bytes")]
    Changed {
        /// Which file.
        path: PathBuf,
        /// Size when the tree was walked, bytes.
        expected: u64,
    },
    /// Something that no store path can hold.
    #[error("{path} is neither a file, a directory nor a symbolic link: an image cannot carry it")]
    Special {
        /// Which.
        path: PathBuf,
    },
    /// An image holds something else than it says.
    #[error("{image}: {place}: {what}")]
    Damaged {
        /// Archive or directory.
        image: PathBuf,
        /// Which file of it.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// The container engine's program cannot be run.
    #[error("cannot run {program}: is the engine installed?")]
    NoEngine {
        /// Which.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The container engine refused.
    #[error("`{command}` failed: {said}")]
    Engine {
        /// What was run.
        command: String,
        /// What it said.
        said: String,
    },
    /// A compressor refused.
    #[error("{codec} cannot compress: {reason}")]
    Compress {
        /// Which compressor.
        codec: &'static str,
        /// What it said.
        reason: String,
    },
}

impl Error {
    /// A failure of reading `path`.
    pub fn read(path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Read { path, source }
    }

    /// A failure of writing `path`.
    pub fn write(path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    }
}

fn list(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}
