//! Room on disks, and how much of it is kept free for FlowDB.

use std::io;
use std::path::Path;

use rustix::fs::statvfs;

use crate::size::{GIB, MIB};

/// Least and most that is kept, in bytes: room for what is written between two looks at it, and for what PostgreSQL's log may still need
/// then. Chosen, not measured; of 900 MiB in memory 90 were enough that no statement in the test `deployment::room` found it full.
const KEPT: (u64, u64) = (128 * MIB, GIB);

/// Bytes that are kept free of a disk of `all` bytes: as many as somebody has `said`, else a fiftieth, within [`KEPT`]. Of any disk a
/// tenth at most: one that holds little more than what is kept would never have room.
pub fn kept(all: u64, said: Option<u64>) -> u64 {
    said.unwrap_or_else(|| (all / 50).clamp(KEPT.0, KEPT.1)).min(all / 10)
}

/// Bytes that those who are not root may still take of a directory's file system, and all of its bytes.
///
/// # Errors
/// The directory can't be looked at.
pub fn space(place: &Path) -> io::Result<(u64, u64)> {
    let disk = statvfs(place)?;
    Ok((disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fiftieth_is_kept_within_limits_and_never_more_than_a_tenth() {
        for (all, expected) in [
            (0, 0),
            (100 * MIB, 10 * MIB),
            (1280 * MIB, 128 * MIB),
            (6400 * MIB, 128 * MIB),
            (20_000 * MIB, 400 * MIB),
            (50 * GIB, GIB),
            (u64::MAX, GIB),
        ] {
            assert_eq!(kept(all, None), expected, "of {all}");
        }
        assert_eq!([0, 5 * GIB, 50 * GIB].map(|said| kept(100 * GIB, Some(said))), [0, 5 * GIB, 10 * GIB]);
    }

    #[test]
    fn a_disk_has_no_more_room_than_it_is_large() {
        let dir = tempfile::tempdir().unwrap();
        let (free, all) = space(dir.path()).unwrap();
        assert!(0 < all && free <= all);
        assert_eq!(space(&dir.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
