//! Where the files of runs are. Under the directory of outputs, so that a whole file is put in its place by renaming it:
//!
//! ```text
//! notebooks/STEM__TAG__TIME.ipynb    what was executed, as far as it came
//! reports/STEM__TAG__TIME.pdf, .html
//! logs/STEM__TAG__TIME.log           what the programs said, if anything
//! files/TAG__TIME/                   what the notebooks wrote beside, where they work
//! .running/ID/…                      the same of a run that has not ended
//! .running/ID/work/N/                where its notebook N writes what is copied to notebooks/
//! .running/lost-ID/…                 of a run that could not be put in its place
//! ```
//! A notebook writes in work/N and in files/TAG__TIME, and into its log. What it could have put there is [untrusted]: no link is handed on, and
//! nothing but what has a name of the run's own leaves the directory.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat, renameat_with};
use rustix::io::Errno;
use serde_json::{Map, Value};

use crate::store::{self, Run, State, Store};
use crate::untrusted::{self, no_follow, remove};

const RUNNING: &str = ".running";

/// The parts of the outputs.
pub const NOTEBOOKS: &str = "notebooks";
/// See above.
pub const REPORTS: &str = "reports";
/// See above.
pub const LOGS: &str = "logs";
/// See above.
pub const FILES: &str = "files";
/// See above.
pub const WORK: &str = "work";

/// What comes before the name of a run whose files could not be put in their place.
const LOST: &str = "lost-";

/// The directory of outputs.
#[derive(Clone, Debug)]
pub struct Places {
    outputs: PathBuf,
}

impl Places {
    /// Of that directory, which is there.
    pub fn of(outputs: &Path) -> Places {
        Places { outputs: outputs.to_owned() }
    }

    /// Makes what is missing of its parts.
    ///
    /// # Errors
    /// The directory is not there, or not ours to write.
    pub fn make(&self) -> io::Result<()> {
        for part in [NOTEBOOKS, REPORTS, LOGS, FILES] {
            directory(&self.outputs.join(part), 0o755)?;
        }
        directory(&self.outputs.join(RUNNING), 0o700)
    }

    /// The directory of a run that has not ended.
    pub fn running(&self, id: &str) -> PathBuf {
        self.outputs.join(RUNNING).join(id)
    }

    /// Makes that, with its parts, anew.
    ///
    /// # Errors
    /// It can't be made.
    pub fn begin(&self, id: &str) -> io::Result<PathBuf> {
        let place = self.running(id);
        remove(&place)?;
        directory(&place, 0o700)?;
        [NOTEBOOKS, REPORTS, LOGS, FILES, WORK].iter().try_for_each(|part| directory(&place.join(part), 0o700))?;
        Ok(place)
    }

    /// Whether a file or directory of one of these names is in its place.
    pub fn are_there(&self, names: &[String], rest: &str) -> bool {
        of_its_own(names, rest).any(|file| self.outputs.join(file).symlink_metadata().is_ok())
    }

    /// Which files of its own names a run has left, relative to the outputs: whole files and no links, and readable for those whom the
    /// operator lets into the directory of outputs.
    ///
    /// # Errors
    /// One can't be looked at.
    pub fn left(&self, id: &str, names: &[String], rest: &str) -> io::Result<Vec<String>> {
        let place = self.running(id);
        let mut left = Vec::new();
        for name in of_its_own(names, rest) {
            let path = place.join(&name);
            let kind = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                seen => seen?,
            };
            if kind.is_file() && kind.len() > 0 {
                // Nobody but us has written there, but a notebook may have changed the mode of its log.
                fs::set_permissions(&path, Permissions::from_mode(0o644))?;
                File::options().read(true).custom_flags(no_follow()).open(&path)?.sync_all()?;
                left.push(name);
            } else if kind.is_dir() {
                match untrusted::open_up(&path) {
                    Ok(true) => left.push(name),
                    // It says nothing.
                    Ok(false) => {}
                    // What a notebook wrote beside costs nobody its result.
                    Err(error) => tracing::error!(name, "what notebooks wrote beside is dropped: {error}"),
                }
            }
        }
        left.sort_unstable();
        Ok(left)
    }

    /// Puts the files of a run that has ended in their place. May be done again after it was broken off. Returns those that are there: one
    /// whose name another run's file has stays out.
    ///
    /// # Errors
    /// A file can't be put there.
    pub fn publish(&self, run: &Run) -> io::Result<Vec<String>> {
        let place = self.running(&run.id);
        let mut there = Vec::new();
        for file in &run.files {
            match rename(&place.join(file), &self.outputs.join(file)) {
                // It is there by now, or was never.
                Err(Errno::NOENT) if !self.outputs.join(file).exists() => continue,
                Err(Errno::NOENT) => {}
                Err(Errno::EXIST | Errno::NOTEMPTY) => {
                    tracing::error!(file, "a run's file is dropped: another run's has its name");
                    continue;
                }
                done => done?,
            }
            there.push(file.clone());
        }
        Ok(there)
    }

    /// Ends what a kill has broken off: files of runs that have ended are put in their place, those of runs that nobody runs removed, here and
    /// in `scratch`. What can't be done for one run keeps no other waiting. `tries` counts what failed.
    ///
    /// # Errors
    /// The database can't be asked, or the directories not be read.
    pub async fn recover(&self, store: &Store, scratch: &Path, tries: &mut Tries) -> Result<(), Settle> {
        for (place, mine) in [(self.outputs.join(RUNNING), true), (scratch.to_owned(), false)] {
            let entries = match fs::read_dir(&place) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let Ok(id) = entry?.file_name().into_string() else { continue };
                let path = place.join(&id);
                let tried = tries.get(&path).copied().unwrap_or_default();
                if id.starts_with(LOST) || tried > TRIES {
                    continue;
                }
                let done = match store.find(&id).await? {
                    Some(run) if run.state == State::Running => continue,
                    Some(run) if !run.published && mine => match self.settle(store, &run).await {
                        Err(Settle::Files(error)) if tried == TRIES => {
                            let _ = fs::rename(&path, place.join(format!("{LOST}{id}")));
                            let note = format!(
                                "its files can't be put in their place, and are in {RUNNING}/{LOST}{id}: {error}"
                            );
                            store.published(&id, &[], &note).await?;
                            Err(error)
                        }
                        Err(Settle::Files(error)) => Err(error),
                        done => Ok(done?),
                    },
                    _ => tokio::task::block_in_place(|| remove(&path)),
                };
                match done {
                    Ok(()) => drop(tries.remove(&path)),
                    Err(error) => {
                        tracing::error!(place = %path.display(), "what was left of a run can't be put right: {error}");
                        tries.insert(path, tried + 1);
                    }
                }
            }
        }
        Ok(())
    }

    /// Publishes a run that has ended, and says so.
    ///
    /// # Errors
    /// As above.
    pub async fn settle(&self, store: &Store, run: &Run) -> Result<(), Settle> {
        let there = self.publish(run)?;
        store.published(&run.id, &there, "").await?;
        // What it has left beside is nobody's; where it can't be removed now, that is tried again.
        if let Err(error) = tokio::task::block_in_place(|| remove(&self.running(&run.id))) {
            tracing::error!(run = run.id, "what a run has left can't be removed yet: {error}");
        }
        Ok(())
    }

    /// Publishes what the last attempt at a run has made, if that waits for it here, before there is another attempt.
    ///
    /// # Errors
    /// As above.
    pub async fn settle_last(
        &self,
        store: &Store,
        workflow: &str,
        parameters: &Map<String, Value>,
    ) -> Result<(), Settle> {
        match store.unplaced(workflow, parameters).await? {
            // Elsewhere it is for who has it: from here it would look as if it had made nothing.
            Some(run) if self.running(&run.id).is_dir() => self.settle(store, &run).await,
            _ => Ok(()),
        }
    }

    /// A published file, to be read by whoever asks for it by this name.
    ///
    /// # Errors
    /// There is no such file.
    pub fn open(&self, part: &str, name: &str) -> io::Result<File> {
        if ![NOTEBOOKS, REPORTS, LOGS].contains(&part) || name.starts_with('.') || name.contains('/') {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = File::options().read(true).custom_flags(no_follow()).open(self.outputs.join(part).join(name))?;
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(file)
    }
}

/// Why files are not in their place.
#[derive(Debug, thiserror::Error)]
pub enum Settle {
    /// The files.
    #[error("files can't be put in their place")]
    Files(#[from] io::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// All names that a run of these may give its files, relative to the outputs.
fn of_its_own<'a>(names: &'a [String], rest: &'a str) -> impl Iterator<Item = String> + 'a {
    let parts = [(NOTEBOOKS, "ipynb"), (REPORTS, "html"), (REPORTS, "pdf"), (LOGS, "log")];
    let files = names.iter().flat_map(move |name| parts.map(|(part, suffix)| format!("{part}/{name}.{suffix}")));
    files.chain([format!("{FILES}/{rest}")])
}

/// As `rename`, but nothing gives way to it.
fn rename(from: &Path, to: &Path) -> Result<(), Errno> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // This filesystem can't: nobody else makes files there at the same moment.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if to.symlink_metadata().is_ok() => Err(Errno::EXIST),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => renameat(CWD, from, CWD, to),
        done => done,
    }
}

/// How often it was tried in vain to put right what is left of a run, by its directory.
pub type Tries = std::collections::HashMap<PathBuf, u32>;

/// Tries, ten seconds from each other, until the files of a run are given up: a disk that is full is full for a while.
const TRIES: u32 = 60;

/// A directory, with exactly that mode where it is made.
fn directory(path: &Path, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}
