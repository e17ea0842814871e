//! What the server's programs and its data directory tell while no server runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Database;

/// Deepest nesting in a data directory: `pg_tblspc/OID/PG_15_.../OID/FILE`.
const DEEPEST: usize = 5;

impl Database {
    /// Looks at the programs in `bin` (of version `major`) and at what is in `data_dir`, which need not exist.
    /// Partitions can't be counted without a running server: who knows them puts them in.
    pub fn look(bin: &Path, major: u32, data_dir: &Path) -> Database {
        let libraries = libraries(bin);
        let has = |name: &str| libraries.iter().any(|dir| dir.join(name).exists());
        Database {
            major,
            bytes: size_of(&data_dir.join("base"), DEEPEST) + size_of(&data_dir.join("pg_tblspc"), DEEPEST),
            partitions: 0,
            lz4: accepts(bin, "wal_compression", "lz4"),
            debugger: has("plugin_debugger.so"),
            statements: has("pg_stat_statements.so"),
        }
    }
}

/// Where the server of `bin` may look for libraries. It finds them from its own place, as this does: Debian and
/// nixpkgs keep them in `../lib`, a build of one's own in `../lib/postgresql`; nixpkgs' wrapper has a variable.
fn libraries(bin: &Path) -> Vec<PathBuf> {
    let beside = |bin: &Path| bin.parent().map(|prefix| [prefix.join("lib"), prefix.join("lib/postgresql")]);
    let real = bin.join("postgres").canonicalize().ok().and_then(|p| Some(p.parent()?.to_owned()));
    let mut found: Vec<PathBuf> = std::env::var_os("NIX_PGLIBDIR").into_iter().map(PathBuf::from).collect();
    found.extend([Some(bin.to_owned()), real].into_iter().flatten().filter_map(|b| beside(&b)).flatten());
    found
}

/// Asks the server itself whether it takes a value: it answers in milliseconds without starting, also as root.
fn accepts(bin: &Path, name: &str, value: &str) -> bool {
    Command::new(bin.join("postgres"))
        .args(["-C", name, "-c", &format!("{name}={value}"), "-c", "data_directory=/", "-c", "config_file=/dev/null"])
        .args(["-c", "hba_file=/dev/null", "-c", "ident_file=/dev/null"])
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|out| out.status.success() && out.stdout.trim_ascii() == value.as_bytes())
}

/// Bytes of all files below `path`, which may be gone or unreadable in part. Links are followed (tablespaces are such).
fn size_of(path: &Path, depth: usize) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let size = |entry: fs::DirEntry| match fs::metadata(entry.path()) {
        Ok(meta) if meta.is_dir() && depth > 0 => size_of(&entry.path(), depth - 1),
        Ok(meta) if meta.is_file() => meta.len(),
        _ => 0,
    };
    entries.flatten().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_measured_through_tablespaces() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir_all(data.join("base/5")).unwrap();
        fs::create_dir_all(data.join("pg_tblspc")).unwrap();
        fs::create_dir_all(data.join("pg_wal")).unwrap();
        fs::create_dir_all(dir.path().join("elsewhere/PG_15_1/5")).unwrap();
        fs::write(data.join("base/5/1"), [0; 100]).unwrap();
        fs::write(data.join("pg_wal/1"), [0; 1000]).unwrap();
        fs::write(dir.path().join("elsewhere/PG_15_1/5/2"), [0; 20]).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), data.join("pg_tblspc/99")).unwrap();
        assert_eq!(
            Database::look(Path::new("/nowhere"), 15, &data),
            Database { major: 15, bytes: 120, partitions: 0, lz4: false, debugger: false, statements: false }
        );
    }
}
