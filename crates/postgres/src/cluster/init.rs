//! Making a data directory that is there wholly or not at all.
//!
//! The data directory may be a mount point, so it can't be made aside and renamed as a whole. initdb works in a
//! directory inside it; when that is complete, and only then, its entries move up one by one, the mark last. Killed
//! before: the inner directory is thrown away. Killed between: the rest is moved.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use super::user::Named;
use super::{LOCK, MARK, conf, inherited, sync_directory, version_of, write_whole};
use crate::{Cluster, Error, MONITOR, MONITOR_CONNECTIONS, Postgres, password};
use flowkit_core::secrets::Secret;

/// Inside the data directory, while it is made.
const INNER: &str = "flowkit.new";

/// A mount point of its own may hold this.
const LOST_FOUND: &str = "lost+found";

/// How far a data directory has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing, or what a killed initdb left.
    Empty,
    /// The inner directory is complete and on its way up.
    Moving,
    /// Ours and whole.
    Whole,
}

/// Looks, touches nothing, and refuses what is not ours.
pub fn stage(data: &Path) -> Result<Stage, Error> {
    let names = names(data)?;
    let has = |name: &str| names.iter().any(|n| n == name);
    if has(MARK) {
        return Ok(Stage::Whole);
    }
    if data.join(INNER).join(MARK).exists() {
        return Ok(Stage::Moving);
    }
    let strange = names.iter().find(|name| ![INNER, LOCK, LOST_FOUND].iter().any(|known| name == known));
    match (version_of(data), strange) {
        (Some(major), _) => Err(foreign(data, format!("a cluster of PostgreSQL {major}"))),
        (None, Some(name)) => Err(foreign(data, format!("it holds {:?}", name.to_string_lossy()))),
        (None, None) => Ok(Stage::Empty),
    }
}

/// What a data directory is made of.
pub struct New<'a> {
    pub cluster: &'a Cluster,
    pub postgres: &'a Postgres,
    /// The superuser's.
    pub password: &'a Secret,
}

impl New<'_> {
    /// Goes on until the directory is whole; says whether it was not so before.
    ///
    /// initdb holds the `lock` too: if we are killed and it goes on, the next start waits for it to end.
    pub fn finish(&self, data: &Path, lock: &File, user: Option<&Named>) -> Result<bool, Error> {
        let stage = stage(data)?;
        if stage == Stage::Empty {
            let Some(user) = user else { return Err(Error::NoUserName { uid: geteuid().as_raw() }) };
            refuse_full_disk(data, self.cluster)?;
            discard(&data.join(INNER))?;
            let _inherited = inherited(lock.try_clone().map_err(Error::file("hand on", data.join(LOCK)))?)?;
            self.make(&data.join(INNER), user).inspect_err(|_| {
                // What is left of it would be discarded at the next start as well.
                let _ = discard(&data.join(INNER));
            })?;
        }
        if stage != Stage::Whole {
            move_up(data)?;
        }
        let _ = fs::remove_dir(data.join(INNER));
        Ok(stage != Stage::Whole)
    }

    /// A complete cluster in `inner`, on disk before its mark is.
    fn make(&self, inner: &Path, user: &Named) -> Result<(), Error> {
        self.initdb(inner, user)?;
        self.add_monitor(inner, user)?;
        conf::include_ours(inner)?;
        sync_directory(inner).map_err(Error::file("write", inner))?;
        write_whole(
            &inner.join(MARK),
            "This data directory was made by flowkit, and is whole as long as this file is here.\n",
        )
    }

    fn initdb(&self, inner: &Path, user: &Named) -> Result<(), Error> {
        let mut command = command(self.postgres, "initdb", user);
        // C.UTF-8 for what a letter is, C for how text is ordered: bytes compare faster than any language's rules, and no
        // update of the C library can reorder an index.
        command
            .args(["--encoding=UTF8", "--locale=C.UTF-8", "--lc-collate=C", "--data-checksums"])
            .args(["--auth-local=scram-sha-256", "--auth-host=scram-sha-256", "--pwfile=/dev/stdin"])
            .arg(format!("--username={}", self.cluster.superuser))
            .arg("--pgdata")
            .arg(inner);
        if let Some(provider) = postgres_needs_provider(self.postgres) {
            command.arg(provider);
        }
        run(command, &format!("{}\n", self.password.expose()))
    }

    /// Whom the readiness probe logs in as is there before the server first answers. Whoever sets up the database's users at each
    /// start sets it up, too.
    fn add_monitor(&self, inner: &Path, user: &Named) -> Result<(), Error> {
        let mut command = command(self.postgres, "postgres", user);
        command.args(["--single", "-D"]).arg(inner).arg("postgres");
        let password = password::clause(&password::of_monitor(self.password));
        run(command, &format!("CREATE ROLE {MONITOR} LOGIN CONNECTION LIMIT {MONITOR_CONNECTIONS} {password}\n"))
    }
}

/// initdb would find out in the middle, and say less clearly what is missing.
fn refuse_full_disk(data: &Path, cluster: &Cluster) -> Result<(), Error> {
    let disk = rustix::fs::statvfs(data).map_err(|e| Error::file("measure the free space of", data)(e.into()))?;
    let (of, needed) = (cluster.name, cluster.room);
    let free = disk.f_frsize * disk.f_bavail;
    if free < needed {
        return Err(Error::NoRoom { of, data: data.into(), free: free >> 20, needed: needed >> 20 });
    }
    Ok(())
}

fn foreign(data: &Path, found: String) -> Error {
    Error::Foreign { data: data.into(), found }
}

fn names(dir: &Path) -> Result<Vec<OsString>, Error> {
    match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<Result<_, _>>()
            .map_err(Error::file("list", dir)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::file("list", dir)(error)),
    }
}

fn discard(inner: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(inner) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove the unfinished", inner)(error))
        }
        _ => Ok(()),
    }
}

/// One of PostgreSQL's programs, with an environment of its own.
fn command(postgres: &Postgres, name: &str, user: &Named) -> Command {
    let mut command = Command::new(postgres.program(name));
    command
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "LD_LIBRARY_PATH"))
        .env("TZ", "UTC")
        .envs(user.env.iter().cloned());
    command
}

/// Runs it to its end with this on its standard input.
fn run(mut command: Command, input: &str) -> Result<(), Error> {
    let program = PathBuf::from(command.get_program());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Error::file("run", &program))?;
    let mut stdin = child.stdin.take().expect("it is a pipe");
    // A failure to write shows in the exit status.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(Error::file("wait for", &program))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let tail: Vec<&str> = said.lines().rev().take(8).collect();
    Err(Error::Initdb {
        status: output.status.to_string(),
        output: tail.into_iter().rev().collect::<Vec<_>>().join("\n"),
    })
}

/// From 15 on initdb may have been built to prefer ICU; only libc knows `C`.
fn postgres_needs_provider(postgres: &Postgres) -> Option<&'static str> {
    (postgres.major >= 15).then_some("--locale-provider=libc")
}

/// Moves every entry of the inner directory up, the mark last: with it the directory is whole.
fn move_up(data: &Path) -> Result<(), Error> {
    let inner = data.join(INNER);
    let (mark, rest): (Vec<_>, Vec<_>) = names(&inner)?.into_iter().partition(|name| name == MARK);
    for name in rest.iter().chain(&mark) {
        if name == MARK {
            sync_directory(data).map_err(Error::file("write", data))?;
        }
        fs::rename(inner.join(name), data.join(name)).map_err(Error::file("move up", inner.join(name)))?;
    }
    sync_directory(data).map_err(Error::file("write", data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_with(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "15\n").unwrap();
        }
        dir
    }

    #[test]
    fn a_directory_is_taken_for_what_it_is() {
        let stages: &[(&[&str], Stage)] = &[
            (&[], Stage::Empty),
            (&["lost+found/x", "flowkit.lock"], Stage::Empty),
            (&["flowkit.new/PG_VERSION"], Stage::Empty),
            (&["flowkit.new/PG_VERSION", "flowkit.new/flowkit.cluster"], Stage::Moving),
            (&["PG_VERSION", "base/1", "flowkit.new/flowkit.cluster"], Stage::Moving),
            (&["PG_VERSION", "flowkit.cluster"], Stage::Whole),
        ];
        for (files, expected) in stages {
            assert_eq!(&stage(data_with(files).path()).unwrap(), expected, "{files:?}");
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for files in [&["PG_VERSION", "base/1"][..], &["letters/mum.txt"], &["flowkit.new/PG_VERSION", "notes"]] {
            let dir = data_with(files);
            assert!(matches!(stage(dir.path()), Err(Error::Foreign { .. })), "{files:?}");
        }
    }

    #[test]
    fn an_interrupted_move_goes_on_and_the_mark_comes_last() {
        let dir = data_with(&["PG_VERSION", "flowkit.new/global/pg_control", "flowkit.new/flowkit.cluster"]);
        move_up(dir.path()).unwrap();
        assert_eq!(stage(dir.path()).unwrap(), Stage::Whole);
        assert!(dir.path().join("global/pg_control").exists());
    }
}
