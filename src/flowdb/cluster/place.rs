//! Where the data directory is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::flowdb::programs::version_of;
use flowkit_core::Site;

/// In a directory that is not ours: where our own is.
const INNER: &str = "pgdata";

/// The data directory: what `FLOWKIT_FLOWDB_DATA` names or `flowdb/data` in the state directory, or its subdirectory
/// `pgdata`.
///
/// PostgreSQL takes a directory only from its owner, and Docker gives volumes to root. So the directory itself is used
/// when it is ours or can become so, and the subdirectory otherwise; data that are there already decide it for good,
/// whoever owns the directory by now.
pub fn data_directory(Site { state, settings, .. }: &Site) -> PathBuf {
    let named = settings.text("FLOWKIT_FLOWDB_DATA").map_or_else(|| state.role("flowdb").join("data"), PathBuf::from);
    place_in(named, geteuid().as_raw())
}

/// The data directory of the user `me` in `named`.
fn place_in(named: PathBuf, me: u32) -> PathBuf {
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
    use flowkit_core::config::{Origin, Settings, StateDir};
    use flowkit_core::secrets::Store;

    #[test]
    fn what_is_there_decides_and_else_the_owner() {
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("volume");
        let mut settings = Settings::default();
        settings.set("FLOWKIT_FLOWDB_DATA", named.to_str().unwrap(), Origin::Flag).unwrap();
        let (state, store) = (StateDir::new(dir.path()), Store::new(None));
        let found = |settings: &Settings| {
            data_directory(&Site { state: state.clone(), settings: settings.clone(), store: store.clone() })
        };
        assert_eq!(found(&settings), named, "it can be made");
        fs::create_dir_all(named.join("pgdata")).unwrap();
        assert_eq!(found(&settings), named.join("pgdata"), "it belonged to root at an earlier start");
        fs::write(named.join("PG_VERSION"), "17\n").unwrap();
        assert_eq!(found(&settings), named);
        assert_eq!(found(&Settings::default()), dir.path().join("flowdb/data"));
    }

    #[test]
    fn what_belongs_to_another_user_holds_a_directory_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let owner = fs::metadata(dir.path()).unwrap().uid();
        assert_eq!(place_in(dir.path().into(), owner), dir.path());
        assert_eq!(place_in(dir.path().into(), owner + 1), dir.path().join("pgdata"));
    }
}
