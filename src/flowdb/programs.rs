//! PostgreSQL's programs: which installation is used.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;
use crate::config::Settings;

/// The oldest major version whose features the schema uses.
pub(super) const OLDEST: u32 = 15;

/// Where Debian puts every major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// An installation of PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    /// The directory of its programs.
    pub bin: PathBuf,
    /// Its major version.
    pub major: u32,
}

impl Postgres {
    /// The installation that serves `data`.
    ///
    /// In this order: the setting `FLOWKIT_POSTGRES_BIN`; the newest of Debian's that has PostGIS; the PATH. A data
    /// directory that is already initialised decides the major version.
    pub fn find(settings: &Settings, data: &Path) -> Result<Postgres, Error> {
        let wanted = version_of(data);
        let candidates = match settings.text("FLOWKIT_POSTGRES_BIN") {
            Some(bin) => vec![Postgres::at(Path::new(bin))?],
            None => installed(),
        };
        let fits = |postgres: &&Postgres| wanted.as_deref().is_none_or(|wanted| postgres.major.to_string() == wanted);
        if let Some(postgres) = candidates.iter().find(fits) {
            return Ok(postgres.clone());
        }
        match (wanted, candidates.is_empty()) {
            (Some(made_by), false) => Err(Error::OtherMajor {
                data: data.into(),
                made_by,
                installed: candidates.iter().map(|p| p.major.to_string()).collect::<Vec<_>>().join(", "),
            }),
            _ => Err(Error::NoPostgres { looked: format!("{DEBIAN}/*/bin and the PATH"), oldest: OLDEST }),
        }
    }

    /// The installation in one directory, asked for its version.
    fn at(bin: &Path) -> Result<Postgres, Error> {
        let path = bin.join("postgres");
        let output = Command::new(&path)
            .arg("--version")
            .output()
            .map_err(|source| Error::NotPostgres { path: path.clone(), source: Some(source) })?;
        match major(&String::from_utf8_lossy(&output.stdout)) {
            Some(major) if major >= OLDEST => Ok(Postgres { bin: bin.into(), major }),
            Some(_) => Err(Error::NoPostgres { looked: bin.display().to_string(), oldest: OLDEST }),
            None => Err(Error::NotPostgres { path, source: None }),
        }
    }

    /// One of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

/// Debian's installations with PostGIS, newest first, then that of the PATH.
fn installed() -> Vec<Postgres> {
    let mut found: Vec<Postgres> = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let extensions = Path::new("/usr/share/postgresql").join(entry.file_name()).join("extension");
            extensions.join("postgis.control").exists()
        })
        .filter_map(|entry| Postgres::at(&entry.path().join("bin")).ok())
        .collect();
    found.sort_by_key(|postgres| std::cmp::Reverse(postgres.major));
    let on_path = env::var_os("PATH").unwrap_or_default();
    found.extend(
        env::split_paths(&on_path).filter(|dir| dir.join("postgres").exists()).find_map(|dir| Postgres::at(&dir).ok()),
    );
    found
}

/// The major version in the answer to `postgres --version`.
fn major(answer: &str) -> Option<u32> {
    let version = answer.strip_prefix("postgres (PostgreSQL) ")?;
    let end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..end].parse().ok()
}

/// What an initialised data directory says made it.
pub(super) fn version_of(data: &Path) -> Option<String> {
    fs::read_to_string(data.join("PG_VERSION")).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_every_spelling() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major("postgres (PostgreSQL) 17.5\n"), Some(17));
        assert_eq!(major("mysqld  Ver 8.0\n"), None);
        assert_eq!(major(""), None);
    }
}
