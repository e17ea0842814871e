//! A day's files become sorted rows.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::kind::Kind;
use crate::plan::Day;
use crate::records::{Batch, Broken, Record, Records};
use crate::rejects::{Limit, Rejects};
use crate::row::{Format, Layout, Reason, Rows, WrongColumns};
use crate::sort::{Sorted, Sorter};
use crate::source::Input;

/// Batches that are on their way between the thread that cuts records and the one that makes rows.
const AHEAD: usize = 4;
/// Refused lines after which a day that has passed its limit is not read to its end.
const ENOUGH: u64 = 10_000;
/// Memory that the ids of a day's cells may take, in bytes: those of a million and more. No operator has so many.
const CELLS: usize = 128 << 20;
/// What an id takes beside its own bytes.
const BESIDE: usize = 64;

/// What is made of a day's files.
pub struct Wanted<'a> {
    /// The kind of events.
    pub kind: Kind,
    /// How they are written.
    pub format: &'a Format,
    /// How much may be refused.
    pub limit: Limit,
    /// Bytes that sorting may take.
    pub memory: usize,
    /// Where more than that is put aside.
    pub spool: PathBuf,
    /// Bytes of that disk that are left free; 0 leaves none.
    pub keep: u64,
    /// Where what is refused is written down.
    pub rejects: PathBuf,
    /// Who is told how many bytes were read.
    pub read: Arc<dyn Fn(u64) + Send + Sync>,
}

/// A day, ready for FlowDB.
pub struct Read {
    /// In order of subscriber and time.
    pub rows: Sorted,
    /// How many there are.
    pub count: u64,
    /// Lines that were refused.
    pub refused: u64,
    /// Where they are written down.
    pub rejects: Option<PathBuf>,
    /// Cells that occur.
    pub locations: Vec<String>,
    /// Columns of FlowDB's that no file has.
    pub absent: Vec<&'static str>,
}

/// Why a day is not loaded: something is wrong with what was delivered.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The columns are not those of the kind.
    #[error("{input}")]
    Columns {
        /// The file.
        input: Input,
        /// Which one, and what can be done.
        source: WrongColumns,
    },
    /// The file ends in the middle.
    #[error("{input}")]
    Broken {
        /// The file.
        input: Input,
        /// Where.
        source: Broken,
    },
    /// More than the limit.
    #[error("{refused} of {all} lines were refused, more than {limit}: {first}; see {}", rejects.display())]
    Refused {
        /// Lines.
        refused: u64,
        /// Lines.
        all: u64,
        /// The most that was allowed.
        limit: Limit,
        /// The first of them and its reason.
        first: String,
        /// Where it and others are.
        rejects: PathBuf,
    },
    /// As many as the limit allows, and there are no others.
    #[error("all {refused} lines were refused: {first}; see {}", rejects.display())]
    AllRefused {
        /// Lines.
        refused: u64,
        /// The first of them and its reason.
        first: String,
        /// Where it and others are.
        rejects: PathBuf,
    },
    /// They would fill the memory, and `events.location_ids`.
    #[error("{cells} different cells, such as \"{cell}\": is location_id the right column?")]
    Cells {
        /// How many have been seen.
        cells: usize,
        /// One of them.
        cell: String,
    },
    /// A header, or not even that.
    #[error("there are no rows; a day without any would count as one on which nobody called")]
    Empty,
    /// One of several, of which none says what its day was without it.
    #[error("{0} has no rows: was it delivered whole?")]
    EmptyFile(Input),
    /// It is still being written.
    #[error("{0} changed while it was read: is it still being delivered?")]
    Changed(Input),
    /// The machine's fault, not the file's.
    #[error("cannot put rows aside or write down what was refused")]
    Disk(#[source] io::Error),
}

/// Reads, checks and sorts a day.
///
/// # Errors
/// [`Unfit`].
pub fn read(day: &Day, wanted: &Wanted<'_>) -> Result<Read, Unfit> {
    read_within(day, wanted, CELLS)
}

fn read_within(day: &Day, wanted: &Wanted<'_>, room: usize) -> Result<Read, Unfit> {
    let rejects = Rejects::new(wanted.rejects.clone(), &day.inputs).map_err(Unfit::Disk)?;
    let mut work = Work {
        day,
        wanted,
        sorter: Sorter::new(wanted.memory, wanted.spool.clone(), wanted.keep),
        rejects,
        locations: HashSet::new(),
        room,
        absent: HashSet::new(),
        count: 0,
        lines: 0,
        records: 0,
    };
    day.inputs.iter().enumerate().try_for_each(|(at, input)| work.file(at, input))?;
    work.finish()
}

struct Work<'a> {
    day: &'a Day,
    wanted: &'a Wanted<'a>,
    sorter: Sorter,
    rejects: Rejects,
    locations: HashSet<Box<[u8]>>,
    /// Bytes that more of them may take.
    room: usize,
    absent: HashSet<&'static str>,
    count: u64,
    lines: u64,
    /// Of the file that is read.
    records: u64,
}

impl Work<'_> {
    /// One thread cuts records, this one makes rows of them.
    fn file(&mut self, at: usize, input: &Input) -> Result<(), Unfit> {
        let broken = |source| Unfit::Broken { input: input.clone(), source };
        let before = state(input);
        let told = Arc::clone(&self.wanted.read);
        let opened = input.open(self.wanted.format.encoding, move |bytes| told(bytes));
        let (text, encoding) = opened.map_err(Broken::Read).map_err(broken)?;
        let format = &Format { encoding, ..self.wanted.format.clone() };
        let mut records = Records::new(text, format.shape);
        // A part of a day may have no rows, but has a header; a local day has some.
        let is_empty = || match self.day.inputs.len() {
            1 => Ok(()),
            _ => Err(Unfit::EmptyFile(input.clone())),
        };
        let Some(layout) = self.layout(input, &mut records)? else { return is_empty() };
        self.absent.extend(layout.absent());
        self.records = 0;
        let rows = Rows::new(&layout, format, self.day.date).within(self.day.spans.get(at).cloned());
        let cut = thread::scope(|scope| {
            let (full, filled) = sync_channel(AHEAD);
            let (empty, emptied) = sync_channel(AHEAD + 1);
            let cutter = scope.spawn(move || cut(&mut records, &full, &emptied));
            let mut made = Ok(());
            while let Ok(batch) = filled.recv() {
                made = self.batch(input, &rows, &batch);
                if made.is_err() {
                    break;
                }
                // It has ended if it does not want it.
                let _ = empty.try_send(batch);
            }
            drop(filled);
            let cut = cutter.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            made.and(cut.map_err(broken))
        });
        cut?;
        match state(input) == before {
            false => Err(Unfit::Changed(input.clone())),
            true if self.records == 0 && !self.day.spans.is_empty() => Err(Unfit::EmptyFile(input.clone())),
            true => Ok(()),
        }
    }

    /// What the header says, or the options; `None` for a file without even a header.
    fn layout<R: io::Read>(&self, input: &Input, records: &mut Records<R>) -> Result<Option<Layout>, Unfit> {
        let found: Vec<String> = match &self.wanted.format.columns {
            Some(columns) => columns.clone(),
            None => {
                let mut header = Batch::default();
                let first = records.first(&mut header);
                first.map_err(|source| Unfit::Broken { input: input.clone(), source })?;
                let Some(header) = header.records().next() else { return Ok(None) };
                header.fields().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect()
            }
        };
        let layout = Layout::new(self.wanted.kind, &found, self.wanted.format);
        layout.map(Some).map_err(|source| Unfit::Columns { input: input.clone(), source })
    }

    fn batch(&mut self, input: &Input, rows: &Rows<'_>, batch: &Batch) -> Result<(), Unfit> {
        for record in batch.records() {
            self.record(input, rows, record)?;
        }
        if self.rejects.lines > ENOUGH && self.wanted.limit.is_passed(self.rejects.lines, self.lines) {
            return Err(self.refused());
        }
        Ok(())
    }

    fn record(&mut self, input: &Input, rows: &Rows<'_>, record: Record<'_>) -> Result<(), Unfit> {
        self.records += 1;
        let pushed = self.sorter.push(|out| rows.append(record, out)).map_err(Unfit::Disk)?;
        if !matches!(pushed, Err(Reason::Neighbour)) {
            self.lines += record.lines;
        }
        match pushed {
            Err(Reason::Neighbour) => Ok(()),
            Ok((key, row)) => {
                self.count += 1;
                if let Some(location) = key.location.map(|place| &row[place])
                    && !self.locations.contains(location)
                {
                    let Some(room) = self.room.checked_sub(location.len() + BESIDE) else {
                        let cell = String::from_utf8_lossy(location).chars().take(60).collect();
                        return Err(Unfit::Cells { cells: self.locations.len() + 1, cell });
                    };
                    self.room = room;
                    self.locations.insert(location.into());
                }
                Ok(())
            }
            Err(reason) => {
                let place = (record.line, record.lines);
                self.rejects.add(&input.to_string(), place, &reason, record.fields()).map_err(Unfit::Disk)
            }
        }
    }

    fn finish(mut self) -> Result<Read, Unfit> {
        if self.wanted.limit.is_passed(self.rejects.lines, self.lines) {
            return Err(self.refused());
        }
        let rejects = self.rejects.finish().map_err(Unfit::Disk)?.map(PathBuf::from);
        match (self.count, &mut self.rejects.first, &rejects) {
            (0, Some(first), Some(rejects)) => {
                let (first, rejects) = (std::mem::take(first), rejects.clone());
                return Err(Unfit::AllRefused { refused: self.rejects.lines, first, rejects });
            }
            (0, ..) => return Err(Unfit::Empty),
            _ => {}
        }
        let text = |location: Box<[u8]>| {
            String::from_utf8(location.into()).unwrap_or_else(|bytes| String::from_utf8_lossy(bytes.as_bytes()).into())
        };
        let mut locations: Vec<String> = self.locations.into_iter().map(text).collect();
        locations.sort_unstable();
        let mut absent: Vec<&str> = self.absent.into_iter().collect();
        absent.sort_unstable();
        Ok(Read {
            rows: self.sorter.finish().map_err(Unfit::Disk)?,
            count: self.count,
            refused: self.rejects.lines,
            rejects,
            locations,
            absent,
        })
    }

    fn refused(&mut self) -> Unfit {
        match self.rejects.finish() {
            Err(error) => Unfit::Disk(error),
            Ok(_) => Unfit::Refused {
                refused: self.rejects.lines,
                all: self.lines,
                limit: self.wanted.limit,
                first: self.rejects.first.clone().unwrap_or_default(),
                rejects: self.wanted.rejects.clone(),
            },
        }
    }
}

/// Cuts records until there are no more, or until nobody wants them.
fn cut<R: io::Read>(
    records: &mut Records<R>,
    full: &SyncSender<Batch>,
    emptied: &Receiver<Batch>,
) -> Result<(), Broken> {
    loop {
        let mut batch = emptied.try_recv().unwrap_or_default();
        if !records.fill(&mut batch)? || full.send(batch).is_err() {
            return Ok(());
        }
    }
}

/// Size and time of a file.
fn state(input: &Input) -> Option<(u64, std::time::SystemTime)> {
    let Input::File(path) = input else { return None };
    let file = std::fs::metadata(path).ok()?;
    Some((file.len(), file.modified().ok()?))
}

#[cfg(test)]
mod tests;
