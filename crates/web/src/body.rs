//! Bodies on their way: a request's within its limits, an answer's with an eye on who takes it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep_until};

use super::request::Tracked;
use super::room::Share;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The status that a request's body has earned, 0 without one: whatever a handler makes of the failed read, the client is told this.
#[derive(Clone, Default)]
pub struct Fault(Arc<AtomicU16>);

impl Fault {
    fn set(&self, status: StatusCode) {
        self.0.store(status.as_u16(), Ordering::Relaxed);
    }

    pub fn get(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.0.load(Ordering::Relaxed)).ok()
    }
}

/// A request's body that ends with an error when it is too large or too slow, or all of them together are too large.
pub struct Taken<B> {
    inner: B,
    left: usize,
    until: Pin<Box<Sleep>>,
    share: Arc<Share>,
    fault: Fault,
}

impl<B> Taken<B> {
    pub fn new(inner: B, most: usize, until: Instant, share: Arc<Share>, fault: Fault) -> Taken<B> {
        Taken { inner, left: most, until: Box::pin(sleep_until(until.into())), share, fault }
    }

    fn fail(&self, status: StatusCode) -> BoxError {
        self.fault.set(status);
        format!("the body is refused: {status}").into()
    }
}

impl<B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin> http_body::Body for Taken<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // Asked first: a body that dribbles is always ready for a little more.
        if self.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(self.fail(StatusCode::REQUEST_TIMEOUT))));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else { return Poll::Pending };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(Into::into)?;
        let size = frame.data_ref().map_or(0, Bytes::len);
        match self.left.checked_sub(size) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Some(Err(self.fail(StatusCode::PAYLOAD_TOO_LARGE)))),
        }
        if !self.share.take(size) {
            return Poll::Ready(Some(Err(self.fail(StatusCode::SERVICE_UNAVAILABLE))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body. What is known of its request goes with it, and is logged when it goes.
pub struct Sent {
    inner: Body,
    tracked: Tracked,
}

impl Sent {
    pub fn new(inner: Body, mut tracked: Tracked) -> Sent {
        tracked.complete |= http_body::Body::is_end_stream(&inner);
        Sent { inner, tracked }
    }
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.tracked.wanted();
        let _span = self.tracked.span.clone().entered();
        // A panic would end the connection's other requests too.
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.inner).poll_frame(cx)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(None)) => {
                self.tracked.complete = true;
                Poll::Ready(None)
            }
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                self.tracked.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                self.tracked.complete = self.inner.is_end_stream();
                self.tracked.handed_over();
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(Poll::Ready(Some(Err(error)))) => {
                tracing::error!(cause = say::in_full(&error), "the answer broke off");
                Poll::Ready(Some(Err(error.into())))
            }
            Err(_) => Poll::Ready(Some(Err("the answer broke off".into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
