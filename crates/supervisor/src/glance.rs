//! A short file that somebody else writes, read where nothing may be believed of it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The first bytes of a file, at most `most`. A role that was broken into may put anything there: a link to a device without an end, or a
/// pipe that nobody writes to. Neither is followed or waited for.
///
/// # Errors
/// It can't be read, or is no file.
pub fn glance(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::with_capacity(most);
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_the_beginning_of_a_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "one two").unwrap();
        assert_eq!(glance(&at("file"), 128).unwrap(), b"one two");
        assert_eq!(glance(&at("file"), 3).unwrap(), b"one");
        symlink("/dev/zero", at("endless")).unwrap();
        symlink(at("file"), at("link")).unwrap();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for other in ["endless", "link", "pipe", "missing", "."] {
            glance(&at(other), 128).unwrap_err();
        }
        glance("/dev/zero".as_ref(), 128).unwrap_err();
    }
}
