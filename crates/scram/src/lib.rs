//! Connections on which a password is never sent.
//!
//! PostgreSQL's protocol lets whoever answers choose how the client proves itself, and the library sends the password in
//! clear when it is asked to. Whoever has taken FlowDB's port would have it. So everything the server says until it has let
//! us in is looked at first: it may ask for SCRAM (RFC 5802), which shows it neither the password nor anything to log in
//! with, and which it has to know the password's verifier to answer.

// A dependency that nothing uses. Tests have some more, and each of their programs uses but a few.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_postgres::config::Host;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{CancelToken, Client, Config, Connection, Error, NoTls};

/// A connection to drive, as [`tokio_postgres`] has it.
pub type Driver = Connection<Guarded, NoTlsStream>;

/// Longest wait for a connection when the configuration names none.
const PATIENCE: Duration = Duration::from_secs(10);

/// Logs in with SCRAM, or not at all. On a Unix socket the server may let us in without a password, too.
///
/// # Errors
/// Those of the library. A server that wants the password itself, or lets anybody in, is an error of connecting.
pub async fn connect(config: &Config) -> Result<(Client, Driver), Error> {
    config.connect_raw(guarded(config).await, NoTls).await
}

/// Asks the server to stop what it does for a connection of [`connect`]'s. The library can't by itself: it knows the address only
/// of connections that it has opened. Nothing of a password's is in it.
///
/// # Errors
/// Those of the library: the server can't be reached. It never says whether there was anything to stop.
pub async fn cancel(config: &Config, token: &CancelToken) -> Result<(), Error> {
    token.cancel_query_raw(guarded(config).await, NoTls).await
}

async fn guarded(config: &Config) -> Guarded {
    let patience = config.get_connect_timeout().copied().unwrap_or(PATIENCE);
    let opened = tokio::time::timeout(patience, open(config)).await;
    let stream = opened.unwrap_or_else(|_| Stream::Failed(Some(io::ErrorKind::TimedOut.into())));
    let unproved = matches!(stream, Stream::Unix(_));
    Guarded { stream, messages: Messages::new(unproved) }
}

async fn open(config: &Config) -> Stream {
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let opened = match (config.get_hostaddrs().first(), config.get_hosts().first()) {
        (Some(ip), _) => tcp(*ip, port).await,
        (None, Some(Host::Unix(dir))) => {
            UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))).await.map(Stream::Unix)
        }
        (None, Some(Host::Tcp(name))) => by_name(name, port).await,
        (None, None) => Err(io::Error::other("no host is given")),
    };
    opened.unwrap_or_else(|error| Stream::Failed(Some(error)))
}

async fn tcp(ip: IpAddr, port: u16) -> io::Result<Stream> {
    let stream = TcpStream::connect((ip, port)).await?;
    stream.set_nodelay(true)?;
    Ok(Stream::Tcp(stream))
}

async fn by_name(name: &str, port: u16) -> io::Result<Stream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((name, port)).await? {
        match tcp(address.ip(), port).await {
            Err(error) => last = error,
            opened => return opened,
        }
    }
    Err(last)
}

/// What the library reads from and writes to. A failure to connect is what the first use of it says: the library's error
/// for that can't be made outside of it.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Failed(Option<io::Error>),
}

impl Stream {
    fn failure(error: &mut Option<io::Error>) -> io::Error {
        error.take().unwrap_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// A stream whose beginning is looked at.
pub struct Guarded {
    stream: Stream,
    messages: Messages,
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(match &mut this.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Failed(error) => Poll::Ready(Err(Stream::failure(error))),
        })?;
        Poll::Ready(this.messages.look(&buffer.filled()[before..]))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Failed(error) => Poll::Ready(Err(Stream::failure(error))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(context),
            Stream::Failed(error) => Poll::Ready(Err(Stream::failure(error))),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Failed(_) => Poll::Ready(Ok(())),
        }
    }
}

/// Follows the server's messages until it lets us in: a letter, four bytes of length that count themselves, and the rest,
/// which in a message `R` begins with four bytes that say what is asked.
struct Messages {
    head: Vec<u8>,
    skip: usize,
    proved: bool,
    done: bool,
}

/// What `R` may say (PostgreSQL's manual, \"Message Formats\").
const LET_IN: u32 = 0;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

impl Messages {
    /// `unproved`: the server may let us in without having shown that it knows our password.
    fn new(unproved: bool) -> Messages {
        Messages { head: Vec::with_capacity(9), skip: 0, proved: unproved, done: false }
    }

    fn look(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !self.done && !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let Some((byte, rest)) = bytes.split_first() else { break };
            self.head.push(*byte);
            bytes = rest;
            self.message()?;
        }
        Ok(())
    }

    /// Ends the head of a message when it is whole.
    fn message(&mut self) -> io::Result<()> {
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        let of_interest = self.head[0] == b'R';
        if self.head.len() < if of_interest { 9 } else { 5 } {
            return Ok(());
        }
        if of_interest {
            match number(&self.head[5..9]) {
                LET_IN if self.proved => self.done = true,
                LET_IN => return Err(refused("lets us in without showing that it knows the password")),
                SASL | SASL_CONTINUE => {}
                SASL_FINAL => self.proved = true,
                _ => return Err(refused("wants the password itself")),
            }
        }
        let length = number(&self.head[1..5]) as usize;
        self.skip = (length + 1).saturating_sub(self.head.len());
        self.head.clear();
        Ok(())
    }
}

fn refused(what: &str) -> io::Error {
    io::Error::other(format!("whoever answers there {what}: that is not FlowDB, and it was told nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    fn asks(code: u32) -> Vec<u8> {
        message(b'R', &[&code.to_be_bytes()[..], b"SCRAM-SHA-256\0\0"].concat())
    }

    #[test]
    fn only_scram_passes_however_it_arrives() {
        let (cleartext, md5) = (3, 5);
        let cases: [(&[u32], bool); 6] = [
            (&[SASL, SASL_CONTINUE, SASL_FINAL, LET_IN], true),
            (&[cleartext], false),
            (&[md5], false),
            (&[LET_IN], false),
            (&[SASL, LET_IN], false),
            (&[SASL, SASL_CONTINUE, cleartext], false),
        ];
        for (codes, passes) in cases {
            let notice = message(b'N', b"SWhatever\0\0");
            let said: Vec<u8> = codes.iter().flat_map(|code| [notice.clone(), asks(*code)].concat()).collect();
            for size in [1, 2, 3, 7, said.len()] {
                let mut messages = Messages::new(false);
                let looked = said.chunks(size).try_for_each(|part| messages.look(part));
                assert_eq!(looked.is_ok(), passes, "{codes:?} in parts of {size}");
            }
        }
        assert!(Messages::new(true).look(&asks(LET_IN)).is_ok(), "by peer, on a socket");
        assert!(Messages::new(true).look(&asks(cleartext)).is_err());
    }
}
