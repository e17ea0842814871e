//! Where rows come from: files, compressed or not, and standard input.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use encoding_rs::Encoding;
use encoding_rs_io::DecodeReaderBytesBuilder;

/// A stream of a day's rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Input::File(path) => path.display().fmt(f),
            Input::Stdin => f.write_str("standard input"),
        }
    }
}

/// What compressed files begin with (RFC 1952, RFC 8878).
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// The same of what decompressors skip: some archivers put sizes or a name before the first frame. The first byte is 0x50 to 0x5f.
const SKIPPED: &[u8] = b"\x2a\x4d\x18";
/// Bytes of the longest byte order mark.
const MARK: usize = 3;

/// What a file is packed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Nothing.
    None,
    /// `gzip`
    Gzip,
    /// `zstd`
    Zstd,
}

impl Compression {
    fn of(head: &[u8]) -> Compression {
        match head {
            head if head.starts_with(GZIP) => Compression::Gzip,
            head if head == ZSTD => Compression::Zstd,
            [0x50..=0x5f, rest @ ..] if rest == SKIPPED => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

/// How much is read at once.
const PIECE: usize = 256 * 1024;

impl Input {
    /// Device and number of a file that is there, however its name is spelled.
    pub(crate) fn identity(&self) -> Option<(u64, u64)> {
        let Input::File(path) = self else { return None };
        let file = std::fs::metadata(path).ok()?;
        Some((file.dev(), file.ino()))
    }

    /// What a file is packed with, by its first bytes.
    ///
    /// # Errors
    /// It is not there, or not ours to read; standard input can't be looked at twice.
    pub fn compression(&self) -> io::Result<Compression> {
        let Input::File(path) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut head = Vec::new();
        File::open(path)?.take(ZSTD.len() as u64).read_to_end(&mut head)?;
        Ok(Compression::of(&head))
    }

    /// The encoding that a file's byte order mark says, if its text begins with one.
    ///
    /// # Errors
    /// As [`Input::compression`].
    pub fn mark(&self) -> io::Result<Option<&'static Encoding>> {
        let Input::File(path) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let (mark, _) = ahead(plain(File::open(path)?)?, MARK)?;
        Ok(Encoding::for_bom(&mark).map(|(encoding, _)| encoding))
    }

    /// Opens it: uncompressed whatever its name says, and in UTF-8. A byte order mark goes, and says which encoding it is; gives that
    /// out of which the text has been made, if it was another one.
    /// `read` is told how many bytes were read, as they lie on the disk.
    ///
    /// # Errors
    /// It is not there, or not ours to read.
    pub fn open(
        &self,
        encoding: Option<&'static Encoding>,
        read: impl Fn(u64) + Send + 'static,
    ) -> io::Result<(Box<dyn Read + Send>, Option<&'static Encoding>)> {
        let raw: Box<dyn Read + Send> = match self {
            Input::File(path) => Box::new(File::open(path)?),
            Input::Stdin => Box::new(io::stdin()),
        };
        let (mark, plain) = ahead(plain(Counted { inner: raw, read })?, MARK)?;
        let marked =
            Encoding::for_bom(&mark).map(|(encoding, _)| encoding).filter(|marked| *marked != encoding_rs::UTF_8);
        let decoded =
            DecodeReaderBytesBuilder::new().encoding(encoding).utf8_passthru(true).strip_bom(true).build(plain);
        Ok((Box::new(decoded), encoding.or(marked)))
    }
}

/// What something begins with, and the whole of it.
fn ahead<R: Read>(mut raw: R, bytes: usize) -> io::Result<(Vec<u8>, impl Read + use<R>)> {
    let mut head = Vec::with_capacity(bytes);
    raw.by_ref().take(bytes as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(raw)))
}

fn plain(raw: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let (head, whole) = ahead(raw, ZSTD.len())?;
    Ok(match Compression::of(&head) {
        // A file may be several archives, one after the other.
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(PIECE, whole))),
        Compression::Zstd => Box::new(zstd::Decoder::new(whole)?),
        Compression::None => Box::new(whole),
    })
}

struct Counted<R, F> {
    inner: R,
    read: F,
}

impl<R: Read, F: Fn(u64)> Read for Counted<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        (self.read)(bytes as u64);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: &[u8], encoding: Option<&'static Encoding>) -> io::Result<String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut text = String::new();
        Input::File(file.path().into()).open(encoding, |_| ())?.0.read_to_string(&mut text)?;
        Ok(text)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_is_compressed_is_known_by_its_first_bytes() {
        assert_eq!(read(b"a,b\n", None).unwrap(), "a,b\n");
        assert_eq!(read(b"", None).unwrap(), "");
        assert_eq!(read(b"a", None).unwrap(), "a");
        assert_eq!(read(&[gzip(b"a,b\n"), gzip(b"c,d\n")].concat(), None).unwrap(), "a,b\nc,d\n");
        let archive = zstd::encode_all(&b"a,b\n"[..], 1).unwrap();
        assert_eq!(read(&archive, None).unwrap(), "a,b\n");
        assert_eq!(read(&[b"\x5a\x2a\x4d\x18\x03\0\0\0any", &archive[..]].concat(), None).unwrap(), "a,b\n");
    }

    #[test]
    fn an_archive_that_ends_early_is_an_error() {
        let rows = b"some,rows\n".repeat(1000);
        for archive in [gzip(&rows), zstd::encode_all(&rows[..], 1).unwrap()] {
            let error = read(&archive[..archive.len() - 5], None).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
        }
        assert!(read(&[gzip(&rows), b"more".to_vec()].concat(), None).is_err());
    }

    #[test]
    fn text_becomes_utf8() {
        assert_eq!(read(b"\xef\xbb\xbfa\n", None).unwrap(), "a\n");
        assert_eq!(read(b"\xff\xfea\0\n\0", None).unwrap(), "a\n");
        assert_eq!(read(b"gr\xfcn\n", Some(encoding_rs::WINDOWS_1252)).unwrap(), "grün\n");
        assert_eq!(read(&gzip(b"\xef\xbb\xbfa\n"), None).unwrap(), "a\n");
    }
}
