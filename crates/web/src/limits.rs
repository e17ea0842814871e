//! What a client may take of us.

use std::time::Duration;

/// Limits of a server. Each has a default that suits an API; none is without end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the beginning of a connection, or the first byte of a further request on it, to the end of the request's headers.
    /// TLS' handshake is a part of it. HTTP/2: only of the handshake; what comes after counts as [`idle`](Limits::idle).
    pub header: Duration,
    /// From the end of the headers to the end of the request's body; 408 past it.
    pub body: Duration,
    /// From the end of the headers to the beginning of the answer; 503 past it. Not its end: a big result takes its time, and
    /// [`stall`](Limits::stall) looks after who takes it.
    pub answer: Duration,
    /// How long a connection may be open with nothing asked.
    pub idle: Duration,
    /// How long a client may leave what it asked for untaken.
    pub stall: Duration,
    /// Size of a request's body in bytes; 413 past it. A route may have less (`axum::extract::DefaultBodyLimit`).
    pub body_bytes: usize,
    /// Size of a request's headers, first line included, in bytes; 431 past it.
    pub header_bytes: usize,
    /// Number of a request's headers; 431 past it.
    pub headers: usize,
    /// Connections at once, at most what the process may have open less [`RESERVE`](Limits::RESERVE). When they are taken, the one
    /// that has been idle longest makes room.
    pub connections: usize,
    /// Connections at once from one address (IPv6: one network of 64 bits). `None` behind a proxy, whose address all have.
    pub per_peer: Option<usize>,
    /// Requests at once on one connection of HTTP/2.
    pub streams: u32,
    /// Requests in flight at once, all connections together; 503 past it. One address has a quarter of it, where connections are
    /// counted by address ([`per_peer`](Limits::per_peer)).
    pub requests: usize,
    /// Bytes of requests' bodies that are held at once, all requests together; 503 past it.
    pub held_bytes: usize,
    /// How long requests in flight may take once the server was asked to stop.
    pub grace: Duration,
}

impl Limits {
    /// Descriptors left to everything that is no connection: files, databases, the log.
    pub const RESERVE: usize = 64;
}

impl Default for Limits {
    /// Times as nginx has them or less; a specification of a query or of an API fits into the sizes many times over.
    fn default() -> Limits {
        Limits {
            header: Duration::from_secs(10),
            body: Duration::from_secs(30),
            answer: Duration::from_secs(60),
            idle: Duration::from_secs(75),
            stall: Duration::from_secs(60),
            body_bytes: 1 << 20,
            header_bytes: 16 << 10,
            headers: 100,
            connections: 4096,
            per_peer: Some(512),
            streams: 100,
            requests: 4096,
            held_bytes: 64 << 20,
            grace: Duration::from_secs(10),
        }
    }
}
