//! Whose a state directory is, and who therefore works in it.
//!
//! Root believes what stands in a directory of root's that nobody else can change or swap. In anybody else's directory it
//! becomes that somebody, for good, before it reads anything there. So whatever a service or another user writes never
//! tells root what to do.

mod error;
mod trust;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};
use rustix::process::geteuid;

pub use self::error::HostError;
use self::trust::{known, look_at, real_path, trusted, trusted_above};
use super::{accounts, takeover};
use flowkit_core::config::StateDir;
use supervisor::{Acting, User};

/// The user that ran everything before each role had one of its own.
pub(super) const FORMER: &str = "flowkit";

/// In a state directory that has been used, so that root knows it whatever else is put there.
const MARK: &str = ".flowkit";

/// Who works in a state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Root, in a directory of root's; each role's services run as a user of the role's own.
    Root,
    /// One user: whoever runs this, or whom root has become.
    OneUser,
}

/// What is meant to be done with a state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Look at it, or speak to what runs there; nothing is made or given to anybody.
    Look,
    /// Start services. Root does so as the owner of another's directory only when it is told to.
    Start {
        /// Whether it was.
        as_owner: bool,
    },
}

/// Finds out who works in the state directory, and becomes that user where it is not root. To be called while there is one
/// thread only, before anything in the directory is read.
///
/// It also says whether the directory may be read: for root not where there was none, as what is put there from now on could be
/// anybody's.
///
/// # Errors
/// See [`HostError`]: nobody may, or somebody could get in the way.
pub fn enter(state: StateDir, purpose: Purpose) -> Result<(StateDir, Standing, bool), HostError> {
    if !geteuid().is_root() {
        return Ok((state, Standing::OneUser, true));
    }
    let root = real_path(state.root())?;
    let found = look_at(&root)?;
    let Some(found) = found else {
        trusted(&root)?;
        return Ok((StateDir::new(root), Standing::Root, false));
    };
    let owner = found.uid();
    if owner == 0 {
        trusted(&root)?;
        known(&root)?;
        return Ok((StateDir::new(root), Standing::Root, true));
    }
    match purpose {
        Purpose::Start { as_owner: false } if accounts::passwd(FORMER).is_some_and(|former| former.uid == owner) => {
            trusted_above(&root)?;
            known(&root)?;
            takeover::top(&root, owner)?;
            Ok((StateDir::new(root), Standing::Root, true))
        }
        Purpose::Start { as_owner: false } => Err(HostError::NotRoots { dir: root, owner }),
        Purpose::Look | Purpose::Start { as_owner: true } => {
            accounts::become_user(owner, found.gid())?;
            Ok((StateDir::new(root), Standing::OneUser, true))
        }
    }
}

/// For root: becomes the owner of a directory that is somebody else's, or in which it is to be made, for good.
///
/// # Errors
/// As [`enter`].
pub fn enter_owners(dir: &Path) -> Result<PathBuf, HostError> {
    if !geteuid().is_root() {
        return Ok(dir.to_path_buf());
    }
    let dir = real_path(dir)?;
    let there = dir.ancestors().find_map(|above| look_at(above).transpose()).transpose()?;
    match there {
        Some(found) if found.uid() != 0 => accounts::become_user(found.uid(), found.gid())?,
        _ => trusted(&dir)?,
    }
    Ok(dir)
}

/// For root: becomes the owner of a directory that is there, for good, so that nothing which that user has put into it leads root
/// elsewhere. Root's own are as they are.
///
/// # Errors
/// It is no directory, or its owner can't be become.
pub fn become_owner(dir: &Path) -> Result<(), HostError> {
    if !geteuid().is_root() {
        return Ok(());
    }
    match look_at(&real_path(dir)?)? {
        Some(found) if found.uid() != 0 => accounts::become_user(found.uid(), found.gid()),
        _ => Ok(()),
    }
}

/// Makes the state directory and what every deployment has in it.
///
/// # Errors
/// See [`HostError`]; nothing is left half done that a second call would not finish.
pub(super) fn make(state: &StateDir, standing: Standing) -> Result<(), HostError> {
    let (root, us) = (state.root(), geteuid().as_raw());
    // Closed to others from the start where it is one user's: it may be made where everybody can write, as in a
    // container's /dev/shm. Root's has a directory for each role, which its user must reach.
    let mode = if standing == Standing::Root { 0o755 } else { 0o700 };
    make_directory(root, mode)?;
    if standing == Standing::Root {
        // Somebody could have made it, or one above it, since it was not there.
        trusted(root)?;
    }
    let owner = look_at(root)?.map_or(us, |found| found.uid());
    if owner != us {
        return Err(HostError::NotOurs { dir: root.to_owned(), owner, us });
    }
    rustix::fs::access(root, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| HostError::State(root.to_owned(), error.into()))?;
    // Where copies of secrets were before they had a directory of their own.
    let _ = fs::remove_dir_all(state.run().join("secrets"));
    for dir in [state.log(), state.run(), state.secrets()] {
        make_directory(&dir, 0o700)?;
        let owner = look_at(&dir)?.map_or(us, |found| found.uid());
        if owner != us {
            return Err(HostError::Anothers { dir, owner, wanted: "who runs this".to_owned() });
        }
    }
    if standing == Standing::Root {
        let set = |dir: &Path, mode| {
            let set = fs::set_permissions(dir, fs::Permissions::from_mode(mode));
            set.map_err(|error| HostError::State(dir.to_owned(), error))
        };
        set(root, 0o755)?;
        make_private(&state.credentials(), standing)?;
        let mark = "A deployment of FlowKit, made by flowkit. The manual says what is what: `flowkit help`.\n";
        fs::write(root.join(MARK), mark).map_err(|error| HostError::State(root.to_owned(), error))?;
    }
    Ok(())
}

/// Makes the directory that holds the roles' copies of secrets; each role's user passes through root's.
pub(super) fn make_private(dir: &Path, standing: Standing) -> Result<(), HostError> {
    let mode = if standing == Standing::Root { 0o711 } else { 0o700 };
    make_directory(dir, mode)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).map_err(|error| HostError::State(dir.to_owned(), error))
}

/// Makes a directory with those above it, unless it is there.
pub(super) fn make_directory(dir: &Path, mode: u32) -> Result<(), HostError> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(dir);
    made.map_err(|error| HostError::State(dir.to_owned(), error))
}

/// Makes what is above a directory that is to be made after [`enter_owners`]. Somebody could have made that since it was looked at:
/// root then makes nothing there.
///
/// # Errors
/// See [`HostError`].
pub fn make_above(dir: &Path) -> Result<(), HostError> {
    if let Some(above) = dir.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_directory(above, 0o755)?;
    }
    if geteuid().is_root() { trusted(dir) } else { Ok(()) }
}

/// Whether services can run the program and reach the state directory, as the user that they run as.
pub(super) fn reachable(root: &Path, program: &Path, user: Option<&User>) -> Result<(), HostError> {
    let uid = user.map_or(geteuid().as_raw(), |user| user.uid);
    let look = || {
        let acting = user.map(Acting::as_user).transpose();
        let _acting = acting.map_err(|error| HostError::Become(uid, error))?;
        let may = |path: &Path| rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS);
        may(root).map_err(|error| HostError::State(root.to_owned(), error.into()))?;
        may(program).map_err(|_| HostError::Program { user: uid, program: program.to_owned() })
    };
    // A thread of its own, as only it becomes the user.
    std::thread::scope(|scope| scope.spawn(look).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Where the one above is missing at first, whoever makes it owns the place.
    #[test]
    fn a_directory_that_somebody_made_meanwhile_is_not_used() {
        if !geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let place = StateDir::new(dir.path().canonicalize().unwrap().join("missing/state"));
        let start = Purpose::Start { as_owner: false };
        let (state, standing, there) = enter(place, start).unwrap();
        assert!(!there && standing == Standing::Root && !state.root().exists());
        let above = state.root().parent().unwrap();
        fs::create_dir(above).unwrap();
        std::os::unix::fs::chown(above, Some(65534), None).unwrap();
        assert!(matches!(make(&state, standing), Err(HostError::Exposed { above: found, .. }) if found == above));
        std::os::unix::fs::chown(above, Some(0), None).unwrap();
        make(&state, standing).unwrap();
    }

    /// The same for secrets, whose directory has no mark.
    #[test]
    fn secrets_are_not_made_where_somebody_was_quicker() {
        if !geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let secrets = enter_owners(&dir.path().join("missing/secrets")).unwrap();
        let above = secrets.parent().unwrap();
        for plant in [
            (|above, _| fs::create_dir(above).and_then(|()| std::os::unix::fs::chown(above, Some(65534), None)))
                as fn(&Path, &Path) -> std::io::Result<()>,
            |above, dir| fs::remove_dir(above).and_then(|()| symlink(dir, above)),
        ] {
            plant(above, dir.path()).unwrap();
            assert!(make_above(&secrets).is_err());
            assert!(!secrets.exists());
        }
        fs::remove_file(above).unwrap();
        make_above(&secrets).unwrap();
        assert!(above.is_dir() && !secrets.exists());
    }
}
