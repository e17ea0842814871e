//! Records out of a stream of CSV, a batch at a time, in bounded memory.

use std::io::{self, Read};
use std::ops::Range;

use csv_core::ReadRecordResult;
use memchr::{memchr, memchr_iter, memchr2};

/// Longest record in bytes. Beyond it a quote was left open, and what follows can't be told from it.
pub const LONGEST: usize = 1 << 20;
/// Most fields of a record.
const FIELDS: usize = 4096;
/// How much is read at once, and about as much a batch holds.
const PIECE: usize = 256 * 1024;
/// Bytes and fields that a record is given room for at first.
const ROOM: usize = 4096;

/// How fields are set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Between two fields.
    pub delimiter: u8,
    /// Around a field; written twice inside of one.
    pub quote: u8,
}

/// Why no more records can be read.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The file ends in the middle of an archive, the disk fails.
    #[error("cannot be read to its end")]
    Read(#[source] io::Error),
    /// Beyond [`LONGEST`], or what else is set.
    #[error("line {line}: a record of more than {} MiB or 4,096 fields begins there: was a quote left open?", longest >> 20)]
    TooLong {
        /// Where it begins.
        line: u64,
        /// The most that a record may have, in bytes.
        longest: usize,
    },
    /// Where that record ends, and which after it are part of it, can't be told.
    #[error("line {0}: the file ends inside of a quote that a record opens which begins there")]
    Open(u64),
}

/// Some records, one after the other.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// How many of `bytes` are in use.
    used: usize,
    /// Where each field ends in `bytes`.
    ends: Vec<usize>,
    /// How many of `ends` are in use.
    fields: usize,
    records: Vec<Place>,
}

struct Place {
    line: u64,
    lines: u64,
    start: usize,
    ends: Range<usize>,
    gap: usize,
}

/// A record, as text.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// How many lines it takes.
    pub lines: u64,
    bytes: &'a [u8],
    start: usize,
    ends: &'a [usize],
    /// How many bytes stand between two fields.
    gap: usize,
}

impl<'a> Record<'a> {
    /// How many fields it has.
    pub fn width(&self) -> usize {
        self.ends.len()
    }

    /// A field, counted from 0.
    pub fn field(&self, at: usize) -> &'a [u8] {
        let start = if at == 0 { self.start } else { self.ends[at - 1] + self.gap };
        &self.bytes[start..self.ends[at]]
    }

    /// Whether a field may hold a line break; one that was cut as a line has none.
    pub fn may_break(&self) -> bool {
        self.gap == 0
    }

    /// All of them.
    pub fn fields(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.width()).map(move |at| self.field(at))
    }
}

impl Batch {
    /// The records, in the order of the file.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.records.iter().map(|place| Record {
            line: place.line,
            lines: place.lines,
            bytes: &self.bytes,
            start: place.start,
            ends: &self.ends[place.ends.clone()],
            gap: place.gap,
        })
    }

    fn clear(&mut self) {
        (self.used, self.fields) = (0, 0);
        self.records.clear();
    }

    /// Room for so many bytes and fields of the record that is being read.
    fn reserve(&mut self, bytes: usize, fields: usize) {
        self.bytes.resize(self.bytes.len().max(self.used + bytes), 0);
        self.ends.resize(self.ends.len().max(self.fields + fields), 0);
    }
}

/// Reads records.
pub struct Records<R> {
    input: R,
    core: csv_core::Reader,
    shape: Shape,
    /// Whether the first record was read, which may have a byte order mark before it.
    begun: bool,
    buffer: Box<[u8]>,
    unread: Range<usize>,
    ended: bool,
    longest: usize,
}

impl<R: Read> Records<R> {
    /// Records of a stream that is UTF-8, or nearly.
    pub fn new(input: R, shape: Shape) -> Records<R> {
        let core = csv_core::ReaderBuilder::new().delimiter(shape.delimiter).quote(shape.quote).build();
        let buffer = vec![0; PIECE].into();
        Records { input, core, shape, begun: false, buffer, unread: 0..0, ended: false, longest: LONGEST }
    }

    /// The same, with records of up to so many bytes.
    pub fn with_longest(self, longest: usize) -> Records<R> {
        Records { longest, ..self }
    }

    /// Fills a batch with at least one record, and not many more than make [`PIECE`] bytes; false at the end.
    pub fn fill(&mut self, batch: &mut Batch) -> Result<bool, Broken> {
        self.some(batch, PIECE)
    }

    /// Fills a batch with one record: the header.
    pub fn first(&mut self, batch: &mut Batch) -> Result<bool, Broken> {
        self.some(batch, 1)
    }

    fn some(&mut self, batch: &mut Batch, bytes: usize) -> Result<bool, Broken> {
        batch.clear();
        // Records without a byte in them take room too.
        while !self.ended && batch.used + batch.fields < bytes && (self.line(batch) || self.record(batch)?) {}
        Ok(!batch.records.is_empty())
    }

    /// Appends a record that is a line without a quote, and stands whole in the buffer. Most do, and need not be looked at byte by byte.
    fn line(&mut self, batch: &mut Batch) -> bool {
        let unread = &self.buffer[self.unread.clone()];
        let (breaks, blank) = blank_lines(unread);
        let Some(end) = memchr(b'\n', &unread[blank..]) else { return false };
        let text = &unread[blank..blank + end];
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if !self.begun || text.len() > self.longest || memchr2(self.shape.quote, b'\r', text).is_some() {
            return false;
        }
        let (start, first) = (batch.used, batch.fields);
        batch.reserve(text.len(), text.len() + 1);
        batch.bytes[start..start + text.len()].copy_from_slice(text);
        let mut fields = 0;
        for end in memchr_iter(self.shape.delimiter, text).chain([text.len()]) {
            batch.ends[first + fields] = start + end;
            fields += 1;
        }
        if fields > FIELDS {
            return false;
        }
        (batch.used, batch.fields) = (start + text.len(), first + fields);
        let line = self.core.line() + breaks;
        batch.records.push(Place { line, lines: 1, start, ends: first..batch.fields, gap: 1 });
        self.core.set_line(line + 1);
        self.unread.start += blank + end + 1;
        true
    }

    /// Appends one record.
    fn record(&mut self, batch: &mut Batch) -> Result<bool, Broken> {
        let mut line = self.core.line();
        let (mut begun, mut bytes, mut fields, mut last) = (false, 0, 0, 0);
        batch.reserve(ROOM, ROOM);
        loop {
            if self.unread.is_empty() {
                if self.ended {
                    return if begun { Err(Broken::Open(line)) } else { Ok(false) };
                }
                self.unread = 0..read(&mut self.input, &mut self.buffer).map_err(Broken::Read)?;
                if self.unread.is_empty() {
                    // A line break ends any record but one in which a quote is open; told of the end, the library would end that too.
                    (self.ended, self.buffer[0], self.unread) = (true, b'\n', 0..1);
                }
            }
            let input = &self.buffer[self.unread.clone()];
            let (out, ends) = (&mut batch.bytes[batch.used + bytes..], &mut batch.ends[batch.fields + fields..]);
            let (result, taken, more, ended) = self.core.read_record(input, out, ends);
            if !begun {
                let (breaks, blank) = blank_lines(&input[..taken]);
                (line, begun) = (line + breaks, blank < taken);
            }
            last = taken.checked_sub(1).map_or(last, |at| input[at]);
            self.unread.start += taken;
            (bytes, fields) = (bytes + more, fields + ended);
            if bytes > self.longest || fields > FIELDS {
                return Err(Broken::TooLong { line, longest: self.longest });
            }
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    batch.reserve(2 * bytes + ROOM, 2 * fields + ROOM);
                }
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(false),
            }
        }
        let (start, range) = (batch.used, batch.fields..batch.fields + fields);
        // They count from the record's own beginning.
        batch.ends[range.clone()].iter_mut().for_each(|end| *end += start);
        (batch.used, batch.fields) = (start + bytes, range.end);
        // After `\r` the rest of its line break is yet to come.
        let lines = (self.core.line() - line + u64::from(last == b'\r')).max(1);
        batch.records.push(Place { line, lines, start, ends: range, gap: 0 });
        self.begun = true;
        Ok(true)
    }
}

/// How many line breaks stand before a record (empty lines, and the second half of the last record's `\r\n`), and how many bytes they take.
fn blank_lines(input: &[u8]) -> (u64, usize) {
    let blank = input.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
    (input[..blank].iter().filter(|&&byte| byte == b'\n').count() as u64, blank)
}

fn read(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Line, lines and fields of each record; read a few bytes at a time.
    fn records(text: &[u8], step: usize) -> Result<Vec<(u64, u64, Vec<String>)>, Broken> {
        struct Slow<'a>(&'a [u8], usize);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = self.1.min(buffer.len());
                self.0.read(&mut buffer[..count])
            }
        }
        let mut records = Records::new(Slow(text, step), Shape { delimiter: b',', quote: b'"' });
        let (mut batch, mut all) = (Batch::default(), Vec::new());
        while records.fill(&mut batch)? {
            let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
            all.extend(batch.records().map(|record| (record.line, record.lines, record.fields().map(text).collect())));
        }
        Ok(all)
    }

    #[test]
    fn records_have_their_lines_whatever_ends_them() {
        let expected = |rows: &[(u64, u64, &[&str])]| -> Vec<(u64, u64, Vec<String>)> {
            rows.iter()
                .map(|(line, lines, fields)| (*line, *lines, fields.iter().map(|f| f.to_string()).collect()))
                .collect()
        };
        for step in [1, 2, 3, 1000] {
            for (text, rows) in [
                ("a,b\nc,d\n", &[(1, 1, &["a", "b"][..]), (2, 1, &["c", "d"])][..]),
                ("a,b\r\nc,d", &[(1, 1, &["a", "b"]), (2, 1, &["c", "d"])]),
                ("\n\na,b\n\nc,d\n\n", &[(3, 1, &["a", "b"]), (5, 1, &["c", "d"])]),
                ("\"a\nb\",\"say \"\"hi\"\"\"\nc,", &[(1, 2, &["a\nb", "say \"hi\""]), (3, 1, &["c", ""])]),
                ("", &[]),
                ("\n", &[]),
                (",\n", &[(1, 1, &["", ""])]),
            ] {
                assert_eq!(records(text.as_bytes(), step).unwrap(), expected(rows), "{text:?} {step} bytes at a time");
            }
        }
    }

    proptest! {
        /// What comes byte by byte is never cut as a line.
        #[test]
        fn a_line_is_cut_as_its_bytes_are(text in "([0-9a-zé \"]{0,6}[,,,\r\n\n]){0,80}") {
            let cut = |step| format!("{:?}", records(text.as_bytes(), step));
            prop_assert_eq!(cut(1), cut(100_000));
        }
    }

    #[test]
    fn a_quote_that_is_open_at_the_end_swallows_nothing_in_silence() {
        for step in [1, 2, 1000] {
            for (text, line) in [
                ("a,b\nc,\"open\nd,e\nf,g\n", 2),
                ("a,b\n\n\"open", 3),
                ("\"", 1),
                ("a,\"b\"\"", 1),
                ("a,b\r\n\"\r\n", 2),
            ] {
                assert!(
                    matches!(records(text.as_bytes(), step), Err(Broken::Open(at)) if at == line),
                    "{text:?} {step}"
                );
            }
            assert_eq!(records(b"a,\"b\"", step).unwrap()[0].2, ["a", "b"]);
            assert_eq!(records(b"\"\"", step).unwrap()[0].2, [""]);
            assert_eq!(records(b"a,\"b\nc\"", step).unwrap(), [(1, 2, vec!["a".to_owned(), "b\nc".to_owned()])]);
        }
    }

    #[test]
    fn a_record_without_an_end_does_not_fill_the_memory() {
        let text = [&b"a,b\n\"c"[..], &b"x\n".repeat(LONGEST)].concat();
        assert!(matches!(records(&text, 65536), Err(Broken::TooLong { line: 2, .. })));
        let text = b",".repeat(FIELDS + 10);
        assert!(matches!(records(&text, 65536), Err(Broken::TooLong { line: 1, .. })));
        // Many short ones, and a long one among them, arrive whole.
        let long = "y".repeat(300_000);
        let text = format!("{}{long}\n{}", "ab,c\n".repeat(100_000), "d\n".repeat(10));
        let all = records(text.as_bytes(), 65536).unwrap();
        assert_eq!((all.len(), &all[100_000].2[0], all[100_010].0), (100_011, &long, 100_011));
    }
}
