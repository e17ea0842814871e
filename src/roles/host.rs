//! Whose a state directory is, and who therefore works in it.
//!
//! Root believes what stands in a directory of root's that nobody else can change or swap. In anybody else's directory it
//! becomes that somebody, for good, before it reads anything there. So whatever a service or another user writes never
//! tells root what to do.

use std::fs::{self, Metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};
use rustix::process::geteuid;

use super::{accounts, takeover};
use flowkit_core::catalogue::catalogue;
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

/// Why the host can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The state directory can't be made or entered.
    #[error("cannot use the state directory {}", .0.display())]
    State(PathBuf, #[source] std::io::Error),
    /// Somebody else's directory.
    #[error("the state directory {} belongs to user {owner}, and this is user {us}: run as its owner or as root", .dir.display())]
    NotOurs {
        /// The state directory.
        dir: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// Our number.
        us: u32,
    },
    /// Root would run somebody else's services with somebody else's settings.
    #[error(
        "the state directory {} belongs to user {owner}: run this as that user, or with --as-owner to have root do it as \
         that user, or name another directory with --dir", .dir.display()
    )]
    NotRoots {
        /// The state directory.
        dir: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// A link may lead anywhere.
    #[error("{} is not a directory, and root follows no link there; give --dir DIR", .0.display())]
    NoDirectory(PathBuf),
    /// Somebody could swap what root works on.
    #[error(
        "root does not work in {}: {} can be changed by others; choose a place that is root's all the way, such as \
         /var/lib/flowkit, or make it so", .dir.display(), .above.display()
    )]
    Exposed {
        /// The state directory.
        dir: PathBuf,
        /// It, or one above it.
        above: PathBuf,
    },
    /// It is something else's directory.
    #[error("{} is no state directory of flowkit, since it holds {file:?}: name a new or an empty one with --dir", .dir.display())]
    Strange {
        /// The directory.
        dir: PathBuf,
        /// What is in it.
        file: String,
    },
    /// A directory below the state directory is not its user's.
    #[error("{} belongs to user {owner}, not to {wanted}: give it back (chown -R), or move it away", .dir.display())]
    Anothers {
        /// The directory.
        dir: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// Whose it must be.
        wanted: String,
    },
    /// Whose processes still run could get in the way of a change of owners.
    #[error(
        "{} is of a version in which user {FORMER} ran everything, and processes of that user still run (pid {pid}): \
         flowkit down --dir {}", .dir.display(), .dir.display()
    )]
    StillRuns {
        /// The state directory.
        dir: PathBuf,
        /// One of them.
        pid: u32,
    },
    /// Root would follow it.
    #[error("{} is no plain file with one name, and a service could have put it there: look at it, and remove it", .0.display())]
    Planted(PathBuf),
    /// A system user can't be made.
    #[error("cannot make the system user `{name}` with useradd")]
    User {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Privileges can't be dropped; going on as root is no choice.
    #[error("cannot become user {0}")]
    Become(u32, #[source] std::io::Error),
    /// A role that never ran here has no user to do it as.
    #[error("the role {role} is not in {} yet: `flowkit up` with it, as root, brings it", .dir.display())]
    NoRole {
        /// The state directory.
        dir: PathBuf,
        /// The role.
        role: String,
    },
    /// The user that services run as can't reach this program.
    #[error("user {user} cannot run {}: install flowkit where every user can reach it, e.g. /usr/local/bin", .program.display())]
    Program {
        /// The user's number.
        user: u32,
        /// This program.
        program: PathBuf,
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

/// The directory with links resolved in what is above it, but not in its own name: who can change that can swap it.
fn real_path(path: &Path) -> Result<PathBuf, HostError> {
    let state = |error| HostError::State(path.to_owned(), error);
    let path = std::path::absolute(path).map_err(state)?;
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path) };
    // What is not there yet has no links.
    let there = above.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    let rest = above.strip_prefix(there).unwrap_or(Path::new(""));
    Ok(there.canonicalize().map_err(state)?.join(rest).join(name))
}

/// What is there, which must be a directory.
fn look_at(path: &Path) -> Result<Option<Metadata>, HostError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(Some(found)),
        Ok(_) => Err(HostError::NoDirectory(path.to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HostError::State(path.to_owned(), error)),
    }
}

/// Nobody but root can change this directory, or put anything in its place.
fn trusted(dir: &Path) -> Result<(), HostError> {
    match look_at(dir)? {
        Some(found) if found.uid() != 0 || found.mode() & 0o022 != 0 => {
            Err(HostError::Exposed { dir: dir.to_owned(), above: dir.to_owned() })
        }
        _ => trusted_above(dir),
    }
}

fn trusted_above(dir: &Path) -> Result<(), HostError> {
    for above in dir.ancestors().skip(1) {
        let Some(found) = look_at(above)? else { continue };
        // In a sticky directory others may add names, but not touch those that are there.
        let open = found.mode() & 0o022 != 0 && found.mode() & 0o1000 == 0;
        if found.uid() != 0 || open {
            return Err(HostError::Exposed { dir: dir.to_owned(), above: above.to_owned() });
        }
    }
    Ok(())
}

/// It is marked as ours, or holds nothing that a state directory would not.
fn known(root: &Path) -> Result<(), HostError> {
    let state = |error| HostError::State(root.to_owned(), error);
    if fs::symlink_metadata(root.join(MARK)).is_ok() {
        return Ok(());
    }
    let ours = ["flowkit.toml", "secrets", "credentials", "run", "run.lock", "log", "lost+found"];
    for entry in fs::read_dir(root).map_err(state)? {
        let name = entry.map_err(state)?.file_name().to_string_lossy().into_owned();
        if !ours.contains(&name.as_str()) && catalogue().role(&name).is_none() {
            return Err(HostError::Strange { dir: root.to_owned(), file: name });
        }
    }
    Ok(())
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

    #[test]
    fn only_what_looks_like_a_state_directory_is_one() {
        let dir = tempfile::tempdir().unwrap();
        assert!(known(dir.path()).is_ok(), "empty");
        fs::create_dir(dir.path().join("flowdb")).unwrap();
        fs::write(dir.path().join("flowkit.toml"), "").unwrap();
        assert!(known(dir.path()).is_ok());
        fs::write(dir.path().join("letter to mum"), "").unwrap();
        assert!(matches!(known(dir.path()), Err(HostError::Strange { file, .. }) if file == "letter to mum"));
        fs::write(dir.path().join(MARK), "").unwrap();
        assert!(known(dir.path()).is_ok(), "it has been one before");
    }

    #[test]
    fn no_link_stands_for_the_directory_itself() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("real/state")).unwrap();
        symlink("real", dir.path().join("above")).unwrap();
        symlink("real/state", dir.path().join("state")).unwrap();
        let real = dir.path().canonicalize().unwrap().join("real/state");
        assert_eq!(real_path(&dir.path().join("above/state")).unwrap(), real);
        let link = real_path(&dir.path().join("state")).unwrap();
        assert!(matches!(look_at(&link), Err(HostError::NoDirectory(_))));
        assert_eq!(real_path(&dir.path().join("above/not/yet")).unwrap(), real.with_file_name("not").join("yet"));
    }

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

    #[test]
    fn a_directory_that_others_can_swap_is_not_trusted() {
        if !geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("above/state");
        fs::create_dir_all(&state).unwrap();
        assert!(trusted(&state).is_ok(), "below a sticky /tmp");
        fs::set_permissions(&state, fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(matches!(trusted(&state), Err(HostError::Exposed { above, .. }) if above == state));
        fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(dir.path().join("above"), Some(65534), None).unwrap();
        assert!(matches!(trusted(&state), Err(HostError::Exposed { .. })));
    }
}
