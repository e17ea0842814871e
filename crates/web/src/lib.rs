//! The ground that our web servers stand on. A server brings a bound listener, an axum router and a stop signal; connections,
//! TLS, limits, request ids, errors, headers and the access log are made here, once.
//!
//! ```text
//! server       accepts, stops: who is idle at once, who is answered in time, who is cut at the end of the grace
//! room         how many connections, from whom; makes room by closing the one that has been idle longest
//! connection   TLS or not, HTTP/1.1 or 2, and everything that takes too long
//! request      id, limits of a body, panics, the form of every error, security headers, access log
//! tls          certificate and key, looked at again now and then
//! ```
//! ```no_run
//! # async fn run() -> std::io::Result<()> {
//! let listener = std::net::TcpListener::bind("127.0.0.1:9090")?;
//! let router = web::axum::Router::new().route("/", web::axum::routing::get(|| async { "hello" }));
//! web::serve(listener, router, web::Options::default(), web::stop_signal()?).await?;
//! # Ok(())
//! # }
//! ```

// A dependency that nothing uses. Tests have some more, and each of their programs uses but a few.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

mod activity;
mod body;
mod connection;
mod error;
mod headers;
mod health;
mod limits;
mod listener;
mod request;
mod room;
mod server;
#[cfg(feature = "test")]
pub mod test;
mod tls;

pub use axum;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{And, NotForContentType, Predicate as _, SizeAbove};

pub use error::{Error, Failure, Render, json};
pub use headers::Headers;
pub use health::Health;
pub use https::{Pair, PemError};
pub use limits::Limits;
pub use listener::{Listener, Peer};
pub use request::RequestId;
pub use server::{Options, Stopped, serve, stop_signal};
pub use tls::{Tls, TlsError};

/// A layer for routes whose answers hold no secret beside what a stranger may choose: gzip or zstd, where the client takes it.
/// An answer that holds both gives the secret away by its length (BREACH), so nothing is compressed unless a route asks.
/// An answer of a packet or less is left as it is, for what would be saved is less than a compressor's memory costs; and so is
/// what is compressed already.
pub fn compressed() -> CompressionLayer<And<SizeAbove, NotForContentType>> {
    let packed = NotForContentType::const_new("application/vnd.apache.parquet");
    CompressionLayer::new().compress_when(SizeAbove::new(1400).and(packed))
}
