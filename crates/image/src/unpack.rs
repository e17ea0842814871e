//! A layer of an image, read once: blob hashed, decompressed, hashed again, taken apart.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder;

use super::codec::Codec;
use super::digest::{Digest, Hasher};
use super::documents::Descriptor;
use super::error::Error;
use super::store::{MOST_KEPT, Part, Store};
use super::tar::{Entry, Reader, TarError};

/// The most bytes of a layer, decompressed. More could only be there to fill the reader's disk.
const MOST_BYTES: u64 = 1 << 38;
/// The most entries of a layer: ten times those of a whole Linux distribution.
const MOST_ENTRIES: usize = 4_000_000;
const BUFFER: usize = 256 << 10;

/// What reading a layer gave.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// How it is compressed: engines go by the bytes and not by what is said of them, and so do we.
    pub codec: Codec,
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub packed: u64,
    /// Digest of the tar stream.
    pub diff_id: Digest,
    /// Bytes of the tar stream.
    pub raw: u64,
    /// How many entries there are.
    pub entries: usize,
    /// Why reading stopped before the end, if it did; the digest of the blob is right all the same.
    pub stopped: Option<String>,
}

/// Who gets each entry, with the digest of its contents where that was asked for, and says how many bytes it keeps of it.
pub type Take<'a> = &'a mut dyn FnMut(Entry, Option<Digest>) -> usize;

/// Reads a layer to its end and passes its entries on, so that nothing is kept that is not needed: a small blob may hold
/// millions. `contents`: whether each file is hashed too.
pub fn unpack(store: &Store, layer: &Descriptor, contents: bool, take: Take) -> Result<Unpacked, Error> {
    let (codec, decoder) = decoder(store, layer)?;
    let mut reader = Reader::new(BufReader::with_capacity(BUFFER, Hashing::new(decoder)));
    let mut entries = 0;
    let stopped = read(&mut reader, store, contents, &mut entries, take).err().map(|error| error.to_string());
    let raw = reader.into_inner().into_inner();
    // Whatever the archive inside is like, the blob is hashed to its end.
    let mut packed = raw.inner.into_inner();
    let mut rest = vec![0; BUFFER];
    while packed.read(&mut rest).map_err(Error::read(store.path()))? > 0 {}
    let packed = packed.into_inner();
    Ok(Unpacked {
        codec,
        digest: packed.hasher.finish(),
        packed: packed.bytes,
        diff_id: raw.hasher.finish(),
        raw: raw.bytes,
        entries,
        stopped,
    })
}

fn read<R: Read>(
    reader: &mut Reader<R>,
    store: &Store,
    contents: bool,
    entries: &mut usize,
    take: Take,
) -> Result<(), TarError> {
    let mut buffer = vec![0; BUFFER];
    while let Some(entry) = reader.next()? {
        *entries += 1;
        let at = entry.at;
        let too_many = |what: String| Err(TarError::Damaged { at, what });
        if *entries > MOST_ENTRIES {
            return too_many(format!("more than {MOST_ENTRIES} entries"));
        }
        let mut hasher = (contents && entry.is_file()).then(Hasher::default);
        loop {
            let read = reader.read_data(&mut buffer)?;
            if read == 0 {
                break;
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(&buffer[..read]);
            }
        }
        if !store.has_room(take(entry, hasher.map(Hasher::finish))) {
            return too_many(format!("the image has more names than fit into {} MiB", MOST_KEPT >> 20));
        }
    }
    Ok(())
}

/// How a layer is compressed, by its bytes.
pub fn codec(store: &Store, layer: &Descriptor) -> Result<Codec, Error> {
    decoder(store, layer).map(|(codec, _)| codec)
}

/// Opens a layer's tar stream, without checking anything of it.
pub fn tar_stream(store: &Store, layer: &Descriptor) -> Result<impl Read + use<>, Error> {
    decoder(store, layer).map(|(_, decoder)| decoder)
}

fn decoder(store: &Store, layer: &Descriptor) -> Result<(Codec, Decode), Error> {
    let name = layer.digest.blob();
    if Codec::of_media_type(&layer.media_type).is_none() {
        return Err(store.damaged(&name, format!("`{}` is no kind of layer", layer.media_type.escape_debug())));
    }
    let mut packed = BufReader::with_capacity(BUFFER, Hashing::new(store.part(&name)?));
    let begin = packed.fill_buf().map_err(Error::read(store.path()))?;
    let codec = Codec::of_bytes(begin);
    let decoder = Decode::new(codec, packed).map_err(Error::read(store.path()))?;
    Ok((codec, decoder))
}

/// Hashes and counts what goes through it.
struct Hashing<R> {
    inner: R,
    hasher: Hasher,
    bytes: u64,
}

impl<R> Hashing<R> {
    fn new(inner: R) -> Hashing<R> {
        Hashing { inner, hasher: Hasher::default(), bytes: 0 }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.hasher.update(&out[..read]);
        self.bytes += read as u64;
        if self.bytes > MOST_BYTES {
            return Err(io::Error::other(format!("more than {MOST_BYTES} bytes")));
        }
        Ok(read)
    }
}

type Packed = BufReader<Hashing<Part>>;

/// A decompressor. That of gzip is plain Rust: what it reads may be hostile.
enum Decode {
    None(Packed),
    Gzip(MultiGzDecoder<Packed>),
    Zstd(Box<Decoder<'static, Packed>>),
}

impl Decode {
    fn new(codec: Codec, packed: Packed) -> io::Result<Decode> {
        Ok(match codec {
            Codec::None => Decode::None(packed),
            Codec::Gzip => Decode::Gzip(MultiGzDecoder::new(packed)),
            Codec::Zstd => Decode::Zstd(Box::new(Decoder::with_buffer(packed)?)),
        })
    }

    fn into_inner(self) -> Packed {
        match self {
            Decode::None(packed) => packed,
            Decode::Gzip(decoder) => decoder.into_inner(),
            Decode::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl Read for Decode {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Decode::None(packed) => packed.read(out),
            Decode::Gzip(decoder) => decoder.read(out),
            Decode::Zstd(decoder) => decoder.read(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tar::{Header, Kind};
    use super::*;

    #[test]
    fn what_is_kept_of_an_image_has_a_limit() {
        let mut tar = Vec::new();
        for name in ["a", "b", "c"] {
            let name = name.as_bytes();
            Header { name, kind: Kind::File, mode: 0o444, uid: 0, gid: 0, size: 0, target: b"" }.write(&mut tar);
        }
        tar.resize(tar.len() + 1024, 0);
        let (dir, digest) = (tempfile::tempdir().unwrap(), Digest::of(&tar));
        std::fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        std::fs::write(dir.path().join(digest.blob()), &tar).unwrap();
        let layer = serde_json::json!({ "mediaType": Codec::None.media_type(), "digest": digest, "size": tar.len() });
        let layer: Descriptor = serde_json::from_value(layer).unwrap();
        let read = |keeps: usize, times: usize| {
            let store = Store::open(dir.path()).unwrap();
            let one = || unpack(&store, &layer, false, &mut |_, _| keeps).unwrap();
            std::iter::repeat_with(one).take(times).last().unwrap()
        };
        assert_eq!(read(MOST_KEPT / 3, 1).stopped, None);
        // The limit is the image's, not the layer's.
        let stopped = read(MOST_KEPT / 3, 2);
        assert_eq!(stopped.stopped.unwrap(), "at byte 0: the image has more names than fit into 256 MiB");
        assert_eq!((stopped.digest, stopped.entries), (digest, 1));
    }
}
