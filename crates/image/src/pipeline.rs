//! Layers made by several threads: read, hashed, compressed, hashed again and written, each byte once.
//!
//! Threads take chunks (fixed parts of a layer's stream): whoever takes one reads and compresses it. Hashing and appending
//! must go in order, one chunk after the other; whoever brings the chunk that is next does it, for this one and for those
//! behind it that others brought meanwhile. A thread takes the next chunk from the layer with the fewest chunks under
//! way: with many layers each thread works through one of its own, with one layer left they share it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard};

use super::codec::{Codec, Compressor};
use super::digest::{Digest, Hasher};
use super::error::Error;
use super::stream::Stream;

/// Where the blob of a layer goes: a file, from a byte on.
pub struct Sink {
    /// Open for writing.
    pub file: File,
    /// Its name, for messages.
    pub path: PathBuf,
    /// Where the blob begins.
    pub base: u64,
}

/// A layer that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Digest of the tar stream.
    pub diff_id: Digest,
    /// Digest of what was written.
    pub digest: Digest,
    /// Bytes written.
    pub size: u64,
}

/// Makes all layers with `threads` threads. Largest first, so that the threads end together.
pub fn run(layers: &[(Stream, Sink)], codec: Codec, threads: usize) -> Result<Vec<Blob>, Error> {
    let mut order: Vec<usize> = (0..layers.len()).collect();
    order.sort_by_key(|&layer| std::cmp::Reverse(layers[layer].0.size()));
    let progress = layers.iter().map(|(stream, _)| Progress::new(stream.size().div_ceil(codec.chunk()))).collect();
    let state = State { progress, order, failed: None, buffers: Vec::new() };
    // Enough under way that nobody waits, few enough to stay in the processor's cache and in a small memory.
    let shared = Shared { layers, codec, window: threads as u64 + 1, state: Mutex::new(state), moved: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                if let Err(error) = shared.work() {
                    shared.lock().failed.get_or_insert(error);
                    shared.moved.notify_all();
                }
            });
        }
    });
    let state = shared.state.into_inner().expect("no thread panicked");
    match state.failed {
        Some(error) => Err(error),
        None => Ok(state.progress.into_iter().map(|layer| layer.tail.expect("given back").blob(codec)).collect()),
    }
}

struct Shared<'a> {
    layers: &'a [(Stream, Sink)],
    codec: Codec,
    /// The most chunks of one layer that are taken and not yet hashed.
    window: u64,
    state: Mutex<State>,
    /// A chunk was hashed, or something failed.
    moved: Condvar,
}

struct State {
    progress: Vec<Progress>,
    order: Vec<usize>,
    failed: Option<Error>,
    /// Chunks' memory, to be used again.
    buffers: Vec<Chunk>,
}

/// How far a layer is, in chunks.
struct Progress {
    chunks: u64,
    taken: u64,
    hashed: u64,
    /// Brought, but something before them is not there yet.
    waiting: BTreeMap<u64, Chunk>,
    /// What goes in order; away while a thread is at it.
    tail: Option<Box<Tail>>,
}

/// The ordered half of a layer's work.
#[derive(Default)]
struct Tail {
    diff_id: Hasher,
    digest: Hasher,
    size: u64,
}

#[derive(Default)]
struct Chunk {
    raw: Vec<u8>,
    packed: Vec<u8>,
}

impl Progress {
    fn new(chunks: u64) -> Progress {
        Progress { chunks, taken: 0, hashed: 0, waiting: BTreeMap::new(), tail: Some(Box::default()) }
    }
}

impl Tail {
    fn blob(self, codec: Codec) -> Blob {
        let diff_id = self.diff_id.finish();
        let digest = if codec == Codec::None { diff_id } else { self.digest.finish() };
        Blob { diff_id, digest, size: self.size }
    }
}

impl Shared<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panicked")
    }

    fn work(&self) -> Result<(), Error> {
        let mut compressor = self.codec.compressor()?;
        while let Some((layer, index, mut chunk)) = self.take() {
            self.make(layer, index, &mut chunk, &mut compressor)?;
            self.bring(layer, index, chunk)?;
        }
        Ok(())
    }

    /// The next chunk to make, or nothing when all are taken.
    fn take(&self) -> Option<(usize, u64, Chunk)> {
        let mut state = self.lock();
        loop {
            if state.failed.is_some() {
                return None;
            }
            let State { progress, order, .. } = &*state;
            let open = order.iter().copied().filter(|&layer| progress[layer].taken < progress[layer].chunks);
            let layer = open.min_by_key(|&layer| progress[layer].taken - progress[layer].hashed)?;
            let next = &mut state.progress[layer];
            if next.taken - next.hashed < self.window {
                let index = next.taken;
                next.taken += 1;
                return Some((layer, index, state.buffers.pop().unwrap_or_default()));
            }
            state = self.moved.wait(state).expect("no thread panicked");
        }
    }

    fn make(&self, layer: usize, index: u64, chunk: &mut Chunk, compressor: &mut Compressor) -> Result<(), Error> {
        let (stream, sink) = &self.layers[layer];
        let start = index * self.codec.chunk();
        chunk.raw.resize(self.codec.chunk().min(stream.size() - start) as usize, 0);
        stream.fill(start, &mut chunk.raw)?;
        if self.codec == Codec::None {
            // Its place is known: no need to wait for those before it.
            return sink.write(start, &chunk.raw);
        }
        compressor.compress(&chunk.raw, &mut chunk.packed)
    }

    /// Hands in a chunk, and does the ordered work for all that are next.
    fn bring(&self, layer: usize, index: u64, chunk: Chunk) -> Result<(), Error> {
        let mut state = self.lock();
        state.progress[layer].waiting.insert(index, chunk);
        let Some(mut tail) = state.progress[layer].tail.take() else { return Ok(()) };
        loop {
            let next = state.progress[layer].hashed;
            let Some(chunk) = state.progress[layer].waiting.remove(&next) else { break };
            drop(state);
            self.append(layer, &mut tail, &chunk)?;
            state = self.lock();
            state.buffers.push(chunk);
            state.progress[layer].hashed += 1;
            self.moved.notify_all();
        }
        state.progress[layer].tail = Some(tail);
        Ok(())
    }

    fn append(&self, layer: usize, tail: &mut Tail, chunk: &Chunk) -> Result<(), Error> {
        tail.diff_id.update(&chunk.raw);
        if self.codec == Codec::None {
            tail.size += chunk.raw.len() as u64;
            return Ok(());
        }
        tail.digest.update(&chunk.packed);
        self.layers[layer].1.write(tail.size, &chunk.packed)?;
        tail.size += chunk.packed.len() as u64;
        Ok(())
    }
}

impl Sink {
    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(bytes, self.base + at).map_err(Error::write(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::build::{Options, build};
    use super::super::output::Format;
    use super::super::spec::Spec;
    use super::*;

    /// A file that is longer when it is read than when it was walked: the image fails and nothing of it stays.
    #[test]
    fn a_file_that_changes_fails_the_image() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("store/thing");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("file"), b"one").unwrap();
        let stream = Stream::of_paths(dir.path(), &["/store/thing"]).unwrap();
        fs::write(path.join("file"), b"three").unwrap();
        let out = dir.path().join("layer");
        let sink = Sink { file: File::create(&out).unwrap(), path: out, base: 0 };
        let error = run(&[(stream, sink)], Codec::Zstd, 2).unwrap_err();
        let expected = format!("{} changed while it was read: it had 3 bytes", path.join("file").display());
        assert_eq!(error.to_string(), expected);
    }

    /// Far more chunks than may be under way at once, in one layer and in several, come out in their order.
    #[test]
    fn many_chunks_come_out_in_order() {
        let dir = tempfile::TempDir::new().unwrap();
        for (name, size) in [("a", 9 << 20), ("b", 3_000_001), ("c", 0)] {
            fs::create_dir_all(dir.path().join("store").join(name)).unwrap();
            let bytes: Vec<u8> = (0..size as u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
            fs::write(dir.path().join("store").join(name).join("file"), &bytes[..size]).unwrap();
        }
        let graph: Vec<_> = ["a", "b", "c"]
            .map(|name| serde_json::json!({ "path": format!("/store/{name}"), "narSize": 1 << 20 }))
            .into();
        let mut images = Vec::new();
        for threads in [1, 2, 3, 16] {
            for codec in ["none", "zstd"] {
                let spec = serde_json::json!({ "graph": graph, "image": {
                    "name": "a", "tag": "b", "architecture": "amd64", "compression": codec } });
                let spec = Spec::parse(spec.to_string().as_bytes(), "spec").unwrap();
                let out = dir.path().join("image");
                let options = Options { format: Format::Archive, threads, root: dir.path() };
                let built = build(&spec, &out, &options).unwrap();
                assert!(super::super::verify(&out, 2).unwrap().problems.is_empty());
                images.push((codec, built));
            }
        }
        assert!(images.iter().all(|(codec, built)| images.iter().all(|(c, b)| c != codec || b == built)));
    }
}
