//! What goes on in one connection, and whether it takes too long.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::limits::Limits;

/// Nothing is in flight for this long, and what was answered has been taken: the connection is at rest.
const REST: Duration = Duration::from_millis(100);

/// A closed socket with something unread takes along what was sent on it. What a client still sends is read away for this long.
const LINGER: Duration = Duration::from_secs(1);

/// What is known of a connection.
pub struct Activity {
    state: Mutex<State>,
    evicted: Notify,
}

struct State {
    in_flight: usize,
    /// Since when nothing is in flight and nothing waits to be taken.
    idle_since: Instant,
    /// Since when a request's headers come.
    begun: Option<Instant>,
    /// HTTP/2 has other frames than requests: their bytes say nothing.
    frames: bool,
    /// Since when the socket takes no more.
    blocked: Option<Instant>,
    /// Requests whose next piece of the answer waits until the client has taken the last one.
    waiting: HashMap<u64, Instant>,
    next: u64,
}

/// Why a connection was ended by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    Headers,
    Idle,
    Stalled,
}

impl Activity {
    pub fn new() -> Activity {
        let now = Instant::now();
        let state = State {
            in_flight: 0,
            idle_since: now,
            begun: Some(now),
            frames: false,
            blocked: None,
            waiting: HashMap::new(),
            next: 0,
        };
        Activity { state: Mutex::new(state), evicted: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when the connection is idle; `None` when it is not.
    pub fn idle_since(&self) -> Option<Instant> {
        let state = self.lock();
        (state.in_flight == 0 && state.blocked.is_none()).then_some(state.idle_since)
    }

    /// From here on it speaks HTTP/2.
    pub fn speaks_frames(&self) {
        let mut state = self.lock();
        state.frames = true;
        state.begun = None;
        state.idle_since = Instant::now();
    }

    /// A request's headers are there.
    pub fn request_began(&self) -> u64 {
        let mut state = self.lock();
        state.in_flight += 1;
        state.begun = None;
        state.next += 1;
        state.next
    }

    /// Its answer was given, or there is nobody to give it to.
    pub fn request_ended(&self, request: u64) {
        let mut state = self.lock();
        state.in_flight -= 1;
        state.waiting.remove(&request);
        state.idle_since = Instant::now();
    }

    /// A piece of an answer was handed over, and the next is not asked for.
    pub fn handed_over(&self, request: u64) {
        self.lock().waiting.insert(request, Instant::now());
    }

    /// The next piece is asked for.
    pub fn wanted(&self, request: u64) {
        self.lock().waiting.remove(&request);
    }

    fn read(&self, bytes: usize) {
        let mut state = self.lock();
        if bytes > 0 && state.in_flight == 0 && !state.frames {
            state.begun.get_or_insert_with(Instant::now);
        }
    }

    fn written(&self, blocked: bool) {
        let mut state = self.lock();
        if blocked {
            state.blocked.get_or_insert_with(Instant::now);
        } else if state.blocked.take().is_some() {
            state.idle_since = Instant::now();
        }
    }

    /// Returns when the connection has taken too long for something.
    pub async fn overdue(&self, limits: &Limits) -> Overdue {
        let shortest = limits.header.min(limits.idle).min(limits.stall);
        let every = (shortest / 8).clamp(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            if let Some(overdue) = self.lock().overdue(limits, Instant::now()) {
                return overdue;
            }
            tokio::time::sleep(every).await;
        }
    }

    /// Returns when the connection has been at rest for a moment.
    pub async fn at_rest(&self) {
        let asked = Instant::now();
        while self.idle_since().is_none_or(|since| since.max(asked).elapsed() < REST) {
            tokio::time::sleep(REST / 4).await;
        }
    }

    /// Asks the connection to make room.
    pub fn evict(&self) {
        self.evicted.notify_one();
    }

    /// Returns when the connection has to make room.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl State {
    fn overdue(&self, limits: &Limits, now: Instant) -> Option<Overdue> {
        let past = |since: Instant, limit: Duration| now.saturating_duration_since(since) > limit;
        if self.begun.is_some_and(|since| past(since, limits.header)) {
            return Some(Overdue::Headers);
        }
        if self.blocked.iter().chain(self.waiting.values()).any(|since| past(*since, limits.stall)) {
            return Some(Overdue::Stalled);
        }
        let idle = self.in_flight == 0 && self.blocked.is_none() && past(self.idle_since, limits.idle);
        idle.then_some(Overdue::Idle)
    }
}

/// A stream that tells what goes on. Its first byte can be looked at.
pub struct Watched<T> {
    stream: T,
    activity: Arc<Activity>,
    first: Option<u8>,
    linger: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<T> Watched<T> {
    pub fn new(stream: T, activity: Arc<Activity>) -> Watched<T> {
        Watched { stream, activity, first: None, linger: None }
    }
}

impl<T: AsyncRead + Unpin> Watched<T> {
    /// The first byte, which stays to be read. `None` when there is none.
    pub async fn first(&mut self) -> io::Result<Option<u8>> {
        use tokio::io::AsyncReadExt as _;
        let mut byte = [0];
        self.first = (self.read(&mut byte).await? == 1).then_some(byte[0]);
        Ok(self.first)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.activity.read(buffer.filled().len() - before);
        polled
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.activity.written(polled.is_pending());
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        let until = self.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = [0; 4096];
        loop {
            let mut unread = ReadBuf::new(&mut scratch);
            match std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, &mut unread)) {
                Ok(()) if !unread.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_told_by_its_kind() {
        let limits = Limits::default();
        let activity = Activity::new();
        let after = |seconds| activity.lock().overdue(&limits, Instant::now() + Duration::from_secs(seconds));
        assert_eq!((after(9), after(11)), (None, Some(Overdue::Headers)), "a new connection");
        let request = activity.request_began();
        assert_eq!(after(10_000), None, "the server's own time");
        activity.handed_over(request);
        assert_eq!((after(59), after(61)), (None, Some(Overdue::Stalled)), "a client that takes nothing");
        activity.wanted(request);
        assert_eq!(after(10_000), None);
        activity.request_ended(request);
        assert_eq!((after(74), after(76)), (None, Some(Overdue::Idle)), "nothing asked");
        activity.read(1);
        assert_eq!((after(9), after(11)), (None, Some(Overdue::Headers)), "a further request");
        activity.speaks_frames();
        activity.read(1);
        assert_eq!((after(74), after(76)), (None, Some(Overdue::Idle)), "frames are no request");
        activity.written(true);
        assert_eq!((after(59), after(61)), (None, Some(Overdue::Stalled)), "a socket that takes nothing");
    }
}
