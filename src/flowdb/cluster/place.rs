//! Where the data directory is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::config::{Settings, StateDir};
use crate::flowdb::programs::version_of;

/// In a directory that is not ours: where our own is.
const INNER: &str = "pgdata";

/// The data directory: what `FLOWKIT_FLOWDB_DATA` names or `flowdb/data` in the state directory, or its subdirectory
/// `pgdata`.
///
/// PostgreSQL takes a directory only from its owner, and Docker gives volumes to root. So the directory itself is used
/// when it is ours or can become so, and the subdirectory otherwise; data that are there already decide it for good,
/// whoever owns the directory by now.
pub fn data_directory(state: &StateDir, settings: &Settings) -> PathBuf {
    let named = settings.text("FLOWKIT_FLOWDB_DATA").map_or_else(|| state.flowdb_data(), PathBuf::from);
    let inner = named.join(INNER);
    let inside = version_of(&named).is_none() && (inner.exists() || is_anothers(&named));
    if inside { inner } else { named }
}

fn is_anothers(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.uid() != geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    #[test]
    fn what_is_there_decides_and_else_the_owner() {
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("volume");
        let mut settings = Settings::default();
        settings.set("FLOWKIT_FLOWDB_DATA", named.to_str().unwrap(), Origin::Flag).unwrap();
        let state = StateDir::new(dir.path());
        let found = |settings: &Settings| data_directory(&state, settings);
        assert_eq!(found(&settings), named, "it can be made");
        fs::create_dir_all(named.join("pgdata")).unwrap();
        assert_eq!(found(&settings), named.join("pgdata"), "it belonged to root at an earlier start");
        fs::write(named.join("PG_VERSION"), "17\n").unwrap();
        assert_eq!(found(&settings), named);
        // Another user's, from where we stand: /proc/1 is root's, and nobody's when root runs this.
        let not_ours = if geteuid().is_root() { None } else { Some("/proc/1") };
        if let Some(path) = not_ours {
            settings.set("FLOWKIT_FLOWDB_DATA", path, Origin::Flag).unwrap();
            assert_eq!(found(&settings), Path::new(path).join("pgdata"));
        }
        assert_eq!(found(&Settings::default()), dir.path().join("flowdb/data"));
    }
}
