//! The file in which rows that were not taken can be found again.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use time::Date;

use crate::kind::Kind;
use crate::row::Reason;
use crate::source::Input;

/// Rows that are written down; of what comes after them only the number is kept.
const MOST: u64 = 100_000;
/// Part of a row that is written down, in bytes.
const PART: usize = 4096;
/// What the file begins with, and is known by.
const HEADER: &[u8] = b"file,line,reason,row\n";

/// How much of a day may be refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// So many lines.
    Lines(u64),
    /// So many of a hundred lines.
    Percent(f64),
}

impl Limit {
    /// Reads `20` or `0.5%`.
    pub fn named(text: &str) -> Result<Limit, String> {
        let limit = match text.strip_suffix('%') {
            Some(number) => number.parse().ok().filter(|percent| (0.0..=100.0).contains(percent)).map(Limit::Percent),
            None => text.parse().ok().map(Limit::Lines),
        };
        limit.ok_or_else(|| "give a number of lines, such as 20, or a share, such as 0.5%".to_owned())
    }

    /// Whether `refused` of `all` lines are too many.
    pub fn is_passed(self, refused: u64, all: u64) -> bool {
        match self {
            Limit::Lines(most) => refused > most,
            Limit::Percent(percent) => refused as f64 * 100.0 > percent * all as f64,
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Limit::Lines(lines) => write!(f, "{lines}"),
            Limit::Percent(percent) => write!(f, "{percent} %"),
        }
    }
}

/// Where in a directory the refused rows of a day are written down: under a name that deliveries do not have.
pub fn rejects_of(dir: &Path, kind: Kind, date: Date) -> PathBuf {
    dir.join(format!("{}.rejects.csv", kind.partition(date)))
}

/// The rows of a day that were refused. Made when there is one; what an earlier try has left is removed.
pub struct Rejects {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    records: u64,
    /// Lines of the day's files that were refused.
    pub lines: u64,
    /// What was refused first, in words.
    pub first: Option<String>,
}

impl Rejects {
    /// None so far of a day that is made of `inputs`.
    ///
    /// # Errors
    /// The file of an earlier try can't be removed, or what is in its place is none.
    pub fn new(path: PathBuf, inputs: &[Input]) -> io::Result<Rejects> {
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(_) if is_earlier(&path, inputs)? => fs::remove_file(&path)?,
            Ok(_) => return Err(io::Error::other(Foreign(path))),
        }
        Ok(Rejects { path, file: None, records: 0, lines: 0, first: None })
    }

    /// Writes one down.
    ///
    /// # Errors
    /// The disk is full.
    pub fn add<'a>(
        &mut self,
        file: &str,
        (line, lines): (u64, u64),
        reason: &Reason,
        fields: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        self.lines += lines;
        self.records += 1;
        if self.first.is_none() {
            self.first = Some(format!("{file}, line {line}: {reason}"));
        }
        if self.records > MOST {
            return Ok(());
        }
        let out = match &mut self.file {
            Some(out) => out,
            None => self.file.insert(begin(&self.path)?),
        };
        let mut row = Vec::new();
        for (at, field) in fields.enumerate() {
            if at > 0 {
                row.push(b',');
            }
            row.extend(quoted(field));
        }
        row.truncate(PART);
        let (line, reason) = (line.to_string(), reason.to_string());
        let parts = [file.as_bytes(), line.as_bytes(), reason.as_bytes(), &row];
        let parts: Vec<_> = parts.into_iter().map(quoted).collect();
        out.write_all(&parts.join(&b','))?;
        out.write_all(b"\n")
    }

    /// The file, if there is one, with everything in it.
    ///
    /// # Errors
    /// The disk is full.
    pub fn finish(&mut self) -> io::Result<Option<&Path>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        file.flush()?;
        Ok(Some(&self.path))
    }
}

/// Somebody's own, perhaps a delivery.
#[derive(Debug, thiserror::Error)]
#[error("{} is there and is no list of refused rows: move it away, or give another directory with --rejects", .0.display())]
struct Foreign(PathBuf);

/// Whether what is there was left by an earlier try, which may have been killed before it wrote anything.
fn is_earlier(path: &Path, inputs: &[Input]) -> io::Result<bool> {
    let there = Input::File(path.to_owned()).identity();
    if !fs::symlink_metadata(path)?.is_file() || inputs.iter().any(|input| input.identity() == there) {
        return Ok(false);
    }
    let mut head = Vec::new();
    File::open(path)?.take(HEADER.len() as u64).read_to_end(&mut head)?;
    Ok(head.is_empty() || head == HEADER)
}

/// Subscribers' data: for nobody else to read.
fn begin(path: &Path) -> io::Result<BufWriter<File>> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let mut out = BufWriter::new(file);
    out.write_all(HEADER)?;
    // At once: after a kill the next try has to know it.
    out.flush()?;
    Ok(out)
}

/// A field of CSV: in quotes where it must be.
fn quoted(field: &[u8]) -> Vec<u8> {
    if !field.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        return field.to_vec();
    }
    let mut out = vec![b'"'];
    for &byte in field {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_can_be_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calls_20160101.csv");
        fs::write(&path, [HEADER, b"of an earlier try"].concat()).unwrap();
        let mut rejects = Rejects::new(path.clone(), &[]).unwrap();
        assert!(!path.exists());
        let reason = Reason::Fields { found: 2, expected: 3 };
        rejects.add("a.csv", (7, 2), &reason, [&b"x\ny"[..], b"say \"hi\""].into_iter()).unwrap();
        rejects.add("a.csv", (9, 1), &reason, [&b"plain"[..]].into_iter()).unwrap();
        assert_eq!(rejects.finish().unwrap(), Some(path.as_path()));
        let written = "file,line,reason,row\na.csv,7,2 fields in place of 3,\"\"\"x\ny\"\",\"\"say \"\"\"\"hi\"\"\"\"\"\"\"\n\
                       a.csv,9,2 fields in place of 3,plain\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), written);
        assert_eq!((rejects.lines, rejects.first.as_deref()), (3, Some("a.csv, line 7: 2 fields in place of 3")));
    }

    /// A delivery, or whatever else somebody has put where rejects are to be.
    #[test]
    fn what_is_no_list_of_refused_rows_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = rejects_of(dir.path(), Kind::Calls, time::macros::date!(2016 - 01 - 05));
        assert_eq!(path.file_name().unwrap(), "calls_20160105.rejects.csv");
        let delivery = dir.path().join("calls_20160105.csv");
        let refused = |inputs: &[Input]| Rejects::new(path.clone(), inputs).err().unwrap().to_string();
        fs::write(&delivery, "msisdn,datetime\n").unwrap();
        fs::copy(&delivery, &path).unwrap();
        assert!(refused(&[]).ends_with("move it away, or give another directory with --rejects"), "{}", refused(&[]));
        assert!(path.exists());
        // By a link, and were it as empty as what a killed loader may leave.
        fs::write(&path, "").unwrap();
        fs::remove_file(&delivery).unwrap();
        fs::hard_link(&path, &delivery).unwrap();
        refused(&[Input::File(delivery.clone())]);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&delivery, &path).unwrap();
        refused(&[]);
        assert!(path.exists() && delivery.exists());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        Rejects::new(path.clone(), &[Input::File(delivery.clone()), Input::Stdin]).unwrap();
        assert!(!path.exists() && delivery.exists());
    }

    #[test]
    fn a_limit_is_a_number_or_a_share() {
        assert!(!Limit::named("2").unwrap().is_passed(2, 10));
        assert!(Limit::named("2").unwrap().is_passed(3, 10));
        assert!(!Limit::named("10%").unwrap().is_passed(1, 10));
        assert!(Limit::named("0%").unwrap().is_passed(1, 1_000_000));
        for bad in ["", "-1", "x", "101%", "NaN%", "1.5"] {
            assert!(Limit::named(bad).is_err(), "{bad}");
        }
    }
}
