//! The directory that holds a deployment's secrets: one a file, 0400 in a directory 0700, each written whole or not at all.
//!
//! A file is written under another name, made durable, and renamed into its place. Several files that belong together are
//! all written first; a marker is the moment from which the change counts, and whoever opens the directory next finishes
//! what a kill has left.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Gid, Mode, OFlags};

use super::Secret;
use crate::catalogue::catalogue;

/// The change of several files is complete in staged files, and counts.
const MARKER: &str = ".rotation";
const STAGED: &str = ".new";
const PREVIOUS: &str = ".previous";

/// Why the directory or a file in it can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A system call that failed.
    #[error("cannot {doing} {}", .path.display())]
    System {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Root is asked to write where somebody else could put a link in its way.
    #[error("{} belongs to user {owner}: root writes secrets only into directories of its own", .dir.display())]
    Anothers {
        /// The directory.
        dir: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// Its mode would have been changed, and others may need it as it is.
    #[error("{} is open to others and holds {file:?}, which is no secret; give a directory of its own", .dir.display())]
    NotASecretsDirectory {
        /// The directory.
        dir: PathBuf,
        /// What is in it.
        file: String,
    },
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> FileError {
    let path = path.to_path_buf();
    move |errno| FileError::System { doing, path, source: errno.into() }
}

/// An open secrets directory that nobody else changes meanwhile.
pub struct Directory {
    path: PathBuf,
    handle: OwnedFd,
    /// A group that may read it all.
    group: Option<Gid>,
}

impl Directory {
    /// Opens the directory, making it if need be, waits until nobody else changes it, and puts right what a kill has left.
    /// A link that stands in its place is refused, and for root the directory must be root's.
    pub fn open(path: &Path) -> Result<Directory, FileError> {
        Directory::open_for(path, None)
    }

    /// The same, readable by a group as well.
    pub fn open_for(path: &Path, group: Option<u32>) -> Result<Directory, FileError> {
        make(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle =
            rustix::fs::open(path, flags, Mode::empty()).map_err(failed("open the secrets directory", path))?;
        rustix::fs::flock(&handle, FlockOperation::LockExclusive).map_err(failed("lock", path))?;
        let directory = Directory { path: path.to_path_buf(), handle, group: group.map(Gid::from_raw) };
        directory.refuse_anothers()?;
        match group {
            None => directory.close_to_others()?,
            Some(_) => directory.share(&directory.handle, path, Mode::from_raw_mode(0o750))?,
        }
        directory.recover()?;
        Ok(directory)
    }

    /// Root writes only where nobody else can put something in the way.
    fn refuse_anothers(&self) -> Result<(), FileError> {
        let owner = self.stat()?.st_uid;
        match rustix::process::geteuid() {
            me if me.is_root() && owner != 0 => Err(FileError::Anothers { dir: self.path.clone(), owner }),
            _ => Ok(()),
        }
    }

    fn stat(&self) -> Result<rustix::fs::Stat, FileError> {
        rustix::fs::fstat(&self.handle).map_err(failed("look at", &self.path))
    }

    fn share(&self, what: &OwnedFd, path: &Path, mode: Mode) -> Result<(), FileError> {
        rustix::fs::fchown(what, None, self.group).map_err(failed("set the group of", path))?;
        rustix::fs::fchmod(what, mode).map_err(failed("set the mode of", path))
    }

    /// A directory that is open to others is closed, unless there is something else in it.
    fn close_to_others(&self) -> Result<(), FileError> {
        if self.stat()?.st_mode & 0o077 == 0 {
            return Ok(());
        }
        if let Some(file) = self.names()?.into_iter().find(|name| !is_ours(name)) {
            return Err(FileError::NotASecretsDirectory { dir: self.path.clone(), file });
        }
        rustix::fs::fchmod(&self.handle, Mode::RWXU).map_err(failed("close to others", &self.path))
    }

    /// Finishes a change that counts already, and removes the beginnings of one that does not.
    fn recover(&self) -> Result<(), FileError> {
        let counts = self.has(MARKER);
        for name in self.names()? {
            if let Some(target) = name.strip_prefix('.').and_then(|name| name.strip_suffix(STAGED)) {
                if counts { self.rename(&name, target)? } else { self.unlink(&name)? }
            }
        }
        if counts {
            self.sync()?;
            self.unlink(MARKER)?;
        }
        Ok(())
    }

    /// Whether there is anything under that name, be it a directory or a link that leads nowhere.
    pub fn has(&self, name: &str) -> bool {
        rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Whether a file holds exactly this text.
    pub fn holds(&self, name: &str, text: &str) -> Result<bool, FileError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(&self.handle, name, flags, Mode::empty()) else { return Ok(false) };
        let mut found = Vec::new();
        let read = std::fs::File::from(file).take(text.len() as u64 + 1).read_to_end(&mut found);
        let path = self.path.join(name);
        read.map_err(|source| FileError::System { doing: "read", path, source })?;
        Ok(found == text.as_bytes())
    }

    /// Puts one new file in place, whole.
    pub fn write(&self, name: &str, secret: &Secret) -> Result<(), FileError> {
        let staged = self.stage(name, secret)?;
        self.rename(&staged, name)?;
        self.sync()
    }

    /// Replaces several files that belong together, all or none, and keeps what they held as `NAME.previous`, unless an
    /// older one is still kept: that is the one in use.
    pub fn replace(&self, secrets: &[(&str, Secret)]) -> Result<(), FileError> {
        let staged = secrets.iter().map(|(name, secret)| self.stage(name, secret)).collect::<Result<Vec<_>, _>>()?;
        for (name, _) in secrets {
            self.keep(name)?;
        }
        self.sync()?;
        self.touch(MARKER)?;
        self.sync()?;
        for (staged, (name, _)) in staged.iter().zip(secrets) {
            self.rename(staged, name)?;
        }
        self.sync()?;
        self.unlink(MARKER)
    }

    /// Holds these files and no others.
    pub fn hold(&self, secrets: &BTreeMap<String, Secret>) -> Result<(), FileError> {
        for (name, secret) in secrets {
            let staged = self.stage(name, secret)?;
            self.rename(&staged, name)?;
        }
        self.names()?.iter().filter(|name| !secrets.contains_key(*name)).try_for_each(|name| self.unlink(name))
    }

    fn keep(&self, name: &str) -> Result<(), FileError> {
        let previous = format!("{name}{PREVIOUS}");
        match rustix::fs::linkat(&self.handle, name, &self.handle, &previous, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("keep the old value as", &self.path.join(previous))(errno)),
        }
    }

    /// Removes what [`replace`](Self::replace) has kept of secrets whose every user is one of these roles.
    pub fn forget_previous(&self, is_of: impl Fn(&str) -> bool) -> Result<(), FileError> {
        for name in self.names()? {
            let Some(spec) = name.strip_suffix(PREVIOUS).and_then(|name| catalogue().secret(name)) else { continue };
            if catalogue().users(&spec.name).all(|role| is_of(&role.name)) {
                self.unlink(&name)?;
            }
        }
        Ok(())
    }

    /// Writes the content beside its place and makes it durable there.
    fn stage(&self, name: &str, secret: &Secret) -> Result<String, FileError> {
        let staged = format!(".{name}{STAGED}");
        let file = self.create(&staged)?;
        let path = self.path.join(&staged);
        let io = |doing| {
            let path = path.clone();
            move |source| FileError::System { doing, path, source }
        };
        let mut file = std::fs::File::from(file);
        let written = file.write_all(secret.expose().as_bytes()).map_err(io("write"));
        if let Err(error) = written.and_then(|()| file.sync_all().map_err(io("make durable"))) {
            _ = self.unlink(&staged);
            return Err(error);
        }
        Ok(staged)
    }

    fn touch(&self, name: &str) -> Result<(), FileError> {
        self.create(name).map(drop)
    }

    /// A new file that nobody but its owner may read, from the moment it exists.
    fn create(&self, name: &str) -> Result<OwnedFd, FileError> {
        let path = self.path.join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.handle, name, flags, Mode::RUSR).map_err(failed("make", &path))?;
        match self.group {
            None => rustix::fs::fchmod(&file, Mode::RUSR).map_err(failed("set the mode of", &path))?,
            Some(_) => self.share(&file, &path, Mode::RUSR | Mode::RGRP)?,
        }
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        rustix::fs::renameat(&self.handle, from, &self.handle, to).map_err(failed("put in place", &self.path.join(to)))
    }

    fn unlink(&self, name: &str) -> Result<(), FileError> {
        rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()).map_err(failed("remove", &self.path.join(name)))
    }

    fn sync(&self) -> Result<(), FileError> {
        rustix::fs::fsync(self.handle.as_fd()).map_err(failed("make durable", &self.path))
    }

    fn names(&self) -> Result<Vec<String>, FileError> {
        let names = || -> rustix::io::Result<Vec<String>> {
            let entries = rustix::fs::Dir::read_from(&self.handle)?;
            let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            let is_entry = |name: &rustix::io::Result<String>| !matches!(name.as_deref(), Ok("." | ".."));
            names.filter(is_entry).collect()
        };
        names().map_err(failed("list", &self.path))
    }
}

/// Makes the directory when it is missing.
fn make(path: &Path) -> Result<(), FileError> {
    let io = |doing, path: &Path| {
        let path = path.to_path_buf();
        move |source| FileError::System { doing, path, source }
    };
    if std::fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    let above = parent(path);
    std::fs::create_dir_all(above).map_err(io("make", above))?;
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) => {
            let handle = std::fs::File::open(above).and_then(|above| above.sync_all());
            handle.map_err(io("make durable", above))
        }
        Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed("make", path)(errno)),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a file of that name is one of those that are made here.
fn is_ours(name: &str) -> bool {
    let name = name.strip_prefix('.').and_then(|name| name.strip_suffix(STAGED)).unwrap_or(name);
    let name = name.strip_suffix(PREVIOUS).unwrap_or(name);
    name == MARKER || catalogue().secret(name).is_some()
}

/// The name under which a rotation keeps the value before.
pub fn previous_name(name: &str) -> String {
    format!("{name}{PREVIOUS}")
}

/// Who may read a file, for the check.
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// Owner's number.
    pub owner: u32,
}

/// `None` when there is nothing.
pub fn access(path: &Path) -> Option<Access> {
    let meta = std::fs::metadata(path).ok()?;
    Some(Access { mode: meta.mode() & 0o7777, owner: meta.uid() })
}
