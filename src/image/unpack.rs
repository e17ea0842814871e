//! A layer of an image, read once: blob hashed, decompressed, hashed again, taken apart.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder;

use super::codec::Codec;
use super::digest::{Digest, Hasher};
use super::documents::Descriptor;
use super::error::Error;
use super::store::{Part, Store};
use super::tar::{Entry, Reader, TarError};

/// The most bytes of a layer, decompressed. More could only be there to fill the reader's disk.
const MOST_BYTES: u64 = 1 << 38;
/// The most entries of a layer: ten times those of a whole Linux distribution.
const MOST_ENTRIES: usize = 4_000_000;
const BUFFER: usize = 256 << 10;

/// What reading a layer gave.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub packed: u64,
    /// Digest of the tar stream.
    pub diff_id: Digest,
    /// Bytes of the tar stream.
    pub raw: u64,
    /// The entries, in their order.
    pub entries: Vec<Entry>,
    /// Digests of the files' contents, one an entry, where they were asked for.
    pub contents: Vec<Option<Digest>>,
    /// Why reading stopped before the end, if it did; the digest of the blob is right all the same.
    pub stopped: Option<String>,
}

/// Reads a layer to its end. `contents`: whether each file is hashed too.
pub fn unpack(store: &Store, layer: &Descriptor, contents: bool) -> Result<Unpacked, Error> {
    let name = layer.digest.blob();
    let codec = Codec::of_media_type(&layer.media_type)
        .ok_or_else(|| store.damaged(&name, format!("`{}` is no kind of layer", layer.media_type.escape_debug())))?;
    let failed = Error::read(store.path());
    let packed = BufReader::with_capacity(BUFFER, Hashing::new(store.part(&name)?));
    let decoder = match Decode::new(codec, packed) {
        Ok(decoder) => decoder,
        Err(error) => return Err(failed(error)),
    };
    let mut reader = Reader::new(BufReader::with_capacity(BUFFER, Hashing::new(decoder)));
    let (mut entries, mut digests) = (Vec::new(), Vec::new());
    let stopped = read(&mut reader, contents, &mut entries, &mut digests).err().map(|error| error.to_string());
    let raw = reader.into_inner().into_inner();
    // Whatever the archive inside is like, the blob is hashed to its end.
    let mut packed = raw.inner.into_inner();
    let mut rest = vec![0; BUFFER];
    while packed.read(&mut rest).map_err(failed_again(store))? > 0 {}
    let packed = packed.into_inner();
    Ok(Unpacked {
        digest: packed.hasher.finish(),
        packed: packed.bytes,
        diff_id: raw.hasher.finish(),
        raw: raw.bytes,
        entries,
        contents: digests,
        stopped,
    })
}

fn failed_again(store: &Store) -> impl FnOnce(io::Error) -> Error {
    Error::read(store.path())
}

fn read<R: Read>(
    reader: &mut Reader<R>,
    contents: bool,
    entries: &mut Vec<Entry>,
    digests: &mut Vec<Option<Digest>>,
) -> Result<(), TarError> {
    let mut buffer = vec![0; BUFFER];
    while let Some(entry) = reader.next()? {
        if entries.len() == MOST_ENTRIES {
            return Err(TarError::Damaged { at: entry.at, what: format!("more than {MOST_ENTRIES} entries") });
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
        digests.push(hasher.map(Hasher::finish));
        entries.push(entry);
    }
    Ok(())
}

/// Opens a layer's tar stream, without checking anything of it.
pub fn tar_stream(store: &Store, layer: &Descriptor) -> Result<impl Read + use<>, Error> {
    let name = layer.digest.blob();
    let codec = Codec::of_media_type(&layer.media_type)
        .ok_or_else(|| store.damaged(&name, format!("`{}` is no kind of layer", layer.media_type.escape_debug())))?;
    let packed = BufReader::with_capacity(BUFFER, Hashing::new(store.part(&name)?));
    Decode::new(codec, packed).map_err(Error::read(store.path()))
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
