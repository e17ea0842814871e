//! Where a system keeps what programs need: the part of a [`Confinement`](crate::Confinement) that is the same for all of a kind.

use std::fs;
use std::path::{Path, PathBuf};

/// Programs, libraries and settings of the system, as far as every user may read them.
pub const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc",
    "/opt",
    "/nix/store",
    "/run/current-system",
    "/proc",
    "/sys",
];

/// Devices that every program may want.
pub const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// What an installation of programs has beside its `bin`.
const BESIDE: &[&str] = &["bin", "lib", "lib64", "libexec", "share", "pyvenv.cfg"];

/// A program by its name, and as the file that it is.
pub fn alone(path: &Path) -> Vec<PathBuf> {
    [Some(path.to_owned()), path.canonicalize().ok()].into_iter().flatten().collect()
}

/// A program, and what its installation has for it.
pub fn installation(path: &Path) -> Vec<PathBuf> {
    let beside = alone(path).into_iter().flat_map(|path| {
        let bin = path.ancestors().take(2).find(|path| path.ends_with("bin"));
        let prefix = bin.and_then(Path::parent).map(Path::to_owned);
        let beside = prefix.into_iter().flat_map(|prefix| BESIDE.iter().map(move |name| prefix.join(name)));
        [path.clone()].into_iter().chain(beside).collect::<Vec<_>>()
    });
    beside.collect()
}

/// What is there of a path, but for what is `closed`, given as it really is: where that is below the path, everything beside.
pub fn around(path: &Path, closed: &[&Path]) -> Vec<PathBuf> {
    let Ok(path) = path.canonicalize() else { return Vec::new() };
    if closed.contains(&&*path) {
        return Vec::new();
    }
    if !closed.iter().any(|closed| closed.starts_with(&path)) {
        return vec![path];
    }
    let entries = fs::read_dir(&path).into_iter().flatten().flatten();
    entries.flat_map(|entry| around(&entry.path(), closed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_is_not_opened_with_what_it_stands_in() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for path in ["opt/flowkit/secrets", "opt/flowkit/redis", "opt/other", "opt/data", "usr"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        let (closed, data) = (root.join("opt/flowkit"), root.join("opt/data"));
        let both = [&*closed, &*data];
        assert_eq!(around(&root.join("usr"), &both), [root.join("usr")]);
        assert_eq!(around(&root.join("opt"), &both), [root.join("opt/other")]);
        assert!(around(&closed, &both).is_empty());
        assert_eq!(around(&closed.join("redis"), &both), [closed.join("redis")]);
        assert_eq!(around(&closed.join("redis"), &[&*closed.join("redis/data")]), Vec::<PathBuf>::new());
        assert!(around(&root.join("missing"), &both).is_empty());
    }

    #[test]
    fn a_program_comes_with_its_installation_and_no_more() {
        let python: Vec<PathBuf> = installation(Path::new("/home/ada/venv/bin/python"));
        for path in ["/home/ada/venv/bin/python", "/home/ada/venv/lib", "/home/ada/venv/pyvenv.cfg"] {
            assert!(python.contains(&path.into()), "{path}");
        }
        assert!(!python.contains(&"/home/ada/venv".into()));
        assert_eq!(installation(Path::new("/home/ada/redis-server")), [PathBuf::from("/home/ada/redis-server")]);
    }
}
