//! A log file that is put aside when it is full, and made again where somebody has taken it away.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time between two looks at whether the name still leads to the open file, and between two tries of what went wrong.
const EVERY: Duration = Duration::from_secs(1);

/// The file and its older parts: `NAME.1` is the youngest of them.
pub struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    max_bytes: u64,
    keep: u32,
    looked: Instant,
    trouble: Option<String>,
}

/// Opens a file for appending.
pub fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o600).open(path)
}

impl LogFile {
    /// One that is open already.
    pub fn new(path: PathBuf, file: File, max_bytes: u64, keep: u32) -> io::Result<LogFile> {
        let size = file.metadata()?.len();
        Ok(LogFile { path, file, size, max_bytes, keep, looked: Instant::now(), trouble: None })
    }

    /// Why it can't be put aside or made again. What is written goes on into the file that is open, as long as that has a name.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Writes whole records.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        let full = self.size > 0 && self.size + length > self.max_bytes;
        let due = full || self.is_removed()?;
        if self.looked.elapsed() >= EVERY || due && self.trouble.is_none() {
            self.looked = Instant::now();
            self.trouble = self.keep_up(full).err().map(|error| error.to_string());
        }
        if let Some(trouble) = &self.trouble
            && self.is_removed()?
        {
            return Err(io::Error::other(trouble.clone()));
        }
        self.file.write_all(bytes)?;
        self.size += length;
        Ok(())
    }

    /// Whether nobody can read any more what is written there.
    fn is_removed(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    /// Puts the file aside where it is full. Where the name leads to another one or to none, somebody else has put it aside, and it is only
    /// made again: what was shifted then would push out an older part each time.
    fn keep_up(&mut self, full: bool) -> io::Result<()> {
        let open_one = self.file.metadata()?;
        match fs::symlink_metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (open_one.dev(), open_one.ino()) => match full {
                true => self.put_aside(),
                false => Ok(()),
            },
            // A FIFO could hold up all, and a link lead anywhere.
            Ok(there) if !there.is_file() => Err(io::Error::other(format!(
                "{} is no file any more: remove it, and it is made again",
                self.path.display()
            ))),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(named(&self.path, "can't be looked at", error))
            }
            _ => {
                self.file = open(&self.path).map_err(|error| named(&self.path, "can't be made again", error))?;
                self.size = self.file.metadata()?.len();
                Ok(())
            }
        }
    }

    /// `NAME` becomes `NAME.1`, which becomes `NAME.2`, and so on; the oldest goes. Nothing moves before the new file is there.
    fn put_aside(&mut self) -> io::Result<()> {
        let new = self.beside("new");
        let file = anew(&new).map_err(|error| named(&new, "can't be made, and the log not be put aside", error))?;
        let moved = self.shift().and_then(|()| fs::rename(&new, &self.path));
        if let Err(error) = moved {
            let _ = fs::remove_file(&new);
            return Err(named(&self.path, "can't be put aside", error));
        }
        (self.file, self.size) = (file, 0);
        Ok(())
    }

    /// Makes the name free, as far as older parts are kept. A try after one that was broken off goes on where that one stopped: a number that
    /// is free already takes the one before it, and no part beyond moves.
    fn shift(&self) -> io::Result<()> {
        let numbered = |n: u32| if n == 0 { self.path.clone() } else { self.beside(&n.to_string()) };
        let free = (1..self.keep).find(|n| numbered(*n).symlink_metadata().is_err()).unwrap_or(self.keep);
        (0..free).rev().try_for_each(|n| fs::rename(numbered(n), numbered(n + 1)))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{suffix}"));
        PathBuf::from(name)
    }
}

/// Makes a file that is nobody's yet; one of that name is from a try that was killed.
fn anew(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().append(true).create_new(true).mode(0o600).open(path)
}

fn named(path: &Path, what: &str, error: impl Display) -> io::Error {
    io::Error::other(format!("{} {what}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of ten bytes with the older parts `.1` and `.2`, of which two are kept.
    fn log() -> (tempfile::TempDir, LogFile) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let file = open(&path).expect("opens");
        let mut log = LogFile::new(path, file, 10, 2).expect("is there");
        for text in ["aaaa\n", "bbbb\n", "cccc\n", "dddd\n", "eeee\n", "ffff\n"] {
            soon(&mut log, text);
        }
        assert_eq!(seen(&dir), "log: eeee ffff | log.1: cccc dddd | log.2: aaaa bbbb");
        (dir, log)
    }

    /// All that is there.
    fn seen(dir: &tempfile::TempDir) -> String {
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).expect("lists").map(|entry| entry.expect("one").path()).collect();
        names.sort();
        let told = names.iter().map(|path| {
            let text = fs::read_to_string(path).unwrap_or_else(|_| "a directory".to_owned());
            let name = path.file_name().expect("a name").to_string_lossy();
            format!("{name}: {}", text.trim_end().replace('\n', " "))
        });
        told.collect::<Vec<_>>().join(" | ")
    }

    /// Writes soon after the last look.
    fn soon(log: &mut LogFile, text: &str) {
        log.looked = Instant::now() + Duration::from_secs(600);
        log.write(text.as_bytes()).expect("writes");
    }

    /// Writes a while after it.
    fn later(log: &mut LogFile, text: &str) {
        log.looked = Instant::now() - EVERY;
        log.write(text.as_bytes()).expect("writes");
    }

    #[test]
    fn a_file_that_was_removed_is_made_again_and_no_older_part_moves() {
        let (dir, mut log) = log();
        for text in ["gggg\n", "hhhh\n"] {
            fs::remove_file(dir.path().join("log")).expect("removed");
            soon(&mut log, text);
        }
        assert_eq!(seen(&dir), "log: hhhh | log.1: cccc dddd | log.2: aaaa bbbb");
        soon(&mut log, "iiii\n");
        soon(&mut log, "jjjj\n");
        assert_eq!(seen(&dir), "log: jjjj | log.1: hhhh iiii | log.2: cccc dddd", "it is put aside as before");
    }

    #[test]
    fn a_file_that_was_moved_away_or_replaced_is_left_after_a_second() {
        let (dir, mut log) = log();
        let at = |name: &str| dir.path().join(name);
        fs::rename(at("log"), at("moved")).expect("moved");
        // Full, and so it is looked at once.
        soon(&mut log, "gggg\n");
        assert_eq!(seen(&dir), "log: gggg | log.1: cccc dddd | log.2: aaaa bbbb | moved: eeee ffff");
        fs::rename(at("log"), at("moved")).expect("moved");
        fs::write(at("log"), "new\n").expect("another");
        soon(&mut log, "h\n");
        later(&mut log, "i\n");
        assert_eq!(seen(&dir), "log: new i | log.1: cccc dddd | log.2: aaaa bbbb | moved: gggg h");
    }

    #[test]
    fn what_can_not_be_put_aside_goes_on_and_is_tried_again() {
        let (dir, mut log) = log();
        let in_the_way = dir.path().join("log.new");
        fs::create_dir(&in_the_way).expect("made");
        for text in ["gggg\n", "hhhh\n"] {
            later(&mut log, text);
        }
        let rest = "log.1: cccc dddd | log.2: aaaa bbbb";
        assert_eq!(seen(&dir), format!("log: eeee ffff gggg hhhh | {rest} | log.new: a directory"));
        let trouble = log.trouble().expect("is told").to_owned();
        assert!(trouble.contains("log.new can't be made, and the log not be put aside: "), "{trouble}");
        fs::remove_dir(&in_the_way).expect("removed");
        later(&mut log, "iiii\n");
        assert_eq!(seen(&dir), "log: iiii | log.1: eeee ffff gggg hhhh | log.2: cccc dddd");
        assert_eq!(log.trouble(), None);
    }

    #[test]
    fn an_older_part_that_can_not_move_costs_no_other() {
        let (dir, mut log) = log();
        log.keep = 4;
        // A file can't take the place of a directory.
        fs::create_dir(dir.path().join("log.4")).expect("made");
        fs::write(dir.path().join("log.3"), "older\n").expect("made");
        for text in ["gggg\n", "hhhh\n", "iiii\n"] {
            later(&mut log, text);
        }
        let all =
            "log: eeee ffff gggg hhhh iiii | log.1: cccc dddd | log.2: aaaa bbbb | log.3: older | log.4: a directory";
        assert_eq!(seen(&dir), all);
        // As a try leaves it that was broken off in the middle: only what is before the gap moves.
        fs::rename(dir.path().join("log.2"), dir.path().join("moved")).expect("moved");
        later(&mut log, "jjjj\n");
        let all = "log: jjjj | log.1: eeee ffff gggg hhhh iiii | log.2: cccc dddd | log.3: older | log.4: a directory";
        assert_eq!(seen(&dir), format!("{all} | moved: aaaa bbbb"));
    }

    #[test]
    fn lines_that_nobody_could_read_count_as_not_written_until_there_is_a_file_again() {
        let (dir, mut log) = log();
        let at = dir.path().to_owned();
        fs::remove_dir_all(&at).expect("removed");
        for _ in 0..2 {
            let error = log.write(b"gggg\n").expect_err("goes nowhere").to_string();
            assert!(error.ends_with("log can't be made again: No such file or directory (os error 2)"), "{error}");
        }
        fs::create_dir(&at).expect("made");
        later(&mut log, "hhhh\n");
        assert_eq!((seen(&dir).as_str(), log.trouble()), ("log: hhhh", None));
    }

    #[test]
    fn a_link_or_a_pipe_in_its_place_is_not_followed() {
        let (dir, mut log) = log();
        fs::rename(dir.path().join("log"), dir.path().join("moved")).expect("moved");
        std::os::unix::fs::symlink("elsewhere", dir.path().join("log")).expect("a link");
        soon(&mut log, "gggg\n");
        assert!(log.trouble().expect("is told").ends_with("log is no file any more: remove it, and it is made again"));
        assert!(!dir.path().join("elsewhere").exists());
        assert_eq!(fs::read_to_string(dir.path().join("moved")).expect("is there"), "eeee\nffff\ngggg\n");
    }
}
