//! Files that notebooks have had their hands on. What they could have put there is not trusted: no link is followed, no mode is relied on, no
//! depth or length is taken as it comes.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

/// The largest executed notebook, in bytes.
const LARGEST: u64 = 512 << 20;

/// The deepest directory that is kept of what a notebook wrote beside.
const DEEPEST: usize = 16;

/// Names that are read at once.
const BATCH: usize = 1024;

/// `O_NOFOLLOW`: what a notebook may have put there is no file of ours.
pub fn no_follow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()
}

/// The last line of a log, if there is one, with `name` in place of a `secret`. That is replaced before anything is cut, and what is cut at the
/// beginning goes with what may be the rest of one.
pub fn last_line(log: &Path, secret: &str, name: &str) -> Option<String> {
    let mut file = File::options().read(true).custom_flags(no_follow()).open(log).ok()?;
    let window = (8 << 10) + secret.len() as u64;
    let from = file.metadata().ok()?.len().saturating_sub(window);
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.take(window).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).replace(secret, name);
    let text: String = text.chars().skip(if from > 0 { secret.len() } else { 0 }).collect();
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(1000).collect())
}

/// Copies what a notebook has left for its result, if it is a file, to where only we write.
///
/// # Errors
/// It is none, or is not to be read; nothing is left where it should be then.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let flags = no_follow() | OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(from).map_err(|error| {
        let is_link = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
        if is_link { io::Error::other("it has become a link") } else { error }
    })?;
    let seen = file.metadata()?;
    if !seen.is_file() {
        return Err(io::Error::other("it is no file any more"));
    }
    let most = LARGEST >> 20;
    let too_large = || io::Error::other(format!("it has more than {most} MiB"));
    if seen.len() > LARGEST {
        return Err(too_large());
    }
    let mut copy = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    let done = io::copy(&mut file.take(LARGEST + 1), &mut copy);
    match done {
        Ok(bytes) if bytes <= LARGEST => Ok(()),
        other => {
            let _ = fs::remove_file(to);
            Err(other.err().unwrap_or_else(too_large))
        }
    }
}

/// Makes what notebooks have written into a directory readable for those whom the operator lets into the directory of outputs. Links and what
/// else is no file go, and so does what is very deep. Whether anything is left.
///
/// # Errors
/// Something in it can't be looked at.
pub fn open_up(path: &Path) -> io::Result<bool> {
    let dir = enter(CWD, path, 0o755)?;
    open_up_at(&dir, DEEPEST)?;
    Ok(!names_in(&dir)?.is_empty())
}

fn open_up_at(dir: &OwnedFd, deeper: usize) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if ![c".", c".."].contains(&entry.file_name()) {
            names.push(entry.file_name().to_owned());
        }
    }
    for name in names {
        let found = openat(dir, &*name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
            FileType::Directory if deeper > 0 => open_up_at(&enter(dir, &*name, 0o755)?, deeper - 1)?,
            FileType::Directory => remove_at(dir, &*name)?,
            FileType::RegularFile => give(&found, 0o644)?,
            _ => unlinkat(dir, &*name, AtFlags::empty())?,
        }
    }
    Ok(())
}

/// Removes a directory with all that is in it, if it is there: whatever modes somebody has given what is in it, and however deep it is. Each
/// directory inside is brought up before it is emptied, so that no path is long and few files are open.
///
/// # Errors
/// Something in it can't be removed.
pub fn remove(place: &Path) -> io::Result<()> {
    match remove_at(CWD, place) {
        // Somebody else removes it too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn remove_at<P: rustix::path::Arg + Copy>(at: impl AsFd + Copy, place: P) -> io::Result<()> {
    let top = match enter(at, place, 0o700) {
        Err(error) if error.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) => {
            return Ok(unlinkat(at, place, AtFlags::empty())?);
        }
        top => top?,
    };
    let mut brought_up = 0_u64;
    loop {
        let names = names_in(&top)?;
        if names.is_empty() {
            return Ok(unlinkat(at, place, AtFlags::REMOVEDIR)?);
        }
        for (name, kind) in names {
            if kind != FileType::Directory {
                unlinkat(&top, &*name, AtFlags::empty())?;
                continue;
            }
            let dir = enter(&top, &*name, 0o700)?;
            loop {
                let names = names_in(&dir)?;
                if names.is_empty() {
                    break;
                }
                for (name, kind) in names {
                    if kind != FileType::Directory {
                        unlinkat(&dir, &*name, AtFlags::empty())?;
                        continue;
                    }
                    drop(enter(&dir, &*name, 0o700)?);
                    renameat(&dir, &*name, &top, free(&top, &mut brought_up))?;
                }
            }
            unlinkat(&top, &*name, AtFlags::REMOVEDIR)?;
        }
    }
}

/// A name that nothing has there.
fn free(dir: &OwnedFd, last: &mut u64) -> String {
    loop {
        *last += 1;
        let name = format!(".{last}");
        if rustix::fs::statat(dir, &*name, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            return name;
        }
    }
}

/// Opens a directory of ours, whatever mode somebody has given it, after giving it this one. No link is followed.
fn enter<P: rustix::path::Arg>(at: impl AsFd, path: P, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = openat(at, path, flags | OFlags::PATH, Mode::empty())?;
    give(&found, mode)?;
    Ok(openat(&found, ".", flags, Mode::empty())?)
}

/// Gives a mode to what was found, not opened.
fn give(found: &OwnedFd, mode: u32) -> io::Result<()> {
    fs::set_permissions(format!("/proc/self/fd/{}", found.as_raw_fd()), Permissions::from_mode(mode))
}

/// Some names in a directory and what they are, from its beginning.
fn names_in(dir: &OwnedFd) -> io::Result<Vec<(std::ffi::CString, FileType)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if [c".", c".."].contains(&entry.file_name()) {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let seen = rustix::fs::statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(seen.st_mode)
            }
            kind => kind,
        };
        names.push((entry.file_name().to_owned(), kind));
        if names.len() >= BATCH {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_secret_is_left_where_a_line_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let said = |text: &str| {
            fs::write(&log, text).unwrap();
            last_line(&log, "secretsecret0123", "TOKEN").unwrap()
        };
        assert_eq!(said("first\nlast secretsecret0123!\n\n"), "last TOKEN!");
        let long = format!("{}secretsecret0123", "x".repeat(990));
        assert_eq!(said(&long), format!("{}TOKEN", "x".repeat(990)));
        // Wherever the window begins.
        for after in 8170..8230 {
            let line = said(&format!("{}secretsecret0123{}", "x".repeat(100), "y".repeat(after)));
            assert!(
                line.trim_start_matches('x')
                    .trim_start_matches("TOKEN")
                    .trim_start_matches(char::is_uppercase)
                    .chars()
                    .all(|letter| letter == 'y'),
                "{after}: {line}"
            );
        }
    }
}
