//! PostgreSQL's programs: which installation is used.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;
use flowkit_core::config::{Settings, file};

/// The oldest major version whose features are used.
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
    /// In this order: the setting `FLOWKIT_POSTGRES_BIN`; the newest of Debian's; the PATH. Without these extensions none will do.
    /// A data directory that is already initialised decides the major version.
    pub fn find(settings: &Settings, data: &Path, extensions: &[&'static str]) -> Result<Postgres, Error> {
        let wanted = version_of(data);
        let candidates = match settings.text("FLOWKIT_POSTGRES_BIN") {
            Some(bin) => vec![Postgres::at(Path::new(bin))?],
            None => installed(),
        };
        let fits = |postgres: &&Postgres| wanted.as_deref().is_none_or(|wanted| postgres.major.to_string() == wanted);
        if let Some(postgres) =
            candidates.iter().find(|postgres| fits(postgres) && postgres.lacks(extensions).is_none())
        {
            return Ok(postgres.clone());
        }
        let lacking = candidates.iter().filter(fits).find_map(|bare| Some((bare, bare.lacks(extensions)?)));
        match (lacking, wanted) {
            (Some((bare, extension)), _) => Err(bare.without(extension)),
            (None, Some(made_by)) if !candidates.is_empty() => Err(Error::OtherMajor {
                data: data.into(),
                made_by,
                with: with(extensions),
                installed: candidates.iter().map(|p| p.major.to_string()).collect::<Vec<_>>().join(", "),
            }),
            (None, _) => Err(Error::NoPostgres {
                looked: format!("{DEBIAN}/*/bin and the PATH"),
                oldest: OLDEST,
                with: with(extensions),
            }),
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
            Some(_) => {
                Err(Error::NoPostgres { looked: bin.display().to_string(), oldest: OLDEST, with: String::new() })
            }
            None => Err(Error::NotPostgres { path, source: None }),
        }
    }

    /// One of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The first of these extensions that is not installed with it.
    fn lacks(&self, extensions: &[&'static str]) -> Option<&'static str> {
        let dirs = extension_dirs(&self.bin, self.major);
        let installed = |name: &str| dirs.iter().any(|dir| dir.join(format!("{name}.control")).exists());
        extensions.iter().copied().find(|name| !installed(name))
    }

    fn without(&self, extension: &'static str) -> Error {
        let looked = extension_dirs(&self.bin, self.major);
        let looked = looked.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>();
        Error::NoExtension { bin: self.bin.clone(), extension, looked: looked.join(", ") }
    }
}

/// For people: what has to be installed beside PostgreSQL itself.
fn with(extensions: &[&str]) -> String {
    if extensions.is_empty() { String::new() } else { format!(" with {}", extensions.join(", ")) }
}

/// Where the extensions of the programs in `bin` are described. The server finds them from its own place, as this does:
/// beside `bin` in nixpkgs' layout and that of a build of one's own, three levels up in Debian's, wherever that stands.
/// nixpkgs puts server and extensions together by links, so the place that is named counts, then the one it leads to.
fn extension_dirs(bin: &Path, major: u32) -> Vec<PathBuf> {
    let real = bin.join("postgres").canonicalize().ok().and_then(|program| Some(program.parent()?.to_owned()));
    let mut found = Vec::new();
    for bin in [Some(bin.to_owned()), bin.canonicalize().ok(), real].into_iter().flatten() {
        let beside = bin.parent().map(|prefix| prefix.join("share/postgresql/extension"));
        let own = bin.parent().map(|prefix| prefix.join("share/extension"));
        let debian = bin.ancestors().nth(4).map(|usr| usr.join(format!("share/postgresql/{major}/extension")));
        for dir in [beside, own, debian].into_iter().flatten() {
            if dir.is_dir() && !found.contains(&dir) {
                found.push(dir);
            }
        }
    }
    found
}

/// Debian's installations, newest first, then that of the PATH.
fn installed() -> Vec<Postgres> {
    let entries = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut found: Vec<Postgres> = entries.filter_map(|entry| Postgres::at(&entry.path().join("bin")).ok()).collect();
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

/// What an initialised data directory says made it. A power cut may leave the file empty; every database has another.
pub(super) fn version_of(data: &Path) -> Option<String> {
    let own = read(&data.join(VERSION)).ok()?;
    let databases = fs::read_dir(data.join("base")).into_iter().flatten().flatten();
    let others = databases.filter_map(|database| read(&database.path().join(VERSION)).ok());
    let mut found = [own].into_iter().chain(others).filter_map(|text| version_in(&text));
    Some(found.next().unwrap_or_else(|| "of an unknown version".into()))
}

/// Puts the version back into files that lost it; says which.
pub(super) fn mend_versions(data: &Path, major: u32) -> Result<Vec<String>, Error> {
    let databases = fs::read_dir(data.join("base")).into_iter().flatten().flatten();
    let mut mended = Vec::new();
    for path in [data.to_owned()].into_iter().chain(databases.map(|database| database.path())) {
        let path = path.join(VERSION);
        if read(&path).is_ok_and(|text| version_in(&text).is_none()) {
            super::cluster::write_whole(&path, &format!("{major}\n"))?;
            mended.push(format!("{} held no version, as after a power cut: it says {major} again", path.display()));
        }
    }
    Ok(mended)
}

const VERSION: &str = "PG_VERSION";

/// Root asks for it too: what stands there is neither waited for nor read without end.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    const LONGEST: u64 = 64;
    file::read_anyones(path, LONGEST).map(|text| text.to_vec())
}

fn version_in(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim();
    text.parse::<u32>().ok().map(|major| major.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use flowkit_core::config::Origin;

    #[test]
    fn versions_are_read_from_every_spelling() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major("postgres (PostgreSQL) 17.5\n"), Some(17));
        assert_eq!(major("mysqld  Ver 8.0\n"), None);
        assert_eq!(major(""), None);
    }

    /// A tree with an executable that claims to be PostgreSQL 17, at `bin`, and PostGIS in `extension`.
    fn tree(bin: &str, extension: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let (bin, extension) = (dir.path().join(bin), dir.path().join(extension));
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(&extension).unwrap();
        fs::write(extension.join("postgis.control"), "").unwrap();
        fs::write(bin.join("postgres"), "#!/bin/sh\necho 'postgres (PostgreSQL) 17.5'\n").unwrap();
        fs::set_permissions(bin.join("postgres"), fs::Permissions::from_mode(0o755)).unwrap();
        dir
    }

    fn found(bin: &Path, extensions: &[&'static str]) -> Result<Postgres, Error> {
        let mut settings = Settings::default();
        settings.set("FLOWKIT_POSTGRES_BIN", bin.to_str().unwrap(), Origin::Flag).unwrap();
        Postgres::find(&settings, Path::new("/nowhere"), extensions)
    }

    #[test]
    fn extensions_are_found_from_the_programs_own_place() {
        // nixpkgs' tree of links, Debian's tree below a store path, a build of one's own.
        for (bin, extension) in [
            ("bin", "share/postgresql/extension"),
            ("usr/lib/postgresql/17/bin", "usr/share/postgresql/17/extension"),
            ("bin", "share/extension"),
        ] {
            let dir = tree(bin, extension);
            let bin = dir.path().join(bin);
            assert_eq!(found(&bin, &["postgis"]).unwrap(), Postgres { bin: bin.clone(), major: 17 });
        }
        // `bin` itself may be a link into such a tree, and the program one to a package without extensions.
        let debian = tree("usr/lib/postgresql/17/bin", "usr/share/postgresql/17/extension");
        let link = debian.path().join("bin");
        std::os::unix::fs::symlink("usr/lib/postgresql/17/bin", &link).unwrap();
        assert_eq!(found(&link, &["postgis"]).unwrap().bin, link);
        let nix = tree("base/bin", "env/share/postgresql/extension");
        fs::create_dir(nix.path().join("env/bin")).unwrap();
        std::os::unix::fs::symlink("../../base/bin/postgres", nix.path().join("env/bin/postgres")).unwrap();
        assert_eq!(found(&nix.path().join("env/bin"), &["postgis"]).unwrap().major, 17);
        let bare = nix.path().join("base/bin");
        assert!(
            matches!(found(&bare, &["postgis"]), Err(Error::NoExtension { bin, extension: "postgis", .. }) if bin == bare)
        );
        assert!(found(&bare, &[]).is_ok(), "nobody asks for any");
    }
}
