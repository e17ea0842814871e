//! A reader of tar archives that believes nothing: every number is checked before it is used, and every error says at
//! which byte.
//!
//! Understood are ustar, PAX records of single entries, and GNU's long names and base-256 numbers. What no image layer has
//! (sparse files, volumes, global PAX headers) is refused.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::super::digest::Digest;
use super::header::{BLOCK, padded};

/// The most bytes of extended headers for one entry, all together: Linux has 64 KiB for a file's extended attributes.
const MOST_RECORDS: u64 = 1 << 20;
/// The most bytes of a path or of a link's target: Linux takes no longer ones.
const MOST_NAME: usize = 4096;
/// The most empty bytes behind the end: tar fills up its last record, 10 KiB unless it is told otherwise. A file may have holes
/// of any length that take no room.
const MOST_EMPTY: u64 = 16 << 20;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// Its bytes are not those of a tar archive.
    #[error("at byte {at}: {what}")]
    Damaged {
        /// Bytes from the start of the archive.
        at: u64,
        /// What is wrong there.
        what: String,
    },
    /// It cannot be read at all.
    #[error("at byte {at}: {source}")]
    Io {
        /// Bytes from the start of the archive.
        at: u64,
        /// What the system or the decompressor said.
        source: io::Error,
    },
}

/// One entry, as its header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As written, a directory's with its slash.
    pub name: Vec<u8>,
    /// `0` file, `1` hard link, `2` symbolic link, `3` and `4` devices, `5` directory, `6` pipe.
    pub flag: u8,
    /// Permission bits and whatever else the field holds.
    pub mode: u64,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes that follow.
    pub size: u64,
    /// Time of modification, seconds since 1970.
    pub mtime: u64,
    /// Target of a link.
    pub target: Vec<u8>,
    /// Names of owner and group, as written.
    pub owners: (Vec<u8>, Vec<u8>),
    /// Digest of the PAX records that have no field here (extended attributes and the like), where there are any.
    pub other: Option<Digest>,
    /// Where its first header is, bytes from the start.
    pub at: u64,
}

impl Entry {
    /// Its name without the slash of a directory.
    pub fn path(&self) -> &[u8] {
        self.name.strip_suffix(b"/").unwrap_or(&self.name)
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.flag == b'5'
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.flag == b'0'
    }

    /// What it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self.flag {
            b'0' => "file",
            b'1' => "hard link",
            b'2' => "symbolic link",
            b'3' | b'4' => "device",
            b'5' => "directory",
            b'6' => "pipe",
            _ => "unknown",
        }
    }
}

/// Reads entry by entry; an entry's data is read from the reader itself.
pub struct Reader<R> {
    inner: R,
    at: u64,
    /// Data of the current entry still to come, and its padding.
    data: u64,
    padding: u64,
}

impl<R: Read> Reader<R> {
    /// Reads an archive from its start.
    pub fn new(inner: R) -> Reader<R> {
        Reader { inner, at: 0, data: 0, padding: 0 }
    }

    /// Bytes read.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The reader below.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The reader below, for who moves in it.
    pub fn inner(&mut self) -> &mut R {
        &mut self.inner
    }

    /// Says that the caller moves the reader below past the current entry's data; gives how far.
    pub fn passed(&mut self) -> u64 {
        self.at += self.data;
        std::mem::take(&mut self.data)
    }

    /// The next entry, or nothing at the end. What was not read of the one before is skipped.
    pub fn next(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip()?;
        let mut records = BTreeMap::new();
        let at = self.at;
        let mut room = MOST_RECORDS;
        loop {
            let block = self.block()?;
            if block.iter().all(|&byte| byte == 0) {
                return if records.is_empty() {
                    self.end()
                } else {
                    Err(self.damaged("an extended header of nothing"))
                };
            }
            let field = self.check(&block)?;
            match field.flag {
                b'x' => {
                    let text = self.extended(field.size, &mut room)?;
                    self.pax(&text, &mut records)?;
                }
                b'L' | b'K' => {
                    let mut text = self.extended(field.size, &mut room)?;
                    text.truncate(text.iter().position(|&byte| byte == 0).unwrap_or(text.len()));
                    records.insert(if field.flag == b'L' { "path" } else { "linkpath" }.to_owned(), text);
                }
                b'0'..=b'6' => return self.entry(field, records, at).map(Some),
                flag => {
                    return Err(self.damaged(format!("entries of type `{}` are not supported", flag.escape_ascii())));
                }
            }
        }
    }

    fn skip(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; 16 << 10];
        while self.data > 0 {
            let most = self.data.min(buffer.len() as u64) as usize;
            self.read_data(&mut buffer[..most])?;
        }
        let padding = self.padding as usize;
        self.padding = 0;
        self.fill(&mut buffer[..padding])?;
        if buffer[..padding].iter().any(|&byte| byte != 0) {
            return Err(self.damaged("padding that is not empty"));
        }
        Ok(())
    }

    /// Reads some of the current entry's data; 0 at its end.
    pub fn read_data(&mut self, out: &mut [u8]) -> Result<usize, TarError> {
        let most = self.data.min(out.len() as u64) as usize;
        if most == 0 {
            return Ok(0);
        }
        self.fill(&mut out[..most])?;
        self.data -= most as u64;
        Ok(most)
    }

    /// The second empty block, and nothing but emptiness behind it.
    fn end(&mut self) -> Result<Option<Entry>, TarError> {
        let begins = self.at;
        let mut rest = self.block()?.to_vec();
        let mut read = rest.len();
        loop {
            if rest[..read].iter().any(|&byte| byte != 0) {
                return Err(self.damaged("something behind the end"));
            }
            if self.at - begins > MOST_EMPTY {
                return Err(self.damaged(format!("more than {} MiB of nothing behind the end", MOST_EMPTY >> 20)));
            }
            rest.resize(64 << 10, 0);
            match self.inner.read(&mut rest) {
                Ok(0) => return Ok(None),
                Ok(more) => read = more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => read = 0,
                Err(source) => return Err(TarError::Io { at: self.at, source }),
            }
            self.at += read as u64;
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK as usize], TarError> {
        let mut block = [0; BLOCK as usize];
        self.fill(&mut block)?;
        Ok(block)
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), TarError> {
        match self.inner.read_exact(out) {
            Ok(()) => {
                self.at += out.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged("it ends too early")),
            Err(source) => Err(TarError::Io { at: self.at, source }),
        }
    }

    fn extended(&mut self, size: u64, room: &mut u64) -> Result<Vec<u8>, TarError> {
        *room = room
            .checked_sub(size)
            .ok_or_else(|| self.damaged(format!("extended headers of more than {MOST_RECORDS} bytes")))?;
        let mut text = vec![0; padded(size) as usize];
        self.fill(&mut text)?;
        text.truncate(size as usize);
        Ok(text)
    }

    fn damaged(&self, what: impl Into<String>) -> TarError {
        TarError::Damaged { at: self.at, what: what.into() }
    }

    /// Checks a header block and takes its numbers out.
    fn check(&self, block: &[u8; BLOCK as usize]) -> Result<Entry, TarError> {
        let number = |name: &str, range: std::ops::Range<usize>| {
            number(&block[range]).ok_or_else(|| self.damaged(format!("the header's {name} is no number")))
        };
        let sum = block.iter().enumerate().map(|(i, &b)| if (148..156).contains(&i) { 32 } else { u64::from(b) });
        if number("checksum", 148..156)? != sum.sum::<u64>() {
            return Err(self.damaged("the header's checksum is wrong"));
        }
        if &block[257..262] != b"ustar" {
            return Err(self.damaged("a header that is not ustar's"));
        }
        let text = |range: std::ops::Range<usize>| {
            let field = &block[range];
            field[..field.iter().position(|&byte| byte == 0).unwrap_or(field.len())].to_vec()
        };
        // GNU's own magic ("ustar  ") has other things where POSIX has the prefix.
        let prefix = if block[262] == 0 { text(345..500) } else { Vec::new() };
        let name = if prefix.is_empty() { text(0..100) } else { [&prefix[..], b"/", &text(0..100)].concat() };
        Ok(Entry {
            name,
            flag: if block[156] == 0 { b'0' } else { block[156] },
            mode: number("mode", 100..108)?,
            uid: number("owner", 108..116)?,
            gid: number("group", 116..124)?,
            size: number("size", 124..136)?,
            mtime: number("time", 136..148)?,
            target: text(157..257),
            owners: (text(265..297), text(297..329)),
            other: None,
            at: 0,
        })
    }

    fn pax(&self, text: &[u8], records: &mut BTreeMap<String, Vec<u8>>) -> Result<(), TarError> {
        let mut rest = text;
        while !rest.is_empty() {
            let wrong = || self.damaged("an extended header that is not made of records");
            let space = rest.iter().take(10).position(|&byte| byte == b' ').ok_or_else(wrong)?;
            let length: usize =
                std::str::from_utf8(&rest[..space]).ok().and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
            let record = rest.get(space + 1..length).ok_or_else(wrong)?;
            let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(wrong)?;
            let key = std::str::from_utf8(&record[..equals]).map_err(|_| wrong())?;
            if records.insert(key.to_owned(), record[equals + 1..].to_vec()).is_some() {
                return Err(self.damaged(format!("an extended header with two records `{}`", key.escape_debug())));
            }
            rest = &rest[length..];
        }
        Ok(())
    }

    fn entry(&mut self, mut entry: Entry, mut records: BTreeMap<String, Vec<u8>>, at: u64) -> Result<Entry, TarError> {
        if let Some(name) = records.remove("path") {
            entry.name = name;
        }
        if let Some(target) = records.remove("linkpath") {
            entry.target = target;
        }
        for (key, field) in [("size", &mut entry.size), ("uid", &mut entry.uid), ("gid", &mut entry.gid)] {
            if let Some(digits) = records.remove(key) {
                let number = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok());
                *field = number.ok_or_else(|| self.damaged(format!("the extended header's {key} is no number")))?;
            }
        }
        if entry.name.is_empty() || entry.name.contains(&0) || entry.target.contains(&0) {
            return Err(self.damaged("an entry without a proper name"));
        }
        if entry.name.len() > MOST_NAME || entry.target.len() > MOST_NAME {
            return Err(self.damaged(format!("a name of more than {MOST_NAME} bytes")));
        }
        if entry.flag != b'0' && entry.size != 0 {
            return Err(self.damaged(format!("a {} with data", entry.kind())));
        }
        if entry.size > i64::MAX as u64 {
            return Err(self.damaged(format!("an entry of {} bytes", entry.size)));
        }
        records.remove("hdrcharset");
        entry.other = (!records.is_empty()).then(|| digest_of(&records));
        entry.at = at;
        self.data = entry.size;
        self.padding = padded(entry.size) - entry.size;
        Ok(entry)
    }
}

fn digest_of(records: &BTreeMap<String, Vec<u8>>) -> Digest {
    let mut text = Vec::new();
    for (key, value) in records {
        text.extend_from_slice(format!("{} {} ", key.len(), value.len()).as_bytes());
        text.extend_from_slice(key.as_bytes());
        text.extend_from_slice(value);
    }
    Digest::of(&text)
}

/// Octal digits between spaces and NULs, or base 256.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        // Negative ones begin with 0xff: nothing here is negative.
        let (first, rest) = (field[0] & 0x7f, &field[1..]);
        let value =
            rest.iter().try_fold(u64::from(first), |value, &byte| Some(value.checked_mul(256)? | u64::from(byte)));
        return value.filter(|_| field[0] != 0xff);
    }
    let digits: &[u8] = field.trim_ascii_start();
    let end = digits.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len());
    if !digits[end..].iter().all(|byte| matches!(byte, 0 | b' ')) {
        return None;
    }
    let value = |value: u64, &byte: &u8| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    };
    digits[..end].iter().try_fold(0, value)
}
