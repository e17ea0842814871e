//! Whom root has to trust who works in a directory: whoever can change it, or put another in its place.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{HostError, MARK};
use flowkit_core::catalogue::catalogue;

/// The directory with links resolved in what is above it, but not in its own name: who can change that can swap it.
pub fn real_path(path: &Path) -> Result<PathBuf, HostError> {
    let state = |error| HostError::State(path.to_owned(), error);
    let path = std::path::absolute(path).map_err(state)?;
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path) };
    // What is not there yet has no links.
    let there = above.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    let rest = above.strip_prefix(there).unwrap_or(Path::new(""));
    Ok(there.canonicalize().map_err(state)?.join(rest).join(name))
}

/// What is there, which must be a directory.
pub fn look_at(path: &Path) -> Result<Option<Metadata>, HostError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(Some(found)),
        Ok(_) => Err(HostError::NoDirectory(path.to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HostError::State(path.to_owned(), error)),
    }
}

/// Nobody but root can change this directory, or put anything in its place.
pub fn trusted(dir: &Path) -> Result<(), HostError> {
    match look_at(dir)? {
        Some(found) if found.uid() != 0 || found.mode() & 0o022 != 0 => {
            Err(HostError::Exposed { dir: dir.to_owned(), above: dir.to_owned() })
        }
        _ => trusted_above(dir),
    }
}

pub fn trusted_above(dir: &Path) -> Result<(), HostError> {
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
pub fn known(root: &Path) -> Result<(), HostError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::geteuid;
    use std::os::unix::fs::{PermissionsExt, symlink};

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
