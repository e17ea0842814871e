//! Giving directories to the users that now own them.
//!
//! Until 0.1.0 one user, `flowkit`, ran all services and owned the whole state directory. Root walks what it left from
//! handles, follows no link, and changes only what is that user's and has no second name (a hard link could be to anybody's
//! file). The top of a tree goes last: a walk that was cut short is begun again.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::HostError;
use super::accounts;
use super::host::FORMER;
use say::tell;
use supervisor::User;

const ROOT: User = User { uid: 0, gid: 0, groups: Vec::new() };

/// A handle that can be looked at and given away, but neither read nor followed.
const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Takes over the top of a state directory of the former user's, with what is no role's in it. The roles' own directories
/// follow, each by [`directory`].
pub(super) fn top(root: &Path, former: u32) -> Result<(), HostError> {
    if let Some(pid) = process_of(former) {
        return Err(HostError::StillRuns { dir: root.to_owned(), pid });
    }
    let state = |path: &Path| {
        let path = path.to_owned();
        move |error: Errno| HostError::State(path, error.into())
    };
    let handle = open_directory(rustix::fs::CWD, root).map_err(state(root))?;
    // Root will believe or write to these: what the former user's services could have planted among them is told first.
    for name in ["flowkit.toml", "secrets", "log"] {
        refuse_planted(&root.join(name))?;
    }
    for name in ["flowkit.toml", "secrets", "credentials", "log", "run", "run.lock"] {
        let path = root.join(name);
        match rustix::fs::openat(&handle, name, HANDLE, Mode::empty()) {
            Ok(entry) => give(&entry, former, &ROOT).map_err(state(&path))?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(state(&path)(error)),
        }
    }
    // Copies of secrets, locks and sockets of a run that is over.
    for gone in ["run", "credentials"].map(|name| root.join(name)) {
        if fs::symlink_metadata(&gone).is_ok_and(|found| found.is_dir() && found.uid() == 0) {
            fs::remove_dir_all(&gone).map_err(|error| HostError::State(gone, error))?;
        }
    }
    give_one(&handle, former, &ROOT).map_err(state(root))?;
    tell!("{}: root's from now on; each role becomes a user of its own", root.display());
    Ok(())
}

/// Every name is a file of its own: no link, no second name of something else.
fn refuse_planted(path: &Path) -> Result<(), HostError> {
    let state = |error| HostError::State(path.to_owned(), error);
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            let entries = fs::read_dir(path).map_err(state)?;
            entries.into_iter().try_for_each(|entry| match entry.map_err(state)?.path() {
                inner if fs::symlink_metadata(&inner).is_ok_and(|found| found.is_file() && found.nlink() == 1) => {
                    Ok(())
                }
                inner => Err(HostError::Planted(inner)),
            })
        }
        Ok(found) if found.is_file() && found.nlink() == 1 => Ok(()),
        Ok(_) => Err(HostError::Planted(path.to_owned())),
        Err(_) => Ok(()),
    }
}

/// Sees to it that a role's directory is there and its user's: makes it, or takes over that of the former user.
pub(super) fn directory(dir: &Path, user: &User, name: &str, make: bool) -> Result<(), HostError> {
    let state = |error: Errno| HostError::State(dir.to_owned(), error.into());
    let handle = match open_directory(rustix::fs::CWD, dir) {
        Err(Errno::NOENT) if make => {
            rustix::fs::mkdir(dir, Mode::RWXU).map_err(state)?;
            open_directory(rustix::fs::CWD, dir).map_err(state)?
        }
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(HostError::NoDirectory(dir.to_owned())),
        found => found.map_err(state)?,
    };
    let owner = rustix::fs::fstat(&handle).map_err(state)?.st_uid;
    match owner {
        owner if owner == user.uid => Ok(()),
        // Made by a start that was cut short, or by an administrator.
        0 if is_empty(&handle).map_err(state)? => {
            rustix::fs::fchown(&handle, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid))).map_err(state)
        }
        // A volume of root's, in which FlowDB keeps a directory of its own.
        0 if !make => Ok(()),
        owner if accounts::passwd(FORMER).is_some_and(|former| former.uid == owner) => {
            if let Some(pid) = process_of(owner) {
                return Err(HostError::StillRuns { dir: dir.to_owned(), pid });
            }
            give(&handle, owner, user).map_err(state)
        }
        owner => Err(HostError::Anothers { dir: dir.to_owned(), owner, wanted: name.to_owned() }),
    }
}

/// Removes what stands in the place of a directory that a service's user could put it into: a link, a file, a pipe. Only the name
/// goes, whatever it leads to.
pub(super) fn make_way(dir: &Path) -> Result<(), HostError> {
    let state = |error: Errno| HostError::State(dir.to_owned(), error.into());
    let (Some(above), Some(name)) = (dir.parent(), dir.file_name()) else { return Ok(()) };
    let above = match open_directory(rustix::fs::CWD, above) {
        Err(Errno::NOENT) => return Ok(()),
        found => found.map_err(state)?,
    };
    match rustix::fs::statat(&above, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => return Ok(()),
        found => drop(found.map_err(state)?),
    }
    rustix::fs::unlinkat(&above, name, AtFlags::empty()).map_err(state)?;
    tell!("warning: removed {}: a service had put something else in the place of that directory", dir.display());
    Ok(())
}

/// Gives away what is below a handle, then what it holds itself.
fn give(handle: &OwnedFd, from: u32, to: &User) -> rustix::io::Result<()> {
    if FileType::from_raw_mode(rustix::fs::fstat(handle)?.st_mode) == FileType::Directory {
        let open = open_directory(handle, Path::new("."))?;
        for entry in Dir::read_from(&open)? {
            let name = entry?.file_name().to_owned();
            if name.as_bytes() == b"." || name.as_bytes() == b".." {
                continue;
            }
            match rustix::fs::openat(&open, &name, HANDLE, Mode::empty()) {
                Ok(entry) => give(&entry, from, to)?,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
    }
    give_one(handle, from, to)
}

/// Gives away exactly what was looked at, unless it is not the former user's or has another name somewhere.
fn give_one(handle: &OwnedFd, from: u32, to: &User) -> rustix::io::Result<()> {
    let found = rustix::fs::fstat(handle)?;
    let directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    if found.st_uid != from || (!directory && found.st_nlink != 1) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(to.uid), Gid::from_raw(to.gid));
    rustix::fs::chownat(handle, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

fn open_directory(at: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

fn is_empty(directory: &OwnedFd) -> rustix::io::Result<bool> {
    let names = Dir::read_from(directory)?.map(|entry| entry.map(|entry| entry.file_name().to_bytes().to_vec()));
    let names: Vec<OsString> = names.map(|name| name.map(OsString::from_vec)).collect::<Result<_, _>>()?;
    Ok(names.iter().all(|name| name == "." || name == ".."))
}

/// A process that runs as this user. Not by the owner of its directory: that of one which hides its memory is root.
fn process_of(uid: u32) -> Option<u32> {
    let runs_as = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        // A zombie does nothing any more.
        if status.lines().any(|line| line.starts_with("State:\tZ")) {
            return None;
        }
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        Some(ids.split_ascii_whitespace().any(|id| id.parse() == Ok(uid)))
    };
    let entries = fs::read_dir("/proc").ok()?.flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid| runs_as(pid) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{chown, symlink};

    #[test]
    fn what_stands_in_the_place_of_a_directory_goes_and_what_it_leads_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("role/tmp");
        make_way(&place).unwrap();
        fs::create_dir_all(&place).unwrap();
        make_way(&place).unwrap();
        assert!(place.is_dir());
        fs::remove_dir(&place).unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        for leads_to in [&outside, &dir.path().join("nowhere")] {
            symlink(leads_to, &place).unwrap();
            make_way(&place).unwrap();
            assert!(fs::symlink_metadata(&place).is_err());
        }
        fs::write(&place, "").unwrap();
        make_way(&place).unwrap();
        assert!(outside.is_dir() && !place.exists());
    }

    #[test]
    fn what_is_not_the_former_users_alone_stays_as_it_is() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (former, user) = (4_000_001, User { uid: 4_000_002, gid: 4_000_002, groups: Vec::new() });
        let dir = tempfile::tempdir().unwrap();
        let role = dir.path().join("role");
        fs::create_dir_all(role.join("deep")).unwrap();
        let outside = dir.path().join("outside");
        for file in [&outside, &role.join("own"), &role.join("deep/own"), &role.join("roots")] {
            fs::write(file, "").unwrap();
        }
        fs::hard_link(role.join("own"), role.join("second name")).unwrap();
        symlink(&outside, role.join("link")).unwrap();
        for own in ["", "deep", "own", "deep/own"] {
            chown(role.join(own), Some(former), Some(former)).unwrap();
        }
        std::os::unix::fs::lchown(role.join("link"), Some(former), Some(former)).unwrap();
        chown(&outside, Some(former), Some(former)).unwrap();

        give(&open_directory(rustix::fs::CWD, &role).unwrap(), former, &user).unwrap();
        let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        for given in ["", "deep", "deep/own", "link"] {
            assert_eq!(owner(&role.join(given)), user.uid, "{given}");
        }
        assert_eq!(owner(&role.join("own")), former, "it has a second name");
        assert_eq!(owner(&role.join("roots")), 0);
        assert_eq!(owner(&outside), former, "a link leads to it");
    }
}
