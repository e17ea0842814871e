//! The thread that writes, alone allowed to block.

use std::fs::{self, File};
use std::io::{self, Write};

use super::file::{LogFile, open};
use super::record::Writer;
use super::{Shared, Stream};
use crate::options::LogTarget;

/// Bytes gathered for one write.
const GATHER: usize = 64 << 10;

/// Where records end.
pub enum Outlet {
    /// It takes what is written as it is: standard output, a FIFO, what a link leads to.
    Plain(File),
    /// A regular file, which is put aside when it is full.
    File(LogFile),
}

impl Outlet {
    /// Opens the file, for appending.
    pub fn open(target: &LogTarget) -> io::Result<Outlet> {
        match target {
            LogTarget::Stdout => Ok(Outlet::Plain(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?.into())),
            LogTarget::File { path, max_bytes, keep } => {
                let file = open(path)?;
                match file.metadata()?.is_file() && fs::symlink_metadata(path)?.is_file() {
                    true => Ok(Outlet::File(LogFile::new(path.clone(), file, *max_bytes, *keep)?)),
                    false => Ok(Outlet::Plain(file)),
                }
            }
        }
    }

    /// Writes whole records.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Outlet::Plain(file) => file.write_all(bytes),
            Outlet::File(file) => file.write(bytes),
        }
    }

    /// What is wrong although all was written.
    fn trouble(&self) -> Option<&str> {
        match self {
            Outlet::Plain(_) => None,
            Outlet::File(file) => file.trouble(),
        }
    }
}

/// Takes blocks and writes them until the end is asked for and nothing waits.
pub fn run(shared: &Shared, mut outlet: Outlet, record: &Writer) {
    let mut bytes = Vec::with_capacity(GATHER + (32 << 10));
    loop {
        bytes.clear();
        let mut lines = 0;
        let mut state = shared.lock();
        while bytes.len() < GATHER {
            match state.queues.pop() {
                Some(next) => {
                    if next.gap > 0 {
                        let notice = format!("{} lines dropped: the reader of this log is too slow", next.gap);
                        record.line(&mut bytes, next.service, Stream::Stderr, notice.as_bytes(), false);
                    }
                    bytes.extend_from_slice(&next.bytes);
                    lines += next.lines;
                }
                None if !bytes.is_empty() => break,
                None if state.finish => {
                    state.done = true;
                    shared.ended.notify_all();
                    return;
                }
                None => state = shared.filled.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner),
            }
        }
        drop(state);
        shared.taken.notify_one();
        let written = outlet.write(&bytes);
        let mut state = shared.lock();
        // Taken back once all goes well again: what was lost stays counted.
        state.trouble = match written {
            Ok(()) => outlet.trouble().map(str::to_owned),
            Err(error) => {
                state.unwritten += lines;
                Some(error.to_string())
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_put_aside_when_full_and_the_oldest_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let target = LogTarget::File { path: path.clone(), max_bytes: 10, keep: 2 };
        let mut outlet = Outlet::open(&target).expect("opens");
        for text in ["aaaa\n", "bbbb\n", "cccc\n", "dddd\n", "eeee\n", "ffff\n", "gggg\n"] {
            outlet.write(text.as_bytes()).expect("writes");
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).ok();
        assert_eq!(read("log").as_deref(), Some("gggg\n"));
        assert_eq!(read("log.1").as_deref(), Some("eeee\nffff\n"));
        assert_eq!(read("log.2").as_deref(), Some("cccc\ndddd\n"));
        assert_eq!(read("log.3"), None);
    }

    #[test]
    fn a_link_is_followed_and_never_rotated() {
        let dir = tempfile::tempdir().expect("a directory");
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::os::unix::fs::symlink(&real, &link).expect("a link");
        let mut outlet = Outlet::open(&LogTarget::File { path: link, max_bytes: 1, keep: 3 }).expect("opens");
        outlet.write(b"one\n").expect("writes");
        outlet.write(b"two\n").expect("writes");
        assert_eq!(fs::read_to_string(real).expect("is there"), "one\ntwo\n");
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 2);
    }
}
