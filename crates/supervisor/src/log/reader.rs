//! The thread that empties the services' pipes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::lines::Lines;
use super::record::Writer;
use super::{Shared, Stream, TAIL};

/// A line without an end is written after this long without another byte.
const PATIENCE: Duration = Duration::from_secs(2);

/// Read at once. A pipe is asked to hold as much.
const CHUNK: usize = 256 << 10;

/// Chunks read from one pipe before the others have their turn.
const TURN: usize = 4;

const WAKE: u64 = u64::MAX;

/// Hands new pipes to the reader.
pub struct Inbox {
    new: Arc<Mutex<Vec<Source>>>,
    wake: Arc<OwnedFd>,
}

struct Source {
    service: usize,
    stream: Stream,
    fd: OwnedFd,
    lines: Lines,
    /// When the last bytes came, while a line is open.
    open_since: Option<Instant>,
}

impl Inbox {
    pub fn send(&self, service: usize, streams: [(Stream, OwnedFd); 2]) -> io::Result<()> {
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        for (stream, fd) in streams {
            new.push(Source { service, stream, fd, lines: Lines::default(), open_since: None });
        }
        rustix::io::write(&*self.wake, &1u64.to_ne_bytes())?;
        Ok(())
    }
}

/// Starts the thread; it ends with the process.
pub fn start(shared: Arc<Shared>, record: Writer) -> io::Result<Inbox> {
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let new = Arc::new(Mutex::new(Vec::new()));
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &*wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
    let inbox = Inbox { new: new.clone(), wake: wake.clone() };
    let mut reader = Reader { shared, record, new, wake, poll, sources: Vec::new(), text: Vec::new() };
    std::thread::Builder::new().name("log-reader".into()).stack_size(256 << 10).spawn(move || reader.run())?;
    Ok(inbox)
}

struct Reader {
    shared: Arc<Shared>,
    record: Writer,
    new: Arc<Mutex<Vec<Source>>>,
    wake: Arc<OwnedFd>,
    poll: OwnedFd,
    /// The place of a source is its number in epoll.
    sources: Vec<Option<Source>>,
    text: Vec<u8>,
}

impl Reader {
    fn run(&mut self) {
        let mut chunk = vec![0u8; CHUNK];
        loop {
            let mut events =
                [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 32];
            let timeout = self.timeout();
            let ready = match epoll::wait(&self.poll, &mut events[..], timeout.as_ref()) {
                Ok(n) => n,
                Err(Errno::INTR) => 0,
                // Not in the documented ways: the descriptor is ours. Without the log nothing can be told; go on trying.
                Err(_) => {
                    std::thread::sleep(PATIENCE);
                    0
                }
            };
            for event in &events[..ready] {
                match event.data.u64() {
                    WAKE => self.accept(),
                    place => self.read(place as usize, &mut chunk),
                }
            }
            self.flush_old();
        }
    }

    fn timeout(&self) -> Option<Timespec> {
        let oldest = self.sources.iter().flatten().filter_map(|source| source.open_since).min()?;
        Timespec::try_from((oldest + PATIENCE).saturating_duration_since(Instant::now())).ok()
    }

    fn accept(&mut self) {
        let _ = rustix::io::read(&*self.wake, &mut [0u8; 8]);
        let new: Vec<Source> = std::mem::take(&mut *self.new.lock().unwrap_or_else(PoisonError::into_inner));
        for source in new {
            let place = self.sources.iter().position(Option::is_none).unwrap_or(self.sources.len());
            let service = source.service;
            let data = epoll::EventData::new_u64(place as u64);
            if epoll::add(&self.poll, source.fd.as_fd(), data, epoll::EventFlags::IN).is_err() {
                self.ended(service);
                continue;
            }
            if place == self.sources.len() {
                self.sources.push(None);
            }
            self.sources[place] = Some(source);
        }
    }

    fn read(&mut self, place: usize, chunk: &mut [u8]) {
        for _ in 0..TURN {
            let Some(source) = self.sources.get_mut(place).and_then(Option::as_mut) else { return };
            match rustix::io::read(&source.fd, &mut *chunk) {
                Ok(0) => return self.close(place),
                Ok(n) => self.take(place, &chunk[..n]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => return self.close(place),
            }
        }
    }

    fn take(&mut self, place: usize, bytes: &[u8]) {
        let Some(source) = self.sources[place].as_mut() else { return };
        let mut batch = Batch::new(&self.record, &mut self.text, source.service, source.stream);
        source.lines.feed(bytes, |line, part| batch.add(line, part));
        source.open_since = source.lines.is_open().then(Instant::now);
        batch.send(&self.shared);
    }

    fn close(&mut self, place: usize) {
        let Some(mut source) = self.sources[place].take() else { return };
        let _ = epoll::delete(&self.poll, &source.fd);
        let mut batch = Batch::new(&self.record, &mut self.text, source.service, source.stream);
        source.lines.flush(false, |line, part| batch.add(line, part));
        batch.send(&self.shared);
        self.ended(source.service);
    }

    fn ended(&self, service: usize) {
        let mut state = self.shared.lock();
        state.open[service] = state.open[service].saturating_sub(1);
        self.shared.ended.notify_all();
    }

    fn flush_old(&mut self) {
        for source in self.sources.iter_mut().flatten() {
            if source.open_since.is_some_and(|since| since.elapsed() >= PATIENCE) {
                let mut batch = Batch::new(&self.record, &mut self.text, source.service, source.stream);
                source.lines.flush(true, |line, part| batch.add(line, part));
                source.open_since = None;
                batch.send(&self.shared);
            }
        }
    }
}

/// The lines of one chunk, queued under one lock.
struct Batch<'a> {
    record: &'a Writer,
    text: &'a mut Vec<u8>,
    service: usize,
    stream: Stream,
    /// End of each record in `text`, and of its line without the form around it.
    ends: Vec<usize>,
    tail: Vec<Vec<u8>>,
}

impl<'a> Batch<'a> {
    fn new(record: &'a Writer, text: &'a mut Vec<u8>, service: usize, stream: Stream) -> Batch<'a> {
        text.clear();
        Batch { record, text, service, stream, ends: Vec::new(), tail: Vec::new() }
    }

    fn add(&mut self, line: &[u8], part: bool) {
        self.record.line(self.text, self.service, self.stream, line, part);
        self.ends.push(self.text.len());
        if self.tail.len() == 2 * TAIL {
            self.tail.drain(..TAIL);
        }
        self.tail.push(line.to_vec());
    }

    fn send(self, shared: &Shared) {
        if self.ends.is_empty() {
            return;
        }
        let mut state = shared.room(self.service, self.text.len());
        let mut start = 0;
        for ends in self.ends.chunks(128) {
            let end = ends[ends.len() - 1];
            state.queues.push(self.service, &self.text[start..end], ends.len() as u64);
            start = end;
        }
        let tail = &mut state.tails[self.service];
        for line in self.tail.into_iter().rev().take(TAIL).rev() {
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line);
        }
        shared.filled.notify_one();
    }
}
