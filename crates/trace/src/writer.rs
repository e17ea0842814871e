//! The thread that writes, alone allowed to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Lines that wait at most: some seconds of a busy server, a few megabytes.
const WAITING: usize = 8192;

/// Bytes gathered for one write.
const GATHER: usize = 16 << 10;

enum Message {
    Line(String),
    /// Everything before it has been written when the sender goes.
    End,
}

/// Where lines go in.
pub struct Queue {
    to: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    /// Queues a line, or counts it as lost.
    pub fn push(&self, line: String) {
        if let Err(TrySendError::Full(_)) = self.to.try_send(Message::Line(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The log is written while this lives.
#[must_use = "the log ends when this goes"]
pub struct Running {
    to: SyncSender<Message>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Running {
    /// Writes what is queued.
    fn drop(&mut self) {
        let _ = self.to.send(Message::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts the thread. `notice` is the line about lines that were dropped.
pub fn start(write: impl Fn(&str) + Send + 'static, notice: fn(u64) -> String) -> (Arc<Queue>, Running) {
    let (to, from) = sync_channel(WAITING);
    let dropped = Arc::new(AtomicU64::new(0));
    let queue = Arc::new(Queue { to: to.clone(), dropped: dropped.clone() });
    let thread = std::thread::Builder::new().name("log".into()).stack_size(256 << 10);
    // Without a thread nothing is logged, and nothing else is lost.
    let thread = thread.spawn(move || run(&from, &dropped, write, notice)).ok();
    (queue, Running { to, thread })
}

fn run(from: &Receiver<Message>, dropped: &AtomicU64, write: impl Fn(&str), notice: fn(u64) -> String) {
    while let Ok(message) = from.recv() {
        let Message::Line(mut lines) = message else { return };
        let mut end = false;
        while lines.len() < GATHER && !end {
            match from.try_recv() {
                Ok(Message::Line(line)) => lines.push_str(&line),
                Ok(Message::End) => end = true,
                Err(_) => break,
            }
        }
        write(&lines);
        match dropped.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => write(&notice(lost)),
        }
        if end {
            return;
        }
    }
}
