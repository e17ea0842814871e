//! Where the files of runs are. Under the directory of outputs, so that a whole file is put in its place by renaming it:
//!
//! ```text
//! notebooks/STEM__TAG__TIME.ipynb    what was executed, as far as it came
//! reports/STEM__TAG__TIME.pdf, .html
//! logs/STEM__TAG__TIME.log           what the programs said, if anything
//! files/TAG__TIME/                   what the notebooks wrote beside, where they work
//! .running/ID/…                      the same of a run that has not ended
//! ```
//! What a notebook could have put there is not trusted: no link is followed, and none is handed on.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::child::no_follow;
use crate::store::{self, Run, State, Store};

const RUNNING: &str = ".running";

/// The parts of the outputs.
pub const NOTEBOOKS: &str = "notebooks";
/// See above.
pub const REPORTS: &str = "reports";
/// See above.
pub const LOGS: &str = "logs";
/// See above.
pub const FILES: &str = "files";

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
        [NOTEBOOKS, REPORTS, LOGS, FILES].iter().try_for_each(|part| directory(&place.join(part), 0o700))?;
        Ok(place)
    }

    /// Which files a run has left, relative to the outputs: whole files and no links.
    ///
    /// # Errors
    /// A directory can't be read.
    pub fn left(&self, id: &str) -> io::Result<Vec<String>> {
        let place = self.running(id);
        let mut left = Vec::new();
        for part in [NOTEBOOKS, REPORTS, LOGS] {
            for entry in fs::read_dir(place.join(part))? {
                let entry = entry?;
                // An empty log says nothing.
                if entry.file_type()?.is_file() && entry.metadata()?.len() > 0 {
                    left.extend(entry.file_name().to_str().map(|name| format!("{part}/{name}")));
                }
            }
        }
        for entry in fs::read_dir(place.join(FILES))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && fs::read_dir(entry.path())?.next().is_some() {
                left.extend(entry.file_name().to_str().map(|name| format!("{FILES}/{name}")));
            }
        }
        left.sort_unstable();
        Ok(left)
    }

    /// Puts the files of a run that has ended in their place. May be done again after it was broken off.
    ///
    /// # Errors
    /// A file can't be put there.
    pub fn publish(&self, run: &Run) -> io::Result<()> {
        let place = self.running(&run.id);
        for file in &run.files {
            let from = place.join(file);
            match fs::symlink_metadata(&from) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
                Ok(_) => open_up(&from)?,
            }
            fs::rename(&from, self.outputs.join(file))?;
        }
        remove(&place)
    }

    /// Ends what a kill has broken off: files of runs that have ended are put in their place, those of runs that nobody runs removed.
    ///
    /// # Errors
    /// The database can't be asked; a file can't be moved.
    pub async fn recover(&self, store: &Store) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        for entry in fs::read_dir(self.outputs.join(RUNNING))? {
            let Ok(id) = entry?.file_name().into_string() else { continue };
            match store.find(&id).await? {
                Some(run) if run.state == State::Running => {}
                Some(run) if !run.published => self.settle(store, &run).await?,
                _ => remove(&self.running(&id))?,
            }
        }
        Ok(())
    }

    /// Publishes a run that has ended, and says so.
    ///
    /// # Errors
    /// As above.
    pub async fn settle(&self, store: &Store, run: &Run) -> Result<(), Settle> {
        self.publish(run)?;
        store.published(&run.id).await?;
        Ok(())
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

/// The last line of a log, if there is one.
pub fn last_line(log: &Path) -> Option<String> {
    let mut file = File::options().read(true).custom_flags(no_follow()).open(log).ok()?;
    let from = file.metadata().ok()?.len().saturating_sub(8 << 10);
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.take(8 << 10).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(1000).collect())
}

/// Removes a directory with all that is in it, if it is there.
pub fn remove(place: &Path) -> io::Result<()> {
    match fs::remove_dir_all(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A directory, with exactly that mode where it is made.
fn directory(path: &Path, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes what a run has written readable for those whom the operator lets into the directory of outputs; links go.
fn open_up(path: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_dir() {
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        fs::read_dir(path)?.try_for_each(|entry| open_up(&entry?.path()))
    } else if kind.is_file() {
        let file = File::options().read(true).custom_flags(no_follow()).open(path)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.sync_all()
    } else {
        fs::remove_file(path)
    }
}
