//! The question as the supervisor asks it: over a connection to a process of our own user.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use https::Get;
use supervisor::Probe;

/// Longer than an answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_server_of_our_own_is_asked_at_the_loopback_and_its_answer_counts() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = std::thread::spawn(move || {
        for status in ["200 OK", "503 Service Unavailable"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            assert!(asked.starts_with(b"GET /health HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&asked));
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
    });
    let probe: Arc<dyn Probe> = Arc::new(Get::http(address, "/health"));
    assert_eq!(probe.check(PATIENCE), Ok(()));
    assert_eq!(probe.check(PATIENCE), Err("GET /health answers 503".to_owned()));
    serve.join().unwrap();
    assert_eq!(probe.check(PATIENCE), Err("connection refused".to_owned()));
}
