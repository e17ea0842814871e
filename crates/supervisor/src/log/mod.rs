//! The services' output on its way out: whole lines, bounded memory, loss only by rule and counted.
//!
//! ```text
//! pipes of a service --> reader thread --> queue of the service (bounded) --> writer thread --> stdout or file
//!                        lines, pieces     oldest lines dropped, counted      blocks, alone
//! ```
//! The reader waits for the writer for at most [`WAIT`], once; a burst is so carried through without loss, and a reader of
//! ours that is too slow or stands still holds up nobody. Lines come as bytes and are made legible (`record`); a line
//! longer than [`lines::PIECE`] goes out in marked pieces, and one without an end after two seconds.

mod file;
mod lines;
mod outlet;
mod own;
mod queue;
mod reader;
mod record;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use outlet::Outlet;
pub use own::listen;
use queue::Queues;
use reader::Inbox;
use record::Writer;
pub use record::stamp;

use super::options::LogFormat;

/// Lines of a service that are kept for the moment it can't be kept up.
const TAIL: usize = 20;

/// Longest wait of the reader for the writer when a queue is full. What the services write meanwhile fits into their pipes.
const WAIT: Duration = Duration::from_millis(50);

/// Where a line comes from: one of a service's two streams, or the supervisor itself, with the severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
    Own(&'static str),
}

/// The running log.
pub struct Log {
    shared: Arc<Shared>,
    inbox: Inbox,
    format: LogFormat,
    /// The last name is the supervisor's own.
    names: Vec<String>,
}

struct Shared {
    state: Mutex<State>,
    /// Something was queued, or the end was asked for.
    filled: Condvar,
    /// A stream ended.
    ended: Condvar,
    /// Something was taken out to be written.
    taken: Condvar,
}

struct State {
    queues: Queues,
    tails: Vec<VecDeque<Vec<u8>>>,
    /// Streams that are still open, by service.
    open: Vec<usize>,
    finish: bool,
    done: bool,
    unwritten: u64,
    trouble: Option<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits on a condition until `met` or the deadline.
    fn wait<'a>(
        condition: &Condvar,
        mut state: MutexGuard<'a, State>,
        deadline: Instant,
        met: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        while !met(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = condition.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    /// Makes room for bytes of a service, while that does not take too long.
    fn room(&self, service: usize, bytes: usize) -> MutexGuard<'_, State> {
        let fits = |state: &State| !state.queues.should_wait(service, bytes);
        let mut state = Shared::wait(&self.taken, self.lock(), Instant::now() + WAIT, fits);
        if !fits(&state) {
            state.queues.give_up(service);
        }
        state
    }
}

impl Log {
    /// Starts the two threads.
    pub fn start(services: &[String], outlet: Outlet, format: LogFormat) -> io::Result<Log> {
        let mut names = services.to_vec();
        names.push("supervisor".to_owned());
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queues: Queues::new(names.len()),
                tails: vec![VecDeque::new(); names.len()],
                open: vec![0; names.len()],
                finish: false,
                done: false,
                unwritten: 0,
                trouble: None,
            }),
            filled: Condvar::new(),
            ended: Condvar::new(),
            taken: Condvar::new(),
        });
        let inbox = reader::start(shared.clone(), Writer::new(&names, format))?;
        let (theirs, record) = (shared.clone(), Writer::new(&names, format));
        let thread = std::thread::Builder::new().name("log-writer".into()).stack_size(256 << 10);
        thread.spawn(move || outlet::run(&theirs, outlet, &record))?;
        Ok(Log { shared, inbox, format, names })
    }

    /// Takes over the reading ends of a process's pipes.
    pub fn attach(&self, service: usize, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<()> {
        self.shared.lock().open[service] += 2;
        self.inbox.send(service, [(Stream::Stdout, stdout), (Stream::Stderr, stderr)])
    }

    /// A line of the supervisor's own. Line breaks in it become lines.
    fn say(&self, level: &'static str, text: &str) {
        let own = self.names.len() - 1;
        let record = Writer::new(&self.names, self.format);
        let mut state = self.shared.lock();
        for line in text.lines() {
            let mut bytes = Vec::new();
            record.line(&mut bytes, own, Stream::Own(level), line.as_bytes(), false);
            state.queues.push(own, &bytes, 1);
        }
        self.shared.filled.notify_one();
    }

    /// The last lines of a service, once its streams are at their end or `patience` is over.
    pub fn tail(&self, service: usize, patience: Duration) -> Vec<String> {
        let ended = |state: &State| state.open[service] == 0;
        let state = Shared::wait(&self.shared.ended, self.shared.lock(), Instant::now() + patience, ended);
        state.tails[service].iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    /// Lines that were dropped or could not be written, and what is wrong with writing now.
    pub fn losses(&self) -> (u64, Option<String>) {
        let state = self.shared.lock();
        (state.queues.dropped() + state.unwritten, state.trouble.clone())
    }

    /// Reads what the services have written last, for at most `patience`.
    pub fn drain(&self, patience: Duration) {
        let read = |state: &State| state.open.iter().all(|open| *open == 0);
        drop(Shared::wait(&self.shared.ended, self.shared.lock(), Instant::now() + patience, read));
    }

    /// Writes what is queued, for at most `patience`. Nothing may be said afterwards.
    pub fn finish(&self, patience: Duration) {
        let mut state = self.shared.lock();
        state.finish = true;
        self.shared.filled.notify_one();
        drop(Shared::wait(&self.shared.ended, state, Instant::now() + patience, |state| state.done));
    }
}
