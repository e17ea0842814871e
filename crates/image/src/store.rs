//! The files of an image, in an archive or in a directory, as something that may be damaged or hostile.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::digest::Digest;
use super::error::Error;
use super::tar::{Entry, Header, Kind, Reader};

/// The most bytes of a JSON document that are read, as registries have it for manifests. Parsed, it takes many times that.
pub const MOST_JSON: u64 = 4 << 20;
/// The most bytes that are kept of an image's entries: a million of them with names as long as Nix makes them.
pub const MOST_KEPT: usize = 256 << 20;

/// The files by name.
pub struct Store {
    path: PathBuf,
    files: BTreeMap<String, Place>,
    /// The archive; none for a directory.
    archive: Option<File>,
    /// Entries of the archive whose header is not as we write it.
    odd: Vec<String>,
    /// Bytes that are kept of the entries of all layers.
    kept: AtomicUsize,
}

/// Where a file's bytes are.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u64,
    size: u64,
}

/// A file's bytes: a part of an archive, or a file of its own.
pub struct Part {
    file: File,
    at: u64,
    left: u64,
}

impl Store {
    /// Lists the files of an archive or of a layout directory.
    pub fn open(path: &Path) -> Result<Store, Error> {
        let found = std::fs::metadata(path).map_err(Error::read(path))?;
        let mut store = Store {
            path: path.to_owned(),
            files: BTreeMap::new(),
            archive: None,
            odd: Vec::new(),
            kept: AtomicUsize::new(0),
        };
        if found.is_dir() {
            store.list_directory("", 0)?;
        } else {
            // A pipe would be waited for, and a device has no end; looked at once it is open, as another may have come.
            let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
            let file = file.map_err(Error::read(path))?;
            let found = file.metadata().map_err(Error::read(path))?;
            if !found.is_file() {
                return Err(store.damaged("the archive", "it is not a regular file"));
            }
            store.list_archive(&file, found.len())?;
            store.archive = Some(file);
        }
        Ok(store)
    }

    /// What it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is an archive.
    pub fn is_archive(&self) -> bool {
        self.archive.is_some()
    }

    /// All files with their sizes.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.files.iter().map(|(name, place)| (name.as_str(), place.size))
    }

    /// Entries of the archive whose header is not the one that we write: made by another program, or changed. No digest
    /// covers these.
    pub fn odd(&self) -> &[String] {
        &self.odd
    }

    /// Whether `bytes` more may be kept of the image's entries.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.kept.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= MOST_KEPT
    }

    /// Size of a file, where there is one of this name.
    pub fn size(&self, name: &str) -> Option<u64> {
        self.files.get(name).map(|place| place.size)
    }

    /// A file's bytes.
    pub fn part(&self, name: &str) -> Result<Part, Error> {
        let place = self.files.get(name).ok_or_else(|| self.damaged(name, "it is missing"))?;
        let file = match &self.archive {
            Some(file) => file.try_clone().map_err(Error::read(&self.path))?,
            None => {
                let path = self.path.join(name);
                File::open(&path).map_err(Error::read(&path))?
            }
        };
        Ok(Part { file, at: place.start, left: place.size })
    }

    /// A whole file that is expected to be small.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut part = self.part(name)?;
        if part.left > MOST_JSON {
            return Err(self.damaged(name, format!("{} bytes are too many for a document", part.left)));
        }
        let mut bytes = Vec::with_capacity(part.left as usize);
        part.read_to_end(&mut bytes).map_err(Error::read(&self.path))?;
        Ok(bytes)
    }

    /// A small file, its digest checked.
    pub fn read_blob(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        let name = digest.blob();
        let bytes = self.read(&name)?;
        match Digest::of(&bytes) {
            found if found == digest => Ok(bytes),
            found => Err(self.damaged(&name, format!("its bytes have another digest, {found}"))),
        }
    }

    /// An error about a file of this image.
    pub fn damaged(&self, place: &str, what: impl Into<String>) -> Error {
        Error::Damaged { image: self.path.clone(), place: place.to_owned(), what: what.into() }
    }

    fn list_archive(&mut self, file: &File, length: u64) -> Result<(), Error> {
        let mut reader = Reader::new(io::BufReader::new(file));
        loop {
            let entry = match reader.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.damaged("the archive", error.to_string())),
            };
            let name = String::from_utf8_lossy(entry.path()).into_owned();
            let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
            if !self.has_room(2 * (name.len() + size_of::<(String, Place)>())) {
                return Err(self.damaged("the archive", format!("more names than fit into {} MiB", MOST_KEPT >> 20)));
            }
            if !as_written(file, &entry, reader.position()).map_err(Error::read(&self.path))? {
                self.odd.push(name.clone());
            }
            // Nothing but files is read, and whatever else there is has another header than we write.
            if !entry.is_file() {
                continue;
            }
            let start = reader.position();
            if entry.size > length.saturating_sub(start) {
                return Err(self.damaged(&name, "it ends behind the archive"));
            }
            if self.files.insert(name.clone(), Place { start, size: entry.size }).is_some() {
                return Err(self.damaged(&name, "it is there twice"));
            }
            // Blobs are gigabytes: step over them.
            let by = reader.passed() as i64;
            reader.inner().seek_relative(by).map_err(Error::read(&self.path))?;
        }
    }

    /// Three levels, as a layout has; links are not followed.
    fn list_directory(&mut self, below: &str, depth: u32) -> Result<(), Error> {
        let path = self.path.join(below);
        for entry in std::fs::read_dir(&path).map_err(Error::read(&path))? {
            let entry = entry.map_err(Error::read(&path))?;
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            let found = entry.metadata().map_err(Error::read(&entry.path()))?;
            if found.is_dir() && depth < 2 {
                self.list_directory(&format!("{name}/"), depth + 1)?;
            } else if found.is_file() {
                self.files.insert(name, Place { start: 0, size: found.len() });
            } else {
                return Err(self.damaged(&name, "it is not a plain file"));
            }
        }
        Ok(())
    }
}

/// Whether an entry's header, which ends at byte `end`, is what [`Header`] makes of it.
fn as_written(file: &File, entry: &Entry, end: u64) -> io::Result<bool> {
    let (kind, mode) = if entry.is_directory() { (Kind::Directory, 0o755) } else { (Kind::File, 0o644) };
    let mut expected = Vec::new();
    Header { name: &entry.name, kind, mode, uid: 0, gid: 0, size: entry.size, target: b"" }.write(&mut expected);
    if end - entry.at != expected.len() as u64 {
        return Ok(false);
    }
    let mut found = vec![0; expected.len()];
    file.read_exact_at(&mut found, entry.at)?;
    Ok(found == expected)
}

impl Part {
    /// Bytes still to be read.
    pub fn len(&self) -> u64 {
        self.left
    }
}

impl Read for Part {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = self.left.min(out.len() as u64) as usize;
        let read = self.file.read_at(&mut out[..most], self.at)?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
