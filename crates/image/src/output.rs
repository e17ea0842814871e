//! Where an image goes: one archive, or the directory of an OCI image layout.
//!
//! Layers are written before their size and digest are known. In the archive each gets a region that is large enough; when
//! all are done they move together (the file is sparse until then, and uncompressed layers are in their place at once). In
//! the layout each is a file that gets its name at the end.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::codec::Codec;
use super::digest::Digest;
use super::error::Error;
use super::pipeline::{Blob, Sink};
use super::tar::{BLOCK, Header, Kind, padded};

/// Form of the result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// One tar: an image layout that carries Docker's `manifest.json` too.
    Archive,
    /// A directory.
    Layout,
}

/// What is written, in the making.
pub enum Output {
    /// One tar.
    Archive(Archive),
    /// A directory.
    Layout(PathBuf),
}

/// An archive in the making.
pub struct Archive {
    file: File,
    path: PathBuf,
    /// Where each layer was put.
    bases: Vec<u64>,
    end: u64,
}

/// The directory in which a layout keeps its blobs.
const BLOBS: &str = "blobs/sha256";

impl Output {
    /// Begins an image at `path`. An archive replaces a file of that name; a layout wants an empty place.
    pub fn create(path: &Path, format: Format) -> Result<Output, Error> {
        match format {
            Format::Archive => {
                let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
                let file = file.map_err(Error::write(path))?;
                Ok(Output::Archive(Archive { file, path: path.to_owned(), bases: Vec::new(), end: 0 }))
            }
            Format::Layout => {
                if fs::read_dir(path).map_or(path.exists(), |mut inside| inside.next().is_some()) {
                    return Err(Error::InTheWay { path: path.to_owned() });
                }
                let blobs = path.join(BLOBS);
                fs::create_dir_all(&blobs).map_err(Error::write(&blobs))?;
                Ok(Output::Layout(path.to_owned()))
            }
        }
    }

    /// Room for layers of these sizes (uncompressed, bytes).
    pub fn sinks(&mut self, sizes: &[u64], codec: Codec) -> Result<Vec<Sink>, Error> {
        match self {
            Output::Archive(archive) => archive.sinks(sizes, codec),
            Output::Layout(root) => (0..sizes.len())
                .map(|layer| {
                    let path = unnamed(root, layer);
                    let file = File::create_new(&path).map_err(Error::write(&path))?;
                    Ok(Sink { file, path, base: 0 })
                })
                .collect(),
        }
    }

    /// Gives the layers their names and final places.
    pub fn settle(&mut self, layers: &[Blob]) -> Result<(), Error> {
        match self {
            Output::Archive(archive) => archive.settle(layers),
            Output::Layout(root) => layers.iter().enumerate().try_for_each(|(layer, blob)| {
                let name = root.join(blob.digest.blob());
                fs::rename(unnamed(root, layer), &name).map_err(Error::write(&name))
            }),
        }
    }

    /// Adds a file.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Output::Archive(archive) => archive.add(name, bytes),
            Output::Layout(root) => {
                let path = root.join(name);
                fs::write(&path, bytes).map_err(Error::write(&path))
            }
        }
    }

    /// Adds a blob and gives its digest.
    pub fn add_blob(&mut self, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(bytes);
        self.add(&digest.blob(), bytes)?;
        Ok(digest)
    }

    /// Ends the image.
    pub fn finish(self) -> Result<(), Error> {
        match self {
            Output::Archive(archive) => {
                archive.write(&[0; 2 * BLOCK as usize], archive.end)?;
                let end = archive.end + 2 * BLOCK;
                archive.file.set_len(end).map_err(Error::write(&archive.path))
            }
            Output::Layout(_) => Ok(()),
        }
    }
}

fn unnamed(root: &Path, layer: usize) -> PathBuf {
    root.join(BLOBS).join(format!("layer-{layer}"))
}

impl Archive {
    fn sinks(&mut self, sizes: &[u64], codec: Codec) -> Result<Vec<Sink>, Error> {
        for directory in ["blobs/", "blobs/sha256/"] {
            self.header(directory, Kind::Directory, 0)?;
        }
        let mut base = self.end;
        let mut sinks = Vec::new();
        for &size in sizes {
            base += BLOCK;
            self.bases.push(base);
            let file = self.file.try_clone().map_err(Error::write(&self.path))?;
            sinks.push(Sink { file, path: self.path.clone(), base });
            base += padded(codec.bound(size));
        }
        Ok(sinks)
    }

    fn settle(&mut self, layers: &[Blob]) -> Result<(), Error> {
        for (blob, base) in layers.iter().zip(std::mem::take(&mut self.bases)) {
            self.header(&blob.digest.blob(), Kind::File, blob.size)?;
            self.shift(base, blob.size).map_err(Error::write(&self.path))?;
            self.end += blob.size;
            self.pad()?;
        }
        Ok(())
    }

    /// Moves `size` bytes from `from` down to the end of what is in place.
    fn shift(&self, from: u64, size: u64) -> io::Result<()> {
        if from == self.end {
            return Ok(());
        }
        let mut buffer = vec![0; 1 << 20];
        let mut done = 0;
        while done < size {
            let part = &mut buffer[..(size - done).min(1 << 20) as usize];
            self.file.read_exact_at(part, from + done)?;
            self.file.write_all_at(part, self.end + done)?;
            done += part.len() as u64;
        }
        Ok(())
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.header(name, Kind::File, bytes.len() as u64)?;
        self.write(bytes, self.end)?;
        self.end += bytes.len() as u64;
        self.pad()
    }

    fn header(&mut self, name: &str, kind: Kind, size: u64) -> Result<(), Error> {
        let mode = if kind == Kind::Directory { 0o755 } else { 0o644 };
        let mut header = Vec::new();
        Header { name: name.as_bytes(), kind, mode, uid: 0, gid: 0, size, target: b"" }.write(&mut header);
        self.write(&header, self.end)?;
        self.end += header.len() as u64;
        Ok(())
    }

    fn pad(&mut self) -> Result<(), Error> {
        let end = padded(self.end);
        self.write(&vec![0; (end - self.end) as usize], self.end)?;
        self.end = end;
        Ok(())
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<(), Error> {
        self.file.write_all_at(bytes, at).map_err(Error::write(&self.path))
    }
}
