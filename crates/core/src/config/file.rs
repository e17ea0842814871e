//! Reading a file that somebody else may have put there.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// The content of a regular file of at most `longest` bytes. A pipe or a device is neither waited for nor read, and is
/// looked at only once it is open: nothing can take its place in between. For root the file must be root's own: whoever
/// owns a file can change it at any time, and root would believe it.
pub fn read(path: &Path, longest: u64) -> Result<Zeroizing<Vec<u8>>> {
    let file = open(path)?;
    let owner = file.metadata()?.uid();
    if owner != 0 && rustix::process::geteuid().is_root() {
        let why = format!("it belongs to user {owner}, who could change it at any time: chown root {}", path.display());
        return Err(Error::new(ErrorKind::PermissionDenied, why));
    }
    content(file, longest)
}

/// The same, whoever the file belongs to.
pub fn read_anyones(path: &Path, longest: u64) -> Result<Zeroizing<Vec<u8>>> {
    content(open(path)?, longest)
}

fn open(path: &Path) -> Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    match file.metadata()? {
        kind if kind.is_dir() => Err(ErrorKind::IsADirectory.into()),
        kind if !kind.is_file() => Err(Error::new(ErrorKind::InvalidInput, "not a regular file")),
        _ => Ok(file),
    }
}

fn content(file: File, longest: u64) -> Result<Zeroizing<Vec<u8>>> {
    let length = file.metadata()?.len();
    let too_long = || Error::new(ErrorKind::FileTooLarge, format!("longer than {longest} bytes"));
    if length > longest {
        return Err(too_long());
    }
    // The capacity is given in advance so that no copy of a secret is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(length + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest { Err(too_long()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn only_a_regular_file_of_bounded_length_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(**read(&file, 5).unwrap(), *b"12345");
        assert_eq!(read(&file, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        let since = Instant::now();
        for strange in [&pipe, Path::new("/dev/zero"), dir.path()] {
            assert!(read(strange, 5).is_err(), "{}", strange.display());
        }
        assert!(since.elapsed() < Duration::from_secs(1));
    }
}
