//! File systems of a size of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system at a path, in which everybody may make directories. It is gone when this goes.
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// One of so many mebibytes; `None` where nothing can be mounted, as that is for root where the kernel lets it.
    pub fn at(path: &Path, mebibytes: u32) -> Option<Tmpfs> {
        fs::create_dir_all(path).expect("a place to mount it");
        let size = format!("size={mebibytes}m,mode=1777");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
        mount.is_ok_and(|mount| mount.status.success()).then(|| Tmpfs(path.to_owned()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Whoever still holds it keeps it until then.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
