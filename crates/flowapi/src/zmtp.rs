//! ZeroMQ's wire protocol, as much of it as a REQ socket needs that asks a ROUTER: ZMTP 3.0 without a password (RFC 23).
//!
//! The crate `zeromq` has it too, but reads frames of any length into memory and tries to connect for ever; and as a
//! connection here is a stream and nothing else, dropping it in the middle of anything leaves nothing behind.

use std::io;
use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// More frames, a length of eight bytes, a command: a frame's flags.
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// The longest command that is read; a ROUTER's are a tenth of it.
const LONGEST_COMMAND: usize = 1024;

/// A connection to a ROUTER, past its handshake and with nothing asked.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// Nobody listens there, or somebody who does not speak ZMTP 3.
    pub async fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Connection { stream: BufReader::with_capacity(16 << 10, stream) };
        let mut hello = BytesMut::from(&greeting()[..]);
        let mut ready = BytesMut::from(&b"\x05READY"[..]);
        for (name, value) in [("Socket-Type", "REQ"), ("Identity", "")] {
            ready.put_u8(u8::try_from(name.len()).unwrap_or_default());
            ready.put_slice(name.as_bytes());
            ready.put_u32(u32::try_from(value.len()).unwrap_or_default());
            ready.put_slice(value.as_bytes());
        }
        frame(&mut hello, COMMAND, &ready);
        connection.stream.write_all(&hello).await?;

        let mut theirs = [0; 64];
        connection.stream.read_exact(&mut theirs).await?;
        if theirs[0] != 0xff || theirs[9] & 1 == 0 || theirs[10] < 3 || &theirs[12..17] != b"NULL\0" {
            return Err(strange("whoever listens there does not speak ZeroMQ's protocol 3 without a password"));
        }
        let (flags, body) = connection.frame(LONGEST_COMMAND).await?;
        if flags & COMMAND == 0 || !body.starts_with(b"\x05READY") {
            return Err(strange("the other side refused the handshake"));
        }
        Ok(connection)
    }

    /// Whether the other side has neither closed nor said anything unasked: a connection that waits for its next question.
    pub fn is_idle(&self) -> bool {
        let waits = |result: io::Result<usize>| result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.stream.buffer().is_empty() && waits(self.stream.get_ref().try_read(&mut [0]))
    }

    /// Sends one question and reads its answer, which may have at most `most` bytes. After an error, or when this is dropped
    /// before its end, the connection can't be used again.
    ///
    /// # Errors
    /// The connection ends, or what comes is no answer.
    pub async fn exchange(&mut self, question: &[u8], most: usize) -> io::Result<Bytes> {
        let mut sent = BytesMut::with_capacity(question.len() + 16);
        frame(&mut sent, MORE, b"");
        frame(&mut sent, 0, question);
        self.stream.write_all(&sent).await?;
        let (flags, delimiter) = self.message(most).await?;
        if flags & MORE == 0 || !delimiter.is_empty() {
            return Err(strange("an answer without its delimiter"));
        }
        let (flags, body) = self.message(most).await?;
        match flags & MORE {
            0 => Ok(body),
            _ => Err(strange("an answer of too many parts")),
        }
    }

    /// The next frame that is no command.
    async fn message(&mut self, most: usize) -> io::Result<(u8, Bytes)> {
        loop {
            let (flags, body) = self.frame(most).await?;
            if flags & COMMAND == 0 {
                return Ok((flags, body));
            }
        }
    }

    async fn frame(&mut self, most: usize) -> io::Result<(u8, Bytes)> {
        let flags = self.stream.read_u8().await?;
        let length = match flags & LONG {
            0 => u64::from(self.stream.read_u8().await?),
            _ => self.stream.read_u64().await?,
        };
        let most = if flags & COMMAND == 0 { most } else { LONGEST_COMMAND };
        let length = usize::try_from(length).ok().filter(|length| *length <= most);
        let length = length.ok_or_else(|| strange(format!("an answer of more than {most} bytes")))?;
        // Memory is taken as the bytes arrive, not as they are promised.
        let mut body = BytesMut::with_capacity(length.min(64 << 10));
        while body.len() < length {
            let mut rest = (&mut self.stream).take((length - body.len()) as u64);
            if rest.read_buf(&mut body).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok((flags, body.freeze()))
    }
}

fn strange(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Signature, version 3.0, mechanism `NULL`, not a server, and a filler.
fn greeting() -> [u8; 64] {
    let mut greeting = [0; 64];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

fn frame(into: &mut BytesMut, flags: u8, body: &[u8]) {
    match u8::try_from(body.len()) {
        Ok(length) => into.put_slice(&[flags, length]),
        Err(_) => {
            into.put_u8(flags | LONG);
            into.put_u64(body.len() as u64);
        }
    }
    into.put_slice(body);
}
