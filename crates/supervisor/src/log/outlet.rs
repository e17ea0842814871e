//! The thread that writes, alone allowed to block.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::record::Writer;
use super::{Shared, Stream};
use crate::options::LogTarget;

/// Bytes gathered for one write.
const GATHER: usize = 64 << 10;

/// Where records end.
pub enum Outlet {
    Stdout(File),
    File { path: PathBuf, file: File, size: u64, max_bytes: u64, keep: u32, regular: bool },
}

impl Outlet {
    /// Opens the file, for appending.
    pub fn open(target: &LogTarget) -> io::Result<Outlet> {
        match target {
            LogTarget::Stdout => {
                Ok(Outlet::Stdout(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?.into()))
            }
            LogTarget::File { path, max_bytes, keep } => {
                let file = open(path)?;
                let meta = file.metadata()?;
                let regular = meta.is_file() && fs::symlink_metadata(path)?.is_file();
                let (path, max_bytes, keep) = (path.clone(), *max_bytes, *keep);
                Ok(Outlet::File { path, file, size: meta.len(), max_bytes, keep, regular })
            }
        }
    }

    /// Writes whole records.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Outlet::Stdout(stdout) => stdout.write_all(bytes),
            Outlet::File { path, file, size, max_bytes, keep, regular } => {
                if *regular && *size > 0 && *size + bytes.len() as u64 > *max_bytes {
                    rotate(path, *keep)?;
                    *file = open(path)?;
                    *size = 0;
                }
                file.write_all(bytes)?;
                *size += bytes.len() as u64;
                Ok(())
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o600).open(path)
}

/// `NAME` becomes `NAME.1`, which becomes `NAME.2`, and so on; the oldest goes.
fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    if keep == 0 {
        return fs::remove_file(path);
    }
    for n in (1..keep).rev() {
        match fs::rename(numbered(n), numbered(n + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(1))
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
        if let Err(error) = outlet.write(&bytes) {
            let mut state = shared.lock();
            state.unwritten += lines;
            state.trouble = Some(error.to_string());
        }
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
