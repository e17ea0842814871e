//! Rows sorted by subscriber and time, in bounded memory: what does not fit is put aside in sorted runs, and merged.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use crate::row::Key;

/// A buffer for each run that is merged.
const BUFFER: usize = 64 * 1024;

/// What a row takes in a run beside its own bytes.
const BESIDE: usize = 16;
/// Who holds it looks at the disk and takes of it: what two have seen free at once, both would take.
static TAKE: Mutex<()> = Mutex::new(());

/// A disk that would have too little left.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} has {} MiB of free space, and {} MiB for rows that are to be sorted would leave less than the {} MiB that are kept: \
     make room there; fewer days side by side need less", dir.display(), free >> 20, run >> 20, keep >> 20
)]
struct NoRoom {
    dir: PathBuf,
    free: u64,
    run: u64,
    keep: u64,
}

/// A row in memory.
struct Entry {
    /// The first eight bytes of the subscriber, so that most comparisons need nothing else.
    prefix: u64,
    moment: i64,
    at: usize,
    length: u32,
    subscriber: (u16, u16),
}

/// Takes rows in any order.
pub struct Sorter {
    rows: Vec<u8>,
    entries: Vec<Entry>,
    limit: usize,
    /// Where runs are put: files without a name, which no kill leaves behind.
    dir: PathBuf,
    /// Bytes of its disk that are left free; 0 leaves none.
    keep: u64,
    runs: Vec<File>,
}

impl Sorter {
    /// A sorter that keeps about `limit` bytes in memory, and so many bytes free of the disk that it puts runs on.
    pub fn new(limit: usize, dir: PathBuf, keep: u64) -> Sorter {
        Sorter { rows: Vec::new(), entries: Vec::new(), limit, dir, keep, runs: Vec::new() }
    }

    /// Takes the row that `make` appends, if it does.
    ///
    /// # Errors
    /// A run can't be put aside.
    pub fn push<E>(
        &mut self,
        make: impl FnOnce(&mut Vec<u8>) -> Result<Key, E>,
    ) -> io::Result<Result<(Key, &[u8]), E>> {
        if self.rows.len() + self.entries.len() * size_of::<Entry>() >= self.limit {
            self.put_aside()?;
        }
        let at = self.rows.len();
        let key = match make(&mut self.rows) {
            Ok(key) => key,
            Err(error) => return Ok(Err(error)),
        };
        let row = &self.rows[at..];
        let subscriber = &row[key.subscriber.clone()];
        let mut prefix = [0; 8];
        let first = subscriber.len().min(8);
        prefix[..first].copy_from_slice(&subscriber[..first]);
        self.entries.push(Entry {
            prefix: u64::from_be_bytes(prefix),
            moment: key.moment,
            at,
            length: row.len() as u32,
            subscriber: (key.subscriber.start as u16, subscriber.len() as u16),
        });
        Ok(Ok((key, row)))
    }

    fn sort(&mut self) {
        let subscriber = |entry: &Entry| {
            let start = entry.at + usize::from(entry.subscriber.0);
            &self.rows[start..start + usize::from(entry.subscriber.1)]
        };
        // Those that are equal stay in the order in which they came.
        self.entries.sort_unstable_by(|a, b| {
            let by_subscriber = || subscriber(a).cmp(subscriber(b));
            a.prefix.cmp(&b.prefix).then_with(by_subscriber).then(a.moment.cmp(&b.moment)).then(a.at.cmp(&b.at))
        });
    }

    fn put_aside(&mut self) -> io::Result<()> {
        self.sort();
        let mut run = BufWriter::with_capacity(BUFFER, self.run()?);
        for entry in &self.entries {
            run.write_all(&entry.length.to_be_bytes())?;
            run.write_all(&entry.subscriber.0.to_be_bytes())?;
            run.write_all(&entry.subscriber.1.to_be_bytes())?;
            run.write_all(&entry.moment.to_be_bytes())?;
            run.write_all(&self.rows[entry.at..entry.at + entry.length as usize])?;
        }
        let mut run = run.into_inner().map_err(io::IntoInnerError::into_error)?;
        run.rewind()?;
        self.runs.push(run);
        self.rows.clear();
        self.entries.clear();
        Ok(())
    }

    /// A file for what is in memory, if the disk has room for it.
    fn run(&self) -> io::Result<File> {
        if self.keep == 0 {
            return tempfile::tempfile_in(&self.dir);
        }
        let size = (self.rows.len() + self.entries.len() * BESIDE) as u64;
        let _alone = TAKE.lock().unwrap_or_else(PoisonError::into_inner);
        let disk = statvfs(&self.dir)?;
        let free = disk.f_bavail * disk.f_frsize;
        if free < self.keep.saturating_add(size) {
            let lack = NoRoom { dir: self.dir.clone(), free, run: size, keep: self.keep };
            return Err(io::Error::new(io::ErrorKind::StorageFull, lack));
        }
        let file = tempfile::tempfile_in(&self.dir)?;
        match fallocate(&file, FallocateFlags::KEEP_SIZE, 0, size) {
            Err(Errno::NOSPC) => Err(Errno::NOSPC.into()),
            // Not every file system sets room aside.
            _ => Ok(file),
        }
    }

    /// All rows, in order.
    ///
    /// # Errors
    /// What was put aside can't be read.
    pub fn finish(mut self) -> io::Result<Sorted> {
        if self.runs.is_empty() {
            self.sort();
            return Ok(Sorted::Kept { sorter: self, next: 0 });
        }
        if !self.entries.is_empty() {
            self.put_aside()?;
        }
        let mut runs: Vec<_> = self.runs.into_iter().map(|run| BufReader::with_capacity(BUFFER, run)).collect();
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (at, run) in runs.iter_mut().enumerate() {
            heads.extend(Head::read(run, at, Vec::new())?.map(Reverse));
        }
        Ok(Sorted::Merged { runs, heads })
    }
}

/// Rows in order.
pub enum Sorted {
    /// All of them are in memory.
    Kept {
        /// Sorted.
        sorter: Sorter,
        /// The first that was not given yet.
        next: usize,
    },
    /// They come out of several runs.
    Merged {
        /// The runs.
        runs: Vec<BufReader<File>>,
        /// The first row of each that was not given yet.
        heads: BinaryHeap<Reverse<Head>>,
    },
}

impl Sorted {
    /// Appends rows until there are about `bytes`; none when there are no more.
    ///
    /// # Errors
    /// What was put aside can't be read.
    pub fn fill(&mut self, out: &mut Vec<u8>, bytes: usize) -> io::Result<()> {
        match self {
            Sorted::Kept { sorter, next } => {
                while out.len() < bytes
                    && let Some(entry) = sorter.entries.get(*next)
                {
                    out.extend(&sorter.rows[entry.at..entry.at + entry.length as usize]);
                    *next += 1;
                }
            }
            Sorted::Merged { runs, heads } => {
                while out.len() < bytes
                    && let Some(Reverse(head)) = heads.pop()
                {
                    out.extend(&head.row);
                    heads.extend(Head::read(&mut runs[head.run], head.run, head.row)?.map(Reverse));
                }
            }
        }
        Ok(())
    }
}

/// The next row of a run.
#[derive(PartialEq, Eq)]
pub struct Head {
    subscriber: (u16, u16),
    moment: i64,
    run: usize,
    row: Vec<u8>,
}

impl Head {
    fn read(run: &mut impl Read, at: usize, mut row: Vec<u8>) -> io::Result<Option<Head>> {
        let mut length = [0; 4];
        match run.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let (mut start, mut size, mut moment) = ([0; 2], [0; 2], [0; 8]);
        run.read_exact(&mut start)?;
        run.read_exact(&mut size)?;
        run.read_exact(&mut moment)?;
        row.resize(u32::from_be_bytes(length) as usize, 0);
        run.read_exact(&mut row)?;
        let subscriber = (u16::from_be_bytes(start), u16::from_be_bytes(size));
        Ok(Some(Head { subscriber, moment: i64::from_be_bytes(moment), run: at, row }))
    }

    fn subscriber(&self) -> &[u8] {
        let start = usize::from(self.subscriber.0);
        &self.row[start..start + usize::from(self.subscriber.1)]
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        // Runs are in the order in which their rows came.
        let by_time = || self.moment.cmp(&other.moment).then(self.run.cmp(&other.run));
        self.subscriber().cmp(other.subscriber()).then_with(by_time)
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_out_in_order_whether_they_fit_or_not() {
        let rows: Vec<(String, i64, u32)> =
            (0..5000u32).map(|n| (format!("subscriber-{}", n * 7919 % 97), i64::from(n * 31 % 11), n)).collect();
        let mut expected = rows.clone();
        expected.sort();
        let expected: Vec<u8> =
            expected.iter().flat_map(|(name, _, n)| [name.as_bytes(), &n.to_be_bytes()].concat()).collect();
        for limit in [1000, 50_000, 1 << 30] {
            let mut sorter = Sorter::new(limit, std::env::temp_dir(), u64::from(limit == 1000));
            for (name, moment, n) in &rows {
                let make = |out: &mut Vec<u8>| {
                    out.extend(name.as_bytes());
                    out.extend(n.to_be_bytes());
                    Ok::<_, ()>(Key { subscriber: 0..name.len(), location: None, moment: *moment })
                };
                sorter.push(make).unwrap().unwrap();
            }
            assert_eq!(sorter.runs.is_empty(), limit == 1 << 30);
            let mut sorted = sorter.finish().unwrap();
            let (mut all, mut piece) = (Vec::new(), Vec::new());
            loop {
                sorted.fill(&mut piece, 777).unwrap();
                if piece.is_empty() {
                    break;
                }
                all.append(&mut piece);
            }
            assert!(all == expected, "with {limit} bytes");
        }
    }

    #[test]
    fn the_disk_is_not_filled_to_its_last_byte() {
        let dir = tempfile::tempdir().unwrap();
        let disk = statvfs(dir.path()).unwrap();
        let make = |out: &mut Vec<u8>| {
            out.extend([b'a'; 100]);
            Ok::<_, ()>(Key { subscriber: 0..1, location: None, moment: 0 })
        };
        let full = |keep| {
            let mut sorter = Sorter::new(1000, dir.path().into(), keep);
            (0..100).find_map(|_| sorter.push(make).err())
        };
        assert!(full(0).is_none() && full(1).is_none());
        // More than there is; as much as there is, if nobody else makes room just now.
        for keep in [u64::MAX, disk.f_blocks * disk.f_frsize] {
            let error = full(keep).expect("there is too little");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            let (said, kept) = (error.to_string(), format!("less than the {} MiB that are kept", keep >> 20));
            assert!(said.starts_with(&format!("{} has ", dir.path().display())) && said.contains(&kept), "{said}");
        }
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }
}
