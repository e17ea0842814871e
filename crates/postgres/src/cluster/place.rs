//! Where the data directory is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::programs::version_of;

/// In a directory that is not ours: where our own is.
const INNER: &str = "pgdata";

/// The data directory of the user `me` in `named`.
pub fn place_in(named: PathBuf, me: u32) -> PathBuf {
    let inner = named.join(INNER);
    let inside = version_of(&named).is_none() && (inner.exists() || is_anothers(&named, me));
    if inside { inner } else { named }
}

fn is_anothers(path: &Path, me: u32) -> bool {
    fs::metadata(path).is_ok_and(|found| found.uid() != me)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_decides_and_else_the_owner() {
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("volume");
        let me = fs::metadata(dir.path()).unwrap().uid();
        let found = || place_in(named.clone(), me);
        assert_eq!(found(), named, "it can be made");
        fs::create_dir_all(named.join("pgdata")).unwrap();
        assert_eq!(found(), named.join("pgdata"), "it belonged to root at an earlier start");
        fs::write(named.join("PG_VERSION"), "17\n").unwrap();
        assert_eq!(found(), named);
    }

    #[test]
    fn what_belongs_to_another_user_holds_a_directory_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let owner = fs::metadata(dir.path()).unwrap().uid();
        assert_eq!(place_in(dir.path().into(), owner), dir.path());
        assert_eq!(place_in(dir.path().into(), owner + 1), dir.path().join("pgdata"));
    }
}
