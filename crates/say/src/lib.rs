//! What is said to people and to programs that read along: the one place that writes to stdout and stderr.
//!
//! Nothing here fails, panics or waits for long: whether anybody reads never decides about the work. A reader that has gone
//! is remembered and not written to again; one that stands still (a pager, a terminal stopped with Ctrl-S) is waited for
//! once, for [`PATIENCE`]. Only what is a command's product ([`product`]) waits for as long as it takes, and a disk
//! that is full is told at the end ([`lost`]).
//!
//! Texts of others (logs, labels, names in archives, messages of a database) may hold characters that steer a terminal.
//! All but line breaks and tabs are escaped on their way out; where a line break would forge a line, [`Shown`] escapes it too.

// A dependency that nothing uses. Tests have some more, and each of their programs uses but a few.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Write};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// How long a reader that stands still is waited for.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// A pipe that can take anything takes this much at once (PIPE_BUF of Linux), so that a write does not wait.
const PIECE: usize = 4096;

/// A line, or several, to stdout: what a script may read, while the work does not depend on it.
#[macro_export]
macro_rules! show {
    ($($text:tt)*) => { $crate::line(&$crate::OUT, &format!($($text)*)) };
}

/// A line, or several, to stderr: talk.
#[macro_export]
macro_rules! tell {
    ($($text:tt)*) => { $crate::line(&$crate::ERR, &format!($($text)*)) };
}

/// One of the two streams.
pub struct Stream {
    fd: fn() -> BorrowedFd<'static>,
    state: AtomicU8,
}

const READ: u8 = 0;
const UNREAD: u8 = 1;
const GONE: u8 = 2;

/// Standard output.
pub static OUT: Stream = Stream { fd: rustix::stdio::stdout, state: AtomicU8::new(READ) };

/// Standard error.
pub static ERR: Stream = Stream { fd: rustix::stdio::stderr, state: AtomicU8::new(READ) };

/// Why a product could not be written.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// Writes a text with a line break at its end; the macros [`show!`](crate::show) and [`tell!`](crate::tell) do.
pub fn line(stream: &Stream, text: &str) {
    let mut text = printable(text).into_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    stream.write(text.as_bytes());
}

/// Asks something on stderr, where the answer is typed into the same line.
pub fn prompt(text: &str) {
    ERR.write(printable(text).as_bytes());
}

/// Writes what steers the terminal at stderr, unless that stands still: the caller has escaped what is not its own.
pub fn draw(text: &str) {
    ERR.offer(text.as_bytes());
}

/// Writes a command's product to stdout, byte for byte; only a terminal gets it escaped.
pub fn product(bytes: &[u8]) {
    let shown = OUT.is_terminal().then(|| printable(&String::from_utf8_lossy(bytes)).into_owned());
    if let Err(error) = OUT.try_write(shown.as_deref().map_or(bytes, str::as_bytes), None)
        && error != Errno::PIPE
    {
        LOST.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error.into());
    }
}

/// Why a product did not arrive, unless its reader did not want it; asked when the work is done.
pub fn lost() -> Option<io::Error> {
    LOST.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
}

impl Stream {
    /// Whether a person may sit there.
    pub fn is_terminal(&self) -> bool {
        rustix::termios::isatty((self.fd)())
    }

    /// Writes as long as somebody reads.
    fn write(&self, bytes: &[u8]) {
        let patience = if self.state.load(Ordering::Relaxed) == UNREAD { Duration::ZERO } else { PATIENCE };
        // Nobody is left who could be told.
        let _ = self.try_write(bytes, Some(patience));
    }

    /// Writes what can be written without waiting; returns how many bytes that were. Who is gone takes all.
    pub fn offer(&self, bytes: &[u8]) -> usize {
        for (at, piece) in bytes.chunks(PIECE).enumerate() {
            match self.try_write(piece, Some(Duration::ZERO)) {
                Err(Errno::TIMEDOUT) => return at * PIECE,
                Err(_) => return bytes.len(),
                Ok(()) => {}
            }
        }
        bytes.len()
    }

    fn try_write(&self, mut bytes: &[u8], patience: Option<Duration>) -> Result<(), Errno> {
        if self.state.load(Ordering::Relaxed) == GONE {
            return Err(Errno::PIPE);
        }
        while !bytes.is_empty() {
            let piece = &bytes[..bytes.len().min(PIECE)];
            match self.wait(patience).and_then(|()| rustix::io::write((self.fd)(), piece)) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => {
                    self.state.store(if error == Errno::TIMEDOUT { UNREAD } else { GONE }, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        self.state.store(READ, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until a piece can be written, or will fail.
    fn wait(&self, patience: Option<Duration>) -> Result<(), Errno> {
        let fd = (self.fd)();
        let timeout = patience.and_then(|patience| Timespec::try_from(patience).ok());
        match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], timeout.as_ref())? {
            0 => Err(Errno::TIMEDOUT),
            _ => Ok(()),
        }
    }
}

/// A text of somebody else's as one field of one line: what steers a terminal, reorders or hides is escaped, line breaks
/// and tabs too.
pub struct Shown<T>(pub T);

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping { out: f, keep: &[] }, "{}", self.0)
    }
}

/// Text with everything escaped that is not seen, but for line breaks and tabs.
pub fn printable(text: &str) -> Cow<'_, str> {
    const KEPT: &[char] = &['\n', '\t'];
    if text.chars().all(|c| KEPT.contains(&c) || !is_unseen(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    // Writing to memory can't fail.
    let _ = Escaping { out: &mut out, keep: KEPT }.write_str(text);
    Cow::Owned(out)
}

/// Whether a character steers a terminal, reorders text or has no shape: controls (C0, DEL, C1), directional marks, byte
/// order marks, zero-width characters, separators of lines.
pub fn is_unseen(c: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    // Nearly all that is ever looked at.
    !matches!(c, ' '..='~') && matches!(c.general_category(), Control | Format | LineSeparator | ParagraphSeparator)
}

/// An error and its causes, in a line. What an error has repeated of its cause stands there once.
pub fn in_full(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.fold(error.to_string(), |line, cause| match cause.to_string() {
        cause if line.ends_with(&cause) => line,
        cause => format!("{line}: {cause}"),
    })
}

struct Escaping<'a, W> {
    out: &'a mut W,
    keep: &'static [char],
}

impl<W: Write> Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if is_unseen(c) && !self.keep.contains(&c) {
                write!(self.out, "{}", c.escape_default())?;
            } else {
                self.out.write_char(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        for (text, shown) in [
            ("plain, grün, 電話\tand\nlines", "plain, grün, 電話\tand\nlines"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("a\rb\x08\x7f", "a\\rb\\u{8}\\u{7f}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}gpj.exe\u{2066}", "\\u{202e}gpj.exe\\u{2066}"),
            ("\u{feff}a\u{200b}b\u{2028}", "\\u{feff}a\\u{200b}b\\u{2028}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn an_error_is_told_with_its_causes_each_once() {
        #[derive(Debug)]
        struct Wrapped(&'static str, Option<Box<Wrapped>>);
        impl fmt::Display for Wrapped {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
        }
        impl Error for Wrapped {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                self.1.as_deref().map(|cause| cause as &dyn Error)
            }
        }
        let of = |text, cause| Wrapped(text, Some(Box::new(cause)));
        assert_eq!(in_full(&of("no answer", of("a: b", Wrapped("b", None)))), "no answer: a: b");
        assert_eq!(in_full(&Wrapped("alone", None)), "alone");
    }

    #[test]
    fn a_field_stays_in_its_line() {
        assert_eq!(format!("{:}", Shown("ready\nredis  ready\t\x1b[2K")), "ready\\nredis  ready\\t\\u{1b}[2K");
    }
}
