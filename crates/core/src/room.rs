//! Room on a disk that FlowKit leaves to others.

use std::io;
use std::path::Path;

/// Least and most that is kept, in bytes, and the part of a disk that is: a fiftieth.
const KEPT: (u64, u64) = (128 << 20, 1 << 30);

/// Bytes of a disk of so many that are kept free where nobody says how many: enough for what a database writes between two looks of its guard, and for
/// its log then; of a small disk a tenth at most.
pub fn kept(all: u64) -> u64 {
    (all / 50).clamp(KEPT.0, KEPT.1).min(all / 10)
}

/// Bytes that those who are not root may still take of a directory's file system, and all of its bytes.
///
/// # Errors
/// The system's.
pub fn space(place: &Path) -> io::Result<(u64, u64)> {
    let disk = rustix::fs::statvfs(place)?;
    Ok((disk.f_frsize * disk.f_bavail, disk.f_frsize * disk.f_blocks))
}
