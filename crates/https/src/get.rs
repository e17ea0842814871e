//! One question to one server: does it answer a GET well?

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};

/// Longest status line that is waited for, in bytes.
const STATUS_LINE: usize = 1024;

/// How long a server may show the certificate that it had before: it looks at its files now and then only.
const RELOAD: Duration = Duration::from_secs(60);

/// Where the certificate's text comes from, asked at each question.
pub type Source = Box<dyn Fn() -> Result<String, String> + Send + Sync>;

/// The question. With the feature `supervisor` it is a probe of a service, which speaks with a process of our own user only.
pub struct Get {
    address: SocketAddr,
    path: String,
    certificate: Option<Source>,
    shown: Mutex<Shown>,
}

/// The certificate that was seen last, and since when it is not the file's any more.
#[derive(Default)]
struct Shown {
    last: Option<CertificateDer<'static>>,
    old_since: Option<Instant>,
}

impl Get {
    /// Over HTTPS. The server must show the first certificate of the text, and have its key. An address that stands for all
    /// interfaces is asked at the loopback.
    pub fn https(
        address: SocketAddr,
        path: &str,
        certificate: impl Fn() -> Result<String, String> + Send + Sync + 'static,
    ) -> Get {
        Get { certificate: Some(Box::new(certificate)), ..Get::http(address, path) }
    }

    /// Over HTTP, of a server that stands behind a proxy.
    pub fn http(address: SocketAddr, path: &str) -> Get {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let address = SocketAddr::new(ip, address.port());
        Get { address, path: path.to_owned(), certificate: None, shown: Mutex::default() }
    }

    /// Asks, over a connection that `connect` makes, and waits for at most `patience`.
    ///
    /// # Errors
    /// In words: why the server is not ready.
    pub fn ask(
        &self,
        connect: impl FnOnce(SocketAddr, Duration) -> io::Result<TcpStream>,
        patience: Duration,
    ) -> Result<(), String> {
        let until = Instant::now() + patience;
        let trusted = self.certificate.as_ref().map(|source| self.trusted(source)).transpose()?;
        let stream = connect(self.address, patience).map_err(|error| in_words(&error))?;
        let mut stream = Patient { stream, until };
        let status = match trusted {
            None => self.status(&mut stream),
            Some(trusted) => {
                let config = Arc::new(super::trusting(trusted, &["http/1.1"]));
                let name = ServerName::IpAddress(self.address.ip().into());
                let mut tls = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
                let status = self.status(&mut rustls::Stream::new(&mut tls, &mut stream));
                if let Some([certificate, ..]) = tls.peer_certificates() {
                    self.lock().last = Some(certificate.clone().into_owned());
                }
                status
            }
        };
        match status.map_err(|error| in_words(&error))? {
            200..=299 => Ok(()),
            status => Err(format!("GET {} answers {status}", self.path)),
        }
    }

    /// The file's certificate, and for a while the one that the server showed before the file changed.
    fn trusted(&self, source: &Source) -> Result<Vec<CertificateDer<'static>>, String> {
        let own = super::chain(&source()?).map_err(|error| error.to_string())?.swap_remove(0);
        let mut shown = self.lock();
        match shown.last.clone() {
            Some(last) if last != own => {
                let since = *shown.old_since.get_or_insert_with(Instant::now);
                Ok(if since.elapsed() < RELOAD { vec![own, last] } else { vec![own] })
            }
            _ => {
                shown.old_since = None;
                Ok(vec![own])
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self, stream: &mut (impl Read + Write)) -> io::Result<u16> {
        let Get { path, address, .. } = self;
        stream.write_all(
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: flowkit\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        )?;
        let mut line = Vec::new();
        let mut piece = [0; 256];
        while line.len() < STATUS_LINE && !line.contains(&b'\n') {
            match stream.read(&mut piece)? {
                0 => break,
                read => line.extend_from_slice(&piece[..read]),
            }
        }
        status(&line).ok_or_else(|| io::Error::other("what answers is no HTTP server"))
    }
}

#[cfg(feature = "supervisor")]
impl supervisor::Probe for Get {
    fn check(&self, patience: Duration) -> Result<(), String> {
        self.ask(supervisor::connect_to_own, patience)
    }
}

/// The number in `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (version, rest) = rest.split_first()?;
    let code = rest.strip_prefix(b" ")?.get(..3)?;
    let ends = matches!(rest.get(4), None | Some(b' ' | b'\r'));
    let digits = code.iter().all(u8::is_ascii_digit) && code[0] != b'0';
    (matches!(version, b'0' | b'1') && digits && ends).then(|| std::str::from_utf8(code).ok()?.parse().ok())?
}

/// One line for the status table.
fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time".into(),
        _ => error.to_string(),
    }
}

/// A stream that ends at a moment, however slowly the other side speaks.
struct Patient {
    stream: TcpStream,
    until: Instant,
}

impl Patient {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Patient {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::TcpListener;

    #[test]
    fn a_status_line_is_read_and_nothing_else_is_one() {
        for (line, expected) in [
            (&b"HTTP/1.1 200 OK\r\n"[..], Some(200)),
            (b"HTTP/1.0 503\r\n", Some(503)),
            (b"HTTP/1.1 204", Some(204)),
            (b"HTTP/2 200\r\n", None),
            (b"HTTP/1.1 2000\r\n", None),
            (b"HTTP/1.1 099 \r\n", None),
            (b"+PONG\r\n", None),
            (b"", None),
        ] {
            assert_eq!(status(line), expected, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_server_that_dribbles_is_left_at_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let dribble = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(b"H").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let asked =
            Get::http(address, "/").ask(|to, wait| TcpStream::connect_timeout(&to, wait), Duration::from_millis(300));
        assert_eq!(asked.unwrap_err(), "no answer in time");
        dribble.join().unwrap();
    }

    #[test]
    fn nobody_there_is_said() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let asked =
            Get::http(address, "/").ask(|to, wait| TcpStream::connect_timeout(&to, wait), Duration::from_secs(5));
        assert_eq!(asked.unwrap_err(), "connection refused");
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(answer in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = status(&answer);
            let _ = status(&[b"HTTP/1.1 ", &answer[..]].concat());
        }
    }
}
