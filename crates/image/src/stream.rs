//! A layer as a stream of bytes that is known before it is read.
//!
//! Walking gives every entry's name and size, so every entry's place in the tar stream. Any part of the stream can then be
//! made on its own, by any thread, reading only the files that it covers.

use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::Error;
use super::spec::{SpecBody, SpecEntry};
use super::tar::{BLOCK, Header, Kind, padded};

/// One entry of a layer.
#[derive(Debug)]
struct Entry {
    /// Relative, without a slash at the end.
    name: Box<[u8]>,
    body: Body,
    mode: u32,
    uid: u32,
    gid: u32,
}

#[derive(Debug)]
enum Body {
    Directory,
    /// Size of the file of this name below the root, bytes.
    File(u64),
    Text(Box<[u8]>),
    Symlink(Box<[u8]>),
}

impl Entry {
    fn size(&self) -> u64 {
        match &self.body {
            Body::File(size) => *size,
            Body::Text(text) => text.len() as u64,
            Body::Directory | Body::Symlink(_) => 0,
        }
    }

    fn header<R>(&self, use_it: impl FnOnce(Header) -> R) -> R {
        let (kind, target): (Kind, &[u8]) = match &self.body {
            Body::Directory => (Kind::Directory, b""),
            Body::File(_) | Body::Text(_) => (Kind::File, b""),
            Body::Symlink(target) => (Kind::Symlink, target),
        };
        let slashed;
        let name = if kind == Kind::Directory {
            slashed = [&self.name, &b"/"[..]].concat();
            &slashed
        } else {
            &self.name[..]
        };
        use_it(Header { name, kind, mode: self.mode, uid: self.uid, gid: self.gid, size: self.size(), target })
    }
}

/// A layer's entries and their places.
#[derive(Debug, Default)]
pub struct Stream {
    /// Where the files are: the file system that holds the store.
    root: PathBuf,
    entries: Vec<Entry>,
    /// Where each entry's header begins, bytes from the start.
    starts: Vec<u64>,
    end: u64,
}

impl Stream {
    /// A layer of store paths found below `root`, each an absolute path, sorted, with the directories above them.
    pub fn of_paths(root: &Path, paths: &[&str]) -> Result<Stream, Error> {
        let mut stream = Stream { root: root.to_owned(), ..Stream::default() };
        let mut above: Vec<&str> = Vec::new();
        for path in paths {
            let name = path.trim_start_matches('/');
            for (at, _) in name.match_indices('/') {
                if !above.contains(&&name[..at]) {
                    above.push(&name[..at]);
                    stream.push(name.as_bytes()[..at].to_vec(), Body::Directory, (0o755, 0, 0));
                }
            }
            stream.walk(name.as_bytes().to_vec())?;
        }
        Ok(stream)
    }

    /// A layer of files outside the store, sorted, with the directories above them.
    pub fn of_entries(entries: &[SpecEntry]) -> Stream {
        let mut stream = Stream::default();
        let mut all: Vec<SpecEntry> = entries.to_vec();
        for entry in entries {
            for (at, _) in entry.path.match_indices('/') {
                let path = entry.path[..at].to_owned();
                if !all.iter().any(|other| other.path == path) {
                    all.push(SpecEntry { path, body: SpecBody::Directory, mode: 0o755, uid: 0, gid: 0 });
                }
            }
        }
        all.sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
        for entry in all {
            let body = match entry.body {
                SpecBody::Directory => Body::Directory,
                SpecBody::File(text) => Body::Text(text.into_bytes().into()),
                SpecBody::Symlink(target) => Body::Symlink(target.into_bytes().into()),
            };
            stream.push(entry.path.into_bytes(), body, (entry.mode, entry.uid, entry.gid));
        }
        stream
    }

    /// Bytes of the whole layer: entries and the two empty blocks that end an archive.
    pub fn size(&self) -> u64 {
        self.end + 2 * BLOCK
    }

    /// Adds what is at `name` below the root, whatever it is, and all that is in it, sorted by name as bytes.
    fn walk(&mut self, name: Vec<u8>) -> Result<(), Error> {
        let path = self.place(&name);
        let found = fs::symlink_metadata(&path).map_err(Error::read(&path))?;
        let kind = found.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(Error::read(&path))?;
            self.push(name, Body::Symlink(target.into_os_string().into_vec().into()), (0o777, 0, 0));
        } else if kind.is_file() {
            // Nix knows two modes. Ours come from the owner's execute bit alone, so that neither a umask nor a store that
            // was copied can change them, and no set-uid bit gets in.
            let mode = if found.permissions().mode() & 0o100 == 0 { 0o444 } else { 0o555 };
            self.push(name, Body::File(found.len()), (mode, 0, 0));
        } else if kind.is_dir() {
            let mut inside = Vec::new();
            for entry in fs::read_dir(&path).map_err(Error::read(&path))? {
                inside.push(entry.map_err(Error::read(&path))?.file_name());
            }
            inside.sort_unstable();
            self.push(name.clone(), Body::Directory, (0o555, 0, 0));
            for file in inside {
                self.walk([&name, &b"/"[..], file.as_bytes()].concat())?;
            }
        } else {
            return Err(Error::Special { path });
        }
        Ok(())
    }

    fn place(&self, name: &[u8]) -> PathBuf {
        self.root.join(std::ffi::OsStr::from_bytes(name))
    }

    fn push(&mut self, name: Vec<u8>, body: Body, (mode, uid, gid): (u32, u32, u32)) {
        let entry = Entry { name: name.into(), body, mode, uid, gid };
        self.starts.push(self.end);
        self.end += entry.header(|header| header.len()) + padded(entry.size());
        self.entries.push(entry);
    }

    /// Makes the part of the stream from byte `start` on that fills `out`.
    pub fn fill(&self, start: u64, out: &mut [u8]) -> Result<(), Error> {
        let mut at = start;
        let mut out = out;
        let mut index = self.starts.partition_point(|&begins| begins <= start).saturating_sub(1);
        let mut header = Vec::new();
        while !out.is_empty() && index < self.entries.len() {
            let entry = &self.entries[index];
            header.clear();
            entry.header(|h| h.write(&mut header));
            let data = self.starts[index] + header.len() as u64;
            let end = data + padded(entry.size());
            if at < data {
                let rest = &header[(at - self.starts[index]) as usize..];
                let part = take(&mut out, rest.len() as u64);
                part.copy_from_slice(&rest[..part.len()]);
                at += part.len() as u64;
            }
            if at >= data && at < data + entry.size() {
                let part = take(&mut out, data + entry.size() - at);
                self.read(entry, at - data, part)?;
                at += part.len() as u64;
            }
            if at >= data + entry.size() && at < end {
                let part = take(&mut out, end - at);
                part.fill(0);
                at += part.len() as u64;
            }
            index += 1;
        }
        out.fill(0);
        Ok(())
    }

    fn read(&self, entry: &Entry, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        if let Body::Text(text) = &entry.body {
            out.copy_from_slice(&text[offset as usize..][..out.len()]);
            return Ok(());
        }
        let path = self.place(&entry.name);
        let file = File::open(&path).map_err(Error::read(&path))?;
        let size = file.metadata().map_err(Error::read(&path))?.len();
        if size != entry.size() {
            return Err(Error::Changed { path, expected: entry.size() });
        }
        file.read_exact_at(out, offset).map_err(Error::read(&path))
    }
}

/// Takes at most `most` bytes off the front of a buffer.
fn take<'a>(out: &mut &'a mut [u8], most: u64) -> &'a mut [u8] {
    let length = most.min(out.len() as u64) as usize;
    let (part, rest) = std::mem::take(out).split_at_mut(length);
    *out = rest;
    part
}
